//! Real brokers as processes, by the scripts in `tests/services`.
//!
//! [`Broker::shared`] is one broker per kind for the whole test run, started when first asked for and left running for
//! the next test binary (`tests/run` stops it). [`Broker::own`] is a broker for one test alone, to be killed and
//! paused; it is stopped and wiped when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The kinds of broker that the tests know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Apache Kafka, one node unless `KAFKA_NODES` says more.
    Kafka,
    /// NATS with JetStream.
    Nats,
    /// Mosquitto, MQTT 5.
    Mosquitto,
}

impl Kind {
    fn script(self) -> &'static str {
        match self {
            Kind::Kafka => "kafka",
            Kind::Nats => "nats",
            Kind::Mosquitto => "mosquitto",
        }
    }
    fn port_variable(self) -> &'static str {
        match self {
            Kind::Kafka => "KAFKA_PORT",
            Kind::Nats => "NATS_PORT",
            Kind::Mosquitto => "MQTT_PORT",
        }
    }
}

/// The folder `tests` of the checkout.
pub fn tests_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A running (or killed) broker.
#[derive(Debug)]
pub struct Broker {
    kind: Kind,
    env: Vec<(String, String)>,
    own: Option<tempfile::TempDir>,
}

impl Broker {
    /// The shared broker of that kind, started if it is not up.
    pub fn shared(kind: Kind) -> Broker {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let broker = Broker { kind, env: Vec::new(), own: None };
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        broker.run(&["start"]);
        broker
    }

    /// A broker for this test alone, on a free port, with these variables for its script. Downloads are shared with
    /// the other labs.
    pub fn own(kind: Kind, env: &[(&str, &str)]) -> Broker {
        let dir = tempfile::Builder::new().prefix("lab-").tempdir().expect("a temporary folder");
        let mut all = vec![
            ("LAB_DIR".to_owned(), dir.path().display().to_string()),
            (kind.port_variable().to_owned(), free_ports(6).to_string()),
        ];
        all.extend(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        if kind == Kind::Nats {
            all.push(("NATS_MONITOR_PORT".to_owned(), free_ports(1).to_string()));
        }
        let broker = Broker { kind, env: all, own: Some(dir) };
        broker.run(&["start"]);
        broker
    }

    /// The address as its script prints it.
    pub fn url(&self) -> String {
        self.run(&["url"]).trim().to_owned()
    }

    /// The folder with data and logs.
    pub fn dir(&self) -> PathBuf {
        match &self.own {
            Some(dir) => dir.path().to_owned(),
            None => std::env::var_os("LAB_DIR").map_or_else(|| "/tmp/bayeux-gateway-lab".into(), PathBuf::from),
        }
    }

    /// Runs the broker's script: its standard output. Panics with what it printed when it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_with_input(arguments, b"")
    }

    /// The same with standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> String {
        use std::io::Write as _;
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("the script ends");
        let _ = writer.join();
        assert!(
            output.status.success(),
            "{} {arguments:?} failed: {}{}",
            self.kind.script(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// The script as a command, for what runs beside the test.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tests_dir().join("services").join(self.kind.script()));
        command.args(arguments).envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.run(&["kill"]);
    }
    /// Starts it again on the same port with the same data.
    pub fn start(&self) {
        self.run(&["start"]);
    }
    /// SIGSTOP.
    pub fn pause(&self) {
        self.run(&["pause"]);
    }
    /// SIGCONT.
    pub fn resume(&self) {
        self.run(&["resume"]);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.own.is_some() {
            let _ = self.command(&["wipe"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// The first of `count` neighbouring ports that were free just now.
pub fn free_ports(count: u16) -> u16 {
    // Below those that the system gives to clients, which could take one before its server does.
    const RANGE: std::ops::Range<u16> = 20_000..32_000;
    loop {
        let first = rand::random_range(RANGE.start..RANGE.end - count);
        if (0..count).all(|i| TcpListener::bind(("127.0.0.1", first + i)).is_ok()) {
            return first;
        }
    }
}
