//! What the end-to-end tests share: real brokers as processes, the gateway's binary, real clients.

pub mod lab;
