//! Spans: whose children they are, what they are called, what becomes of them.

use super::house::House;
use bayeux_bridge::observe::{Step, is_traceparent};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde_json::json;
use std::sync::{Arc, Mutex};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Debug, Clone, Default)]
struct Collected(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Collected {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().append(&mut batch);
        Ok(())
    }
}

impl Collected {
    fn provider(&self) -> SdkTracerProvider {
        SdkTracerProvider::builder().with_simple_exporter(self.clone()).build()
    }

    fn spans(&self) -> Vec<SpanData> {
        self.0.lock().unwrap().clone()
    }
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|kv| kv.key.as_str() == key).map(|kv| kv.value.to_string())
}

#[tokio::test]
async fn a_span_is_a_child_of_the_traceparent_it_was_given_and_parent_of_what_follows() {
    let collected = Collected::default();
    let house = House::new(Some(collected.provider()));
    let observer = house.telemetry.observer();
    let span = observer.span(Step::Publish, "/orders/eu/1", Some(PARENT)).unwrap();
    let child = span.traceparent().unwrap();
    let grandchild = observer.span(Step::Deliver, "/orders/eu/1", Some(&child)).unwrap();
    assert!(is_traceparent(&child), "{child}");
    drop(grandchild);
    drop(span);
    let spans = collected.spans();
    let [deliver, publish] = &spans[..] else { panic!("two: {spans:?}") };
    assert_eq!(publish.span_context.trace_id().to_string(), TRACE);
    assert_eq!(publish.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(deliver.parent_span_id, publish.span_context.span_id());
    assert_eq!(child, format!("00-{TRACE}-{}-01", publish.span_context.span_id()));
}

#[tokio::test]
async fn a_parent_that_is_not_sampled_is_followed_and_nothing_is_sent() {
    let collected = Collected::default();
    let house = House::new(Some(collected.provider()));
    let parent = PARENT.replace("-01", "-00");
    let span = house.telemetry.observer().span(Step::Publish, "/orders/eu/1", Some(&parent)).unwrap();
    let child = span.traceparent().unwrap();
    assert!(child.starts_with(&format!("00-{TRACE}-")) && child.ends_with("-00"), "{child}");
    drop(span);
    assert!(collected.spans().is_empty());
}

#[tokio::test]
async fn without_a_usable_parent_a_trace_begins_here() {
    let collected = Collected::default();
    let house = House::new(Some(collected.provider()));
    let zero = format!("00-{}-{}-01", "0".repeat(32), "0".repeat(16));
    for parent in [None, Some("nonsense"), Some(zero.as_str())] {
        let span = house.telemetry.observer().span(Step::Call, "/service/echo/me", parent).unwrap();
        let own = span.traceparent().unwrap();
        assert!(is_traceparent(&own) && own.ends_with("-01") && !own.contains(&"0".repeat(16)), "{own}");
    }
    assert!(collected.spans().iter().all(|span| span.parent_span_id == opentelemetry::trace::SpanId::INVALID));
}

#[tokio::test]
async fn spans_are_named_by_the_mapping_and_not_by_the_channel() {
    let collected = Collected::default();
    let house = House::new(Some(collected.provider()));
    let observer = house.telemetry.observer();
    for (step, channel) in [
        (Step::Publish, "/orders/eu/1"),
        (Step::Deliver, "/orders/eu/1"),
        (Step::Publish, "/audit"),
        (Step::Call, "/service/echo/me"),
    ] {
        drop(observer.span(step, channel, None));
    }
    let spans = collected.spans();
    let named: Vec<_> = spans.iter().map(|span| (&*span.name, span.span_kind.clone())).collect();
    let expected = [
        ("publish orders.{region}.{id}", SpanKind::Producer),
        ("deliver orders.{region}.{id}", SpanKind::Consumer),
        ("publish audit", SpanKind::Producer),
        ("call /service/echo/{name}", SpanKind::Client),
    ];
    assert_eq!(named, expected);
    for (span, key, value) in [
        (0, "messaging.system", "memory"),
        (0, "messaging.operation.type", "send"),
        (0, "messaging.destination.template", "orders.{region}.{id}"),
        (0, "bayeux.channel", "/orders/eu/1"),
        (0, "bayeux.mapping", "/orders/{region}/{id}"),
        (1, "messaging.operation.type", "process"),
        (2, "messaging.destination.name", "audit"),
        (3, "bayeux.service", "/service/echo/{name}"),
    ] {
        assert_eq!(attribute(&spans[span], key).as_deref(), Some(value), "{key}");
    }
}

#[tokio::test]
async fn what_failed_says_so() {
    let collected = Collected::default();
    let house = House::new(Some(collected.provider()));
    let span = house.telemetry.observer().span(Step::Publish, "/audit", None).unwrap();
    span.fail("the broker is away");
    drop(span);
    assert_eq!(collected.spans()[0].status, Status::error("the broker is away"));
}

#[tokio::test]
async fn a_trace_goes_from_a_browser_through_the_broker_and_back_to_browsers() {
    let collected = Collected::default();
    let house = House::new(Some(collected.provider()));
    let client = house.handshake().await;
    house.post(json!([{"channel": "/meta/subscribe", "clientId": client, "subscription": "/orders/**"}])).await;
    let publish = json!({"channel": "/orders/eu/1", "clientId": client, "data": 1, "ext": {"traceparent": PARENT}});
    let replies = house.post(json!([publish])).await;
    let early = replies.into_iter().find(|message| !message["data"].is_null());
    let delivery = match early {
        Some(delivery) => delivery,
        None => house.take(&client, 1).await.remove(0),
    };
    let spans = collected.spans();
    let find = |name: &str| spans.iter().find(|span| span.name.starts_with(name)).unwrap();
    let (publish, deliver) = (find("publish"), find("deliver"));
    assert_eq!(publish.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(deliver.parent_span_id, publish.span_context.span_id(), "through the record's header");
    let seen = delivery["ext"]["traceparent"].as_str().unwrap();
    assert_eq!(seen, format!("00-{TRACE}-{}-01", deliver.span_context.span_id()), "what the browser gets");
}

#[tokio::test]
async fn without_an_endpoint_and_after_the_end_nothing_is_traced() {
    let untraced = House::new(None);
    assert!(untraced.telemetry.observer().span(Step::Publish, "/audit", Some(PARENT)).is_none());
    let house = House::new(Some(Collected::default().provider()));
    house.telemetry.shutdown().await;
    assert!(house.telemetry.observer().span(Step::Publish, "/audit", Some(PARENT)).is_none());
}
