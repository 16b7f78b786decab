//! `/metrics` tells what happened, under the names that are documented.

use super::house::House;
use bayeux_bridge::observe::Outcome;
use std::collections::BTreeSet;
use std::time::Duration;

const ORDERS: &str = "connector=\"log\",mapping=\"/orders/{region}/{id}\"";

#[tokio::test]
async fn counters_rise_with_what_browsers_and_brokers_do() {
    let house = House::new(None);
    let ok = format!("bayeux_ingest_messages_total{{{ORDERS},outcome=\"ok\"}}");
    assert_eq!(house.metric(&ok), Some(0.0), "there before anything happened");
    house.story().await;
    let expected = [
        (ok, 3.0),
        (format!("bayeux_ingest_latency_seconds_count{{{ORDERS}}}"), 3.0),
        (format!("bayeux_egress_messages_total{{{ORDERS},outcome=\"ok\"}}"), 3.0),
        (format!("bayeux_egress_messages_total{{{ORDERS},outcome=\"poison\"}}"), 0.0),
        ("bayeux_ingest_messages_total{connector=\"log\",mapping=\"/audit\",outcome=\"ok\"}".into(), 1.0),
        ("bayeux_service_requests_total{outcome=\"ok\",service=\"/service/echo/{name}\"}".into(), 1.0),
        ("bayeux_handshakes_total".into(), 1.0),
        ("bayeux_sessions".into(), 1.0),
        ("bayeux_channels".into(), 1.0),
        ("bayeux_malformed_total".into(), 1.0),
        ("bayeux_sessions_ended_total{reason=\"expired\"}".into(), 0.0),
        (format!("bayeux_feed_state{{{ORDERS},state=\"live\"}}"), 1.0),
        (format!("bayeux_feed_state{{{ORDERS},state=\"failed\"}}"), 0.0),
        (format!("bayeux_feed_subscriptions{{{ORDERS}}}"), 1.0),
        ("bayeux_connector_up{connector=\"log\",kind=\"memory\",required=\"true\"}".into(), 1.0),
        ("bayeux_connector_state{connector=\"log\",kind=\"memory\",required=\"true\",state=\"down\"}".into(), 0.0),
        ("bayeux_draining".into(), 0.0),
    ];
    for (series, value) in expected {
        assert_eq!(house.metric(&series), Some(value), "{series}:\n{}", house.telemetry.metrics().unwrap());
    }
}

#[tokio::test]
async fn a_failure_is_counted_under_its_outcome_and_is_not_in_the_latency_of_good_ones() {
    let house = House::new(None);
    let observer = house.telemetry.observer();
    observer.ingested(0, Outcome::Unavailable, Duration::from_secs(5));
    observer.ingested(0, Outcome::Ok, Duration::from_millis(2));
    observer.egressed(0, Outcome::Poison, None);
    let series = |name: &str, outcome: &str| format!("{name}{{{ORDERS},outcome=\"{outcome}\"}}");
    assert_eq!(house.metric(&series("bayeux_ingest_messages_total", "unavailable")), Some(1.0));
    assert_eq!(house.metric(&series("bayeux_egress_messages_total", "poison")), Some(1.0));
    let bucket = |le: &str| house.metric(&format!("bayeux_ingest_latency_seconds_bucket{{{ORDERS},le=\"{le}\"}}"));
    assert_eq!((bucket("0.001"), bucket("0.0025"), bucket("+Inf")), (Some(0.0), Some(1.0), Some(1.0)));
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let house = House::new(None);
    house.story().await;
    // The echo of this gateway takes no time, so its latency is there; a record's age is if the broker has a clock.
    house.telemetry.observer().egressed(0, Outcome::Ok, Some(Duration::from_millis(1)));
    let text = house.telemetry.metrics().unwrap();
    let exported: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let page = include_str!("../../../../../docs/metrics.md");
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter(|line| ["counter", "gauge", "histogram"].iter().any(|kind| line.contains(&format!("| {kind} |"))))
        .filter_map(|line| line.split('`').next())
        .collect();
    assert_eq!(exported, documented, "left: exported, right: docs/metrics.md");
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        assert!(page.contains(&format!("| `{name}` | {kind} |")), "{name} is a {kind}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} says what it is");
    }
}

#[tokio::test]
async fn no_label_holds_what_a_browser_chose() {
    let house = House::new(None);
    let client = house.story().await;
    let text = house.telemetry.metrics().unwrap();
    assert!(!text.contains(&client), "a client id is a secret");
    assert!(!text.contains("/orders/eu"), "channels are without number");
    assert!(!text.contains("otel_"), "{text}");
}
