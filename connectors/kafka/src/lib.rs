//! Connector: Apache Kafka by librdkafka
