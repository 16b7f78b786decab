//! Starts what is measured, each in a process of its own on a free port, and ends it.

use crate::dialect::Dialect;
use bench::{Result, process};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The gateway.
    Ours,
    /// The floor that writes each message as it comes.
    Plain,
    /// The floor that writes once for all that a read brought.
    Coalescing,
    /// The real CometD.
    CometD,
    /// A server on the Centrifuge library.
    Centrifuge,
}

impl Kind {
    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "gateway",
            Kind::Plain => "plain floor",
            Kind::Coalescing => "coalescing floor",
            Kind::CometD => "CometD",
            Kind::Centrifuge => "Centrifuge",
        }
    }

    /// What it speaks over a WebSocket.
    pub fn dialect(self) -> Dialect {
        match self {
            Kind::Ours | Kind::CometD => Dialect::Bayeux,
            Kind::Plain | Kind::Coalescing => Dialect::Floor,
            Kind::Centrifuge => Dialect::Centrifuge,
        }
    }

    /// How long it runs before it is measured: a virtual machine compiles what is hot first.
    pub fn warm_up(self) -> Duration {
        if self == Kind::CometD { Duration::from_secs(12) } else { Duration::from_secs(1) }
    }
}

/// Where the programs are.
#[derive(Debug)]
pub struct Programs {
    /// Of cargo: the gateway, the floor, the bare clients.
    pub target: PathBuf,
    /// CometD's classes and libraries, as a class path.
    pub cometd: String,
    /// The Centrifuge server.
    pub centrifuge: PathBuf,
}

/// What differs from one measurement to the other.
#[derive(Debug, Clone)]
pub struct Options {
    /// `timeout` of Bayeux: how long a connect is held.
    pub hold: Duration,
    /// Further config of the gateway, YAML.
    pub config: String,
    /// Further keys of the gateway's `bayeux`, YAML, indented.
    pub bayeux: String,
    /// Options of CometD.
    pub cometd: String,
    /// Arguments of Centrifuge.
    pub centrifuge: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            hold: Duration::from_secs(900),
            config: String::new(),
            bayeux: String::new(),
            cometd: String::new(),
            centrifuge: Vec::new(),
        }
    }
}

/// A server that runs; it is killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where the gateway's admin listener is.
    pub admin: SocketAddr,
    /// How long it took until it accepted a connection.
    pub start: Duration,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory, KiB.
    pub fn rss(&self) -> Result<u64> {
        process::rss(self.pid())
    }

    /// Starts one and waits until it accepts connections.
    pub fn start(kind: Kind, programs: &Programs, options: &Options) -> Result<Server> {
        let folder = tempfile::tempdir()?;
        let (address, admin) = (free_port()?, free_port()?);
        let mut command = match kind {
            Kind::Ours => gateway(programs, folder.path(), (address, admin), options)?,
            Kind::Plain | Kind::Coalescing => {
                let mut command = Command::new(programs.target.join("gateway-bench-floor"));
                let way = if kind == Kind::Plain { "plain" } else { "coalescing" };
                command.args([way, &address.port().to_string()]);
                command
            }
            Kind::CometD => cometd(programs, address, options),
            Kind::Centrifuge => {
                let mut command = Command::new(&programs.centrifuge);
                command.args(["-listen", &address.to_string()]).args(&options.centrifuge);
                command
            }
        };
        let log = folder.path().join("log");
        let output = std::fs::File::create(&log)?;
        command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        let begin = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", kind.name()))?;
        while TcpStream::connect(address).is_err() {
            let ended = child.try_wait()?.is_some();
            if ended || begin.elapsed() > Duration::from_secs(60) {
                let _ = child.kill();
                let _ = child.wait();
                let why = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{} does not start: {why}", kind.name()).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Server { address, admin, start: begin.elapsed(), child, _folder: folder })
    }
}

/// A port that was free just now. Below those that clients' sockets take.
fn free_port() -> Result<SocketAddr> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 9_000) as u16;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

fn gateway(
    programs: &Programs,
    folder: &Path,
    (address, admin): (SocketAddr, SocketAddr),
    options: &Options,
) -> Result<Command> {
    let hold = options.hold.as_secs();
    let config = format!(
        "server: {{ listen: \"{address}\", node: bench }}\nadmin: {{ listen: \"{admin}\" }}\nbayeux:\n  timeout: {hold}s\n  \
         websocket: {{ idle_timeout: 0s }}\n{}\n{}\n",
        options.bayeux, options.config
    );
    let file = folder.join("gateway.yaml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(programs.target.join("bayeux-gateway"));
    command.arg("--config").arg(file);
    Ok(command)
}

fn cometd(programs: &Programs, address: SocketAddr, options: &Options) -> Command {
    let hold = options.hold.as_millis();
    let mut command = Command::new("java");
    // As one would run it: the better compiler, the JSON library that its documentation advises for speed, a fixed heap.
    command.args(["-Xms1g", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &programs.cometd]);
    command.arg("peer.CometdPeer").env("COMETD_PORT", address.port().to_string()).env(
        "COMETD_OPTIONS",
        format!(
            "timeout={hold} maxInterval={hold} ws.idleTimeout={} \
             jsonContext=org.cometd.server.JacksonJSONContextServer {}",
            hold * 2,
            options.cometd
        ),
    );
    command
}
