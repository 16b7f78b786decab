//! Connector: NATS, core and JetStream
