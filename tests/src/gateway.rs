//! The gateway's real binary as a process.
//!
//! [`Gateway::start`] runs it with a config on free ports and waits until it is ready; a test that fails shows its log.
//! Dropping it kills the process.

use crate::lab::free_ports;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The binary: `BAYEUX_GATEWAY_BIN`, else the one that was built beside the running test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("BAYEUX_GATEWAY_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the path of the test");
    let beside = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("bayeux-gateway");
    assert!(
        beside.exists(),
        "{} is missing: cargo build -p bayeux-gateway, or set BAYEUX_GATEWAY_BIN",
        beside.display()
    );
    beside
}

/// Runs the binary to its end, with these arguments: for the commands that are not `serve`.
pub fn cli(arguments: &[&str]) -> Output {
    command(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

/// The binary as a command, free of the environment's own `BAYEUX_GATEWAY…` settings.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BAYEUX_GATEWAY_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// Both streams of a finished command, for judging and for messages.
pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Until when [`Gateway::start_when`] waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// `/readyz` says 200: each required connector was up once.
    Ready,
    /// `/livez` says 200: the process serves.
    Live,
}

/// A running (or stopped) gateway.
#[derive(Debug)]
pub struct Gateway {
    child: Option<Child>,
    readers: Vec<JoinHandle<()>>,
    log: Arc<Mutex<Vec<u8>>>,
    listen: u16,
    admin: u16,
    config: Option<PathBuf>,
    until: Until,
    variables: Vec<(String, String)>,
    _dir: tempfile::TempDir,
}

impl Gateway {
    /// Starts it with this config, ready to serve.
    pub fn start(yaml: &str) -> Gateway {
        Gateway::start_when(Some(yaml), Until::Ready, &[])
    }

    /// Starts it without a config: the quickstart.
    pub fn quickstart() -> Gateway {
        Gateway::start_when(None, Until::Ready, &[])
    }

    /// Starts it with a config or none, further environment variables, and waits for the given state.
    pub fn start_when(yaml: Option<&str>, until: Until, variables: &[(&str, &str)]) -> Gateway {
        let dir = tempfile::Builder::new().prefix("gateway-").tempdir().expect("a temporary folder");
        let config = yaml.map(|yaml| write_config(dir.path(), yaml));
        let first = free_ports(2);
        let mut gateway = Gateway {
            child: None,
            readers: Vec::new(),
            log: Arc::default(),
            listen: first,
            admin: first + 1,
            config,
            until,
            variables: variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            _dir: dir,
        };
        gateway.boot();
        gateway
    }

    fn boot(&mut self) {
        let mut command = command(&[]);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let mut child = command
            .env("BAYEUX_GATEWAY__SERVER__LISTEN", format!("127.0.0.1:{}", self.listen))
            .env("BAYEUX_GATEWAY__ADMIN__LISTEN", format!("127.0.0.1:{}", self.admin))
            .envs(self.variables.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().expect("a pipe");
        self.readers = vec![collect(stdout, &self.log), collect(stderr, &self.log)];
        self.child = Some(child);
        self.await_state();
    }

    fn await_state(&mut self) {
        let limit = Instant::now() + Duration::from_secs(60);
        let path = match self.until {
            Until::Ready => "/readyz",
            Until::Live => "/livez",
        };
        loop {
            if http_get(self.admin, path).is_some_and(|(status, _)| status == 200) {
                return;
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().expect("its state")) {
                panic!("the gateway ended while starting, {status}:\n{}", self.log());
            }
            assert!(Instant::now() < limit, "the gateway does not answer {path}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20)); // another process: there is no event to wait for
        }
    }

    /// Where Bayeux is spoken, such as `http://127.0.0.1:1234/cometd`.
    pub fn url(&self) -> String {
        format!("{}/cometd", self.base())
    }
    /// The public listener, such as `http://127.0.0.1:1234`.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.listen)
    }
    /// The port of the public listener.
    pub fn port(&self) -> u16 {
        self.listen
    }
    /// The admin listener, such as `http://127.0.0.1:1235`.
    pub fn admin(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    /// GET on the admin listener: status and body. Panics when it does not answer.
    pub fn admin_get(&self, path: &str) -> (u16, String) {
        http_get(self.admin, path).unwrap_or_else(|| panic!("no answer to {path}:\n{}", self.log()))
    }

    /// GET on the public listener.
    pub fn get(&self, path: &str) -> (u16, String) {
        http_get(self.listen, path).unwrap_or_else(|| panic!("no answer to {path}:\n{}", self.log()))
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&self) {
        let pid = self.pid().expect("a running gateway").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "cannot signal the gateway");
    }

    /// Waits for its end: the exit code, `None` if a signal ended it. Panics after 60 s.
    pub fn wait(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("a running gateway");
        let limit = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = child.try_wait().expect("its state") {
                break status;
            }
            if Instant::now() > limit {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the gateway does not end:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status.code()
    }

    /// SIGTERM, then its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.terminate();
        self.wait()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same ports with the same config.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "stop or kill it first");
        self.boot();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(80);
            eprintln!(
                "--- the gateway's log, last {} lines ---\n{}\n---",
                lines.len() - from,
                lines[from..].join("\n")
            );
        }
    }
}

/// Writes a config into a folder; its path.
pub fn write_config(dir: &Path, yaml: &str) -> PathBuf {
    let path = dir.join("gateway.yaml");
    std::fs::write(&path, yaml).expect("a config file");
    path
}

/// A plain GET to the loopback: status and body; `None` when nobody answers.
pub fn http_get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut chunked) = (None, false);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok();
        }
        chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
    }
    let mut body = Vec::new();
    if let Some(length) = length {
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
    } else if chunked {
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
            let at = body.len();
            body.resize(at + size + 2, 0); // the chunk and its line end
            reader.read_exact(&mut body[at..]).ok()?;
            body.truncate(at + size);
            if size == 0 {
                break;
            }
        }
    } else {
        reader.read_to_end(&mut body).ok()?;
    }
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

fn collect(mut stream: impl std::io::Read + Send + 'static, log: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let log = log.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(n) = stream.read(&mut buffer) {
            if n == 0 {
                return;
            }
            log.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]);
        }
    })
}
