//! What the end-to-end tests share: real brokers as processes, the gateway's binary, real clients.

pub mod bayeux;
pub mod gateway;
pub mod honest;
pub mod kafka;
pub mod lab;
pub mod mqtt;
pub mod nats;
pub mod node;
pub mod outage;
pub mod proxy;
pub mod story;
