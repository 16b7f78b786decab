//! The `bayeux-gateway` binary.
fn main() {}
