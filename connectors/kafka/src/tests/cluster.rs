//! What no real broker does on demand, so that librdkafka's own stand-in for a cluster is asked to.

use crate::{KafkaFactory, SYNTAX};
use connector::{
    Connector, ConnectorKind, Context, Event, Inbound, Outbound, Place, PublishError, Start, State, TopicFilter,
};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

type Cluster = MockCluster<'static, DefaultProducerContext>;

const PATIENCE: Duration = Duration::from_secs(60);

fn connect(cluster: &Cluster) -> Arc<dyn Connector> {
    let (kind, servers) = (ConnectorKind::of::<KafkaFactory>(), cluster.bootstrap_servers());
    let plan = kind.plan(json!({ "brokers": servers.split(',').collect::<Vec<_>>() })).unwrap();
    plan.connect(Context { name: "orders".into(), node: "test".into() }).unwrap()
}

fn record(topic: &str, partition: Option<i32>) -> Outbound {
    Outbound {
        topic: topic.into(),
        key: None,
        partition,
        payload: Some("1".into()),
        headers: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(30),
    }
}

async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// The next record.
async fn next(events: &mut mpsc::Receiver<Event>) -> Inbound {
    loop {
        if let Event::Record(record) = within("a record arrives", events.recv()).await.unwrap() {
            return record;
        }
    }
}

async fn health(connector: &Arc<dyn Connector>, state: State, reason: &str) {
    let mut health = connector.health();
    let told = health.wait_for(|health| health.state == state && health.reason.contains(reason));
    within(&format!("{state:?} with {reason:?}"), told).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_holds_up_no_other_and_the_health_tells_until_it_has_one() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("orders", 3, 1).unwrap();
    cluster.partition_leader("orders", 1, None).unwrap();
    let connector = connect(&cluster);
    health(&connector, State::Up, "").await;
    let (sink, mut records) = mpsc::channel(10);
    let mut subscription = connector.subscribe(TopicFilter::exact("orders", &SYNTAX), Start::Live, sink).unwrap();
    within("the subscription is ready", subscription.ready()).await.unwrap();
    for partition in [0, 2] {
        within("a publish is confirmed", connector.publish(record("orders", Some(partition)))).await.unwrap();
        let got = next(&mut records).await;
        assert_eq!(got.partition, Some(partition));
    }
    health(&connector, State::Degraded, "no leader").await;
    cluster.partition_leader("orders", 1, Some(1)).unwrap();
    health(&connector, State::Up, "").await;
    within("a publish is confirmed", connector.publish(record("orders", Some(1)))).await.unwrap();
    assert_eq!(next(&mut records).await.partition, Some(1));
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_be_reached_shows_although_the_cluster_answers() {
    let cluster = Cluster::new(2).unwrap();
    for (topic, leader) in [("near", 1), ("far", 2)] {
        cluster.create_topic(topic, 1, 1).unwrap();
        cluster.partition_leader(topic, 0, Some(leader)).unwrap();
    }
    let connector = connect(&cluster);
    health(&connector, State::Up, "").await;
    cluster.broker_down(2).unwrap();
    let far = connector.publish(record("far", None));
    health(&connector, State::Degraded, "not confirmed").await;
    within("others are confirmed", connector.publish(record("near", None))).await.unwrap();
    cluster.broker_up(2).unwrap();
    let _ = within("it is answered", far).await;
    health(&connector, State::Up, "").await;
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_read_shows_steadily_until_it_may_or_nobody_wants_it() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    let connector = connect(&cluster);
    health(&connector, State::Up, "").await;
    within("a publish is confirmed", connector.publish(record("orders", None))).await.unwrap();
    let denied = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 1000];
    for wanted in [true, false] {
        cluster.request_errors(RDKafkaApiKey::Fetch, &denied);
        let (sink, mut records) = mpsc::channel(10);
        let mut subscription =
            connector.subscribe(TopicFilter::exact("orders", &SYNTAX), Start::Earliest, sink).unwrap();
        within("the subscription is ready", subscription.ready()).await.unwrap();
        health(&connector, State::Degraded, "allow Read").await;
        let mut changes = connector.health();
        changes.mark_unchanged();
        // Long enough for several rounds of looking at the partition anew.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!changes.has_changed().unwrap(), "{:?}", changes.borrow());
        if wanted {
            cluster.clear_request_errors(RDKafkaApiKey::Fetch);
            health(&connector, State::Up, "").await;
            next(&mut records).await;
        } else {
            drop(subscription);
            health(&connector, State::Up, "").await;
        }
    }
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_failed_for_good_is_made_anew() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refusal, refusal]);
    let connector = connect(&cluster);
    let mut told = connector.health();
    let told = told.wait_for(|health| health.reason.contains("made anew")).await.unwrap().clone();
    assert_ne!(told.state, State::Up);
    let confirmed = async {
        loop {
            match connector.publish(record("orders", None)).await {
                Ok(position) => return position,
                Err(PublishError::Unavailable(_) | PublishError::OutcomeUnknown(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let position: Option<Place> = within("a publish is confirmed", confirmed).await;
    assert!(position.is_some());
    health(&connector, State::Up, "").await;
    connector.close(Duration::from_secs(5)).await;
}
