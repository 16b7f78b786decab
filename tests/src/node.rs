//! The npm clients in `tests/clients`, run by Node.

use crate::lab::tests_dir;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::Once;

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
