//! The npm clients in `tests/clients`, run by Node.

use crate::lab::tests_dir;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Once;

/// A script of `tests/clients` that runs beside the test: told by lines, answers with JSON lines.
#[derive(Debug)]
pub struct Script {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// Runs a script to its end: the JSON that it printed. Panics with what it complained of when it fails.
pub fn run(script: &str, arguments: &[&str]) -> Value {
    let output = command(script).args(arguments).stdin(Stdio::null()).output().expect("node runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{script} {arguments:?} failed:\n{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The clients print their own remarks to standard output as well: ours is the last line.
    let line = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{script} printed no JSON ({e}): {stdout}"))
}

impl Script {
    /// Starts a script.
    pub fn start(script: &str, arguments: &[&str]) -> Script {
        let mut child = command(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("node runs");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Script { name: script.to_owned(), child, stdin, stdout }
    }

    /// Sends one line.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("an open pipe");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("the script listens");
    }

    /// The next JSON line; the clients' own remarks are passed over. Panics when the script ends instead.
    pub fn answer(&mut self) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            let n = self.stdout.read_line(&mut line).expect("text");
            assert!(n > 0, "{} ended early, {:?}", self.name, self.child.wait());
            if let Ok(value) = serde_json::from_str(&line) {
                return value;
            }
        }
    }

    /// Closes its input and waits for its end.
    pub fn finish(mut self) {
        self.stdin = None;
        let mut rest = String::new();
        let _ = self.stdout.read_to_string(&mut rest);
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{} failed: {status}\n{rest}", self.name);
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A script of `tests/clients` as a command; its packages are installed.
pub fn command(script: &str) -> Command {
    install();
    let mut command = Command::new("node");
    command.arg(script).current_dir(tests_dir().join("clients"));
    command
}

/// Installs the locked packages, once.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let dir = tests_dir().join("clients");
        // npm writes this file last, so an interrupted installation is done again, as one from another lock file is.
        let modified = |name: &str| std::fs::metadata(dir.join(name)).and_then(|m| m.modified()).ok();
        if modified("node_modules/.package-lock.json") > modified("package-lock.json") {
            return;
        }
        let output = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&dir)
            .output()
            .expect("npm runs (tests/run installs it)");
        assert!(output.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&output.stderr));
    });
}
