//! The NATS connector against a real server, core and JetStream.

#![allow(clippy::unwrap_used, reason = "a test panics where something must not be")]

mod auth;
mod core;
mod kit;
mod outage;
mod places;
mod streams;

use connector::Connector;
use connector::conformance::{self, Fixture};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::nats::Nats;
use gateway_tests::story::aside;
use serde_json::json;
use std::sync::Arc;

/// Core NATS: subjects need no making.
struct Core(Broker);

impl Fixture for Core {
    fn connector(&self) -> Arc<dyn Connector> {
        kit::connect(&self.0, json!({}))
    }
    async fn create(&self, _: &str, _: u32) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn core_nats_keeps_every_promise() {
    conformance::run(&Core(aside(|| Broker::shared(Kind::Nats)))).await;
}

/// JetStream: one stream for all subjects, or one for each.
struct Streams {
    nats: Broker,
    one_for_all: bool,
}

impl Streams {
    fn of(&self, topic: &str) -> String {
        if self.one_for_all {
            "ALL".into()
        } else {
            topic.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
        }
    }
}

impl Fixture for Streams {
    fn connector(&self) -> Arc<dyn Connector> {
        kit::jetstream(&self.nats)
    }

    async fn create(&self, topic: &str, _: u32) {
        if !self.one_for_all {
            aside(|| Nats::connect(&self.nats.url()).make_stream(&self.of(topic), &[topic]));
        }
    }

    fn missing_topic(&self) -> Option<String> {
        Some("nobody.made.this".into())
    }

    async fn trim(&self, topic: &str) -> bool {
        let stream = self.of(topic);
        aside(|| {
            let mut nats = Nats::connect(&self.nats.url());
            let info = nats.jetstream(&format!("STREAM.INFO.{stream}"), &json!({}));
            let last = info["state"]["last_seq"].as_u64().unwrap();
            nats.jetstream(&format!("STREAM.PURGE.{stream}"), &json!({ "seq": last - 5 }));
        });
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_every_promise_with_a_stream_for_each_subject() {
    let nats = aside(|| Broker::own(Kind::Nats, &[]));
    conformance::run(&Streams { nats, one_for_all: false }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_every_promise_with_one_stream_for_all_subjects() {
    let nats = aside(|| Broker::own(Kind::Nats, &[]));
    aside(|| Nats::connect(&nats.url()).make_stream("ALL", &["conformance.>"]));
    conformance::run(&Streams { nats, one_for_all: true }).await;
}
