//! Connector: MQTT 5
