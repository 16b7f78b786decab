//! Connector: Apache Kafka by librdkafka.
//!
//! * **Publishing** ([`publish`](connector::Connector::publish)): one idempotent producer, `acks=all`. A record goes to
//!   librdkafka only while the cluster answers and the topic is known to exist; until then it waits on our side, where it can
//!   be given up as surely not stored. No topic is made by asking or by publishing, whatever the broker allows, unless the
//!   settings have `create_topics`.
//! * **Reading**: partitions are assigned by the gateway itself, in no group, and nothing is committed. Live
//!   subscriptions share one consumer; another start gets its own. Offsets are kept per subscription, so that broker restarts,
//!   leader changes and topics made anew neither lose nor double a record.
//! * **Positions**: a number (offset + 1) on a topic of one partition, else `partition-offset-timestamp`. After such a token,
//!   the other partitions are read from the token's timestamp on: what was stored at the same time may come again.
//! * **Limits**: a topic that is deleted and made anew is noticed when the cluster is asked in between, or when the new log
//!   is shorter or its record at our offset is another. A start by time (also a live one while the broker is absent) goes by the
//!   records' own timestamps; so does noticing a topic made anew before anything was read from it.
//! * **Health**: degraded, with the reason, while records stay unconfirmed or partitions unread although the cluster answers.
//!
//! Files: `config` and `properties` (settings), `kafka` (the whole), `link`, `catalog` and `trouble` (is the cluster there,
//! what has it, what does not work), `publish`, `tally`, `create` and `outcome`, `subscribe`, `resolve`, `reading`, `desk`, `reader` and `part`, `topic`, `position`.

mod catalog;
mod config;
mod create;
mod desk;
mod kafka;
mod link;
mod outcome;
mod part;
mod position;
mod properties;
mod publish;
mod reader;
mod reading;
mod resolve;
mod subscribe;
mod tally;
mod topic;
mod trouble;

#[cfg(test)]
mod tests;

pub use crate::config::{CreateTopics, KafkaPlan, Settings};
pub use crate::kafka::KafkaFactory;
pub use crate::properties::PropertyValue;
pub use crate::topic::SYNTAX;

/// The version of the librdkafka that is built in, such as `2.12.1`.
pub fn librdkafka_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
