//! Connector: Apache Kafka by librdkafka.
//!
//! * **Publishing** ([`publish`](connector::Connector::publish)): one idempotent producer, `acks=all`. A record goes to
//!   librdkafka only while the cluster answers and the topic is known to exist; until then it waits on our side, where it can
//!   be given up as surely not stored. No topic is made by asking or by publishing, whatever the broker allows, unless the
//!   settings have `create_topics`.
//! * **Reading**: partitions are assigned by the gateway itself, in no group, and nothing is committed. Live
//!   subscriptions share one consumer; another start gets its own. Offsets are kept per subscription, so that broker restarts,
//!   leader changes and topics made anew neither lose nor double a record.
//! * **Places** ([`Place`](connector::Place)): the record's offset + 1 in its partition, with the record's time. Where a
//!   subscription begins after a place, the record there is read and compared before it is ready.
//! * **The end** ([`Event::Reached`](connector::Event::Reached)) is where the consumer fetches next: the last stable offset,
//!   beyond transaction markers, aborted records and what compaction took. Reading is `read_committed`, unless the settings
//!   say otherwise.
//! * **Limits**: a topic that is deleted and made anew is noticed when the cluster is asked in between, or when the new log
//!   is shorter or its record at our offset is another. A start by time (also a live one while the broker is absent) goes by the
//!   records' own timestamps; so does noticing a topic made anew before anything was read from it.
//! * **Health**: degraded, with the reason, while records stay unconfirmed or partitions unread although the cluster answers.
//!
//! Files: `config` and `properties` (settings), `kafka` (the whole), `link`, `catalog` and `trouble` (is the cluster there,
//! what has it, what does not work), `publish`, `producer`, `tally`, `create` and `outcome`, `subscribe`, `follow`, `after` and
//! `resolve` (where to begin), `reading`, `desk`, `reader`, `again`, `part`, `taker` and `record`, `topic`.

mod after;
mod again;
mod catalog;
mod config;
mod create;
mod desk;
mod follow;
mod kafka;
mod link;
mod outcome;
mod part;
mod producer;
mod properties;
mod publish;
mod reader;
mod reading;
mod record;
mod resolve;
mod subscribe;
mod taker;
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
