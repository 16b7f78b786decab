//! Directions, formats and what cannot become a message: the rules of mapping as a browser and a backend see them.

use gateway_tests::bayeux::{Client, answer};
use gateway_tests::gateway::Gateway;
use gateway_tests::kafka::{dump, new_topic, produce};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::story::aside;
use std::time::Duration;

fn kafka_config(kafka: &Broker, mappings: &str) -> String {
    format!(
        "
connectors:
  log: {{ kafka: {{ brokers: [\"{}\"] }} }}
mappings:
{mappings}
",
        kafka.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_direction_is_a_one_way_street() {
    let kafka = Broker::shared(Kind::Kafka);
    let (inbox, outbox) = aside(|| (new_topic(&kafka, "in", 1), new_topic(&kafka, "out", 1)));
    let gateway = Gateway::start(&kafka_config(
        &kafka,
        &format!(
            "
  - {{ channel: \"/in/{{id}}\", connector: log, topic: {inbox}, key: \"{{id}}\", direction: ingest }}
  - {{ channel: \"/out/{{id}}\", connector: log, topic: {outbox}, key: \"{{id}}\", direction: egress }}
"
        ),
    ));
    let mut client = Client::websocket(&gateway.url()).await;

    assert!(answer(client.publish("/in/a", "1")).await.ok());
    let refused = client.try_subscribe("/in/a").await;
    assert_eq!(refused.error().split(':').take(2).collect::<Vec<_>>(), ["403", "/in/a"], "{refused:?}");
    assert!(refused.error().ends_with("subscribe_denied"), "{refused:?}");
    // A wildcard may hear other channels; what is ingested reaches no browser.
    client.subscribe("/in/*").await;

    client.subscribe("/out/*").await;
    let refused = answer(client.publish("/out/a", "1")).await;
    assert_eq!(refused.error(), "403:/out/a:publish_denied");
    aside(|| produce(&kafka, &outbox, "a:{\"from\":\"the backend\"}\n"));
    assert_eq!(client.next().await.text(), r#"{"from":"the backend"}"#);

    // A channel that no mapping knows is plain Bayeux.
    client.subscribe("/local").await;
    assert!(answer(client.publish("/local", "2")).await.ok());
    assert_eq!(client.next().await.channel, "/local");

    assert!(answer(client.publish("/in/a", "3")).await.ok());
    assert_eq!(client.until_quiet(Duration::from_secs(1)).await.len(), 0, "ingest goes to no browser");
    let stored: Vec<String> = aside(|| dump(&kafka, &inbox)).into_iter().map(|record| record.payload).collect();
    assert_eq!(stored, ["1", "3"]);
    assert_eq!(aside(|| dump(&kafka, &outbox)).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_json_is_skipped_counted_and_named_in_the_log() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "poison", 1));
    let gateway = Gateway::start(&kafka_config(
        &kafka,
        &format!("  - {{ channel: \"/p/{{id}}\", connector: log, topic: {topic}, key: \"{{id}}\", direction: both }}"),
    ));
    let mut client = Client::websocket(&gateway.url()).await;
    client.subscribe("/p/*").await;
    aside(|| produce(&kafka, &topic, "a:1\na:not json\na:{\"half\":\na:2\n"));
    assert_eq!(client.next().await.text(), "1");
    assert_eq!(client.next().await.text(), "2");
    let log = gateway.log();
    // What an operator needs to look at it with kcat.
    for offset in ["offset 1", "offset 2"] {
        let place = [&topic, "partition 0", offset];
        let named = log.lines().any(|line| place.iter().all(|part| line.contains(part)));
        assert!(named, "no line names topic, partition and {offset}:\n{log}");
    }
    let metrics = gateway.admin_get("/metrics").1;
    let counted = metrics.lines().any(|line| line.contains("poison") && line.ends_with(" 2"));
    assert!(counted, "two are counted:\n{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_stored_bare_and_delivered_as_a_string() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "text", 1));
    let gateway = Gateway::start(&kafka_config(
        &kafka,
        &format!("  - {{ channel: /text, connector: log, topic: {topic}, direction: both, format: text }}"),
    ));
    let mut client = Client::websocket(&gateway.url()).await;
    client.subscribe("/text").await;
    assert!(answer(client.publish("/text", r#""gr\u00fc\u00dfe \"you\" ☃""#)).await.ok());
    assert_eq!(client.next().await.value(), "grüße \"you\" ☃");
    let refused = answer(client.publish("/text", "{}")).await;
    assert!(refused.error().starts_with("400:"), "only strings are text: {refused:?}");
    let stored = aside(|| dump(&kafka, &topic));
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].payload.as_str(), stored[0].key.as_str()), ("grüße \"you\" ☃", "/text"));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_channel_names_have_topics_and_keys_of_their_own() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "odd", 1));
    let gateway = Gateway::start(&kafka_config(
        &kafka,
        &format!("  - {{ channel: \"/odd/**\", connector: log, topic: {topic}, direction: both }}"),
    ));
    let mut client = Client::websocket(&gateway.url()).await;
    client.subscribe("/odd/**").await;
    let channels = ["/odd/a", "/odd/a/b", "/odd/a b", "/odd/a+b", "/odd/a.b", "/odd/#$(x)", "/odd/~41", "/odd/a@b!"];
    for channel in channels {
        assert!(answer(client.publish(channel, "1")).await.ok(), "{channel}");
        assert_eq!(client.next().await.channel, channel);
    }
    let keys: Vec<String> = aside(|| dump(&kafka, &topic)).into_iter().map(|record| record.key).collect();
    assert_eq!(keys, channels, "without a key the channel is the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_shall_not_hear_itself_does_not_by_way_of_the_broker_either() {
    let gateway = Gateway::start(
        "
connectors:
  log: { memory: {} }
mappings:
  - { channel: \"/shared/{id}\", connector: log, topic: \"shared.{id}\" }
bayeux: { broadcast_to_publisher: false }
",
    );
    let mut one = Client::websocket(&gateway.url()).await;
    let mut other = Client::long_polling(&gateway.url()).await;
    for channel in ["/shared/*", "/local"] {
        one.subscribe(channel).await;
        other.subscribe(channel).await;
    }
    for channel in ["/shared/a", "/local"] {
        assert!(answer(one.publish(channel, "1")).await.ok());
        assert_eq!(other.next().await.text(), "1");
        assert!(answer(other.publish(channel, "2")).await.ok());
        assert_eq!(one.next().await.text(), "2", "its own would have come first");
    }
    assert_eq!(other.until_quiet(Duration::from_millis(300)).await.len(), 0);
}
