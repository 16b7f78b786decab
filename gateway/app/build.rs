//! Tells the binary which commit it was built from, where there is a checkout.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../../.git/HEAD");
    println!("cargo::rerun-if-changed=../../.git/refs/heads");
    println!("cargo::rerun-if-env-changed=BAYEUX_GATEWAY_COMMIT");
    if std::env::var_os("BAYEUX_GATEWAY_COMMIT").is_some() {
        return; // set by whoever builds outside of a checkout
    }
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    if let Ok(output) = output.map(|o| (o.status.success(), o.stdout))
        && output.0
        && let Ok(commit) = String::from_utf8(output.1)
    {
        println!("cargo::rustc-env=BAYEUX_GATEWAY_COMMIT={}", commit.trim());
    }
}
