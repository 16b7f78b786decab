//! What a probe and a scraper see.

use super::readiness::{Link, Status, judge};
use super::{AdminState, router};
use crate::telemetry::tests::house::House;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use connector::State;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tower::ServiceExt as _;

const UP: Link = Link { required: true, state: State::Up, was_up: true };
const DEGRADED: Link = Link { required: true, state: State::Degraded, was_up: true };
const DOWN: Link = Link { required: true, state: State::Down, was_up: true };
const NEVER: Link = Link { required: true, state: State::Connecting, was_up: false };

fn optional(link: Link) -> Link {
    Link { required: false, ..link }
}

#[test]
fn readiness_follows_the_required_connectors() {
    let plain = |links: &[Link]| judge(links.iter().copied(), false, false, false);
    let strict = |links: &[Link]| judge(links.iter().copied(), false, false, true);
    for (links, usual, when_down_fails) in [
        (&[][..], Status::Ready, Status::Ready),
        (&[UP, UP], Status::Ready, Status::Ready),
        (&[UP, NEVER], Status::Starting, Status::Starting),
        (&[DOWN, NEVER], Status::Starting, Status::Starting),
        (&[UP, DOWN], Status::Degraded, Status::Down),
        (&[UP, DEGRADED], Status::Degraded, Status::Degraded),
        (&[UP, optional(NEVER), optional(DOWN)], Status::Ready, Status::Ready),
    ] {
        assert_eq!(plain(links), usual, "{links:?}");
        assert_eq!(strict(links), when_down_fails, "{links:?}, fail_ready_when_down");
    }
}

#[test]
fn a_connector_that_only_partly_works_from_the_start_was_never_up() {
    let partly = Link { was_up: false, ..DEGRADED };
    assert_eq!(judge([partly].into_iter(), false, false, false), Status::Starting);
}

#[test]
fn a_drain_outweighs_all_and_a_failed_feed_is_told() {
    assert_eq!(judge([UP].into_iter(), true, false, true), Status::Degraded);
    for link in [UP, DOWN, NEVER] {
        assert_eq!(judge([link].into_iter(), true, true, true), Status::Draining);
    }
    let ready: Vec<_> = [Status::Ready, Status::Degraded, Status::Down, Status::Starting, Status::Draining]
        .map(Status::is_ready)
        .into();
    assert_eq!(ready, [true, true, false, false, false]);
}

fn state(house: &House) -> AdminState {
    AdminState {
        connectors: house.connectors.clone(),
        server: house.server.clone(),
        bridge: Arc::clone(&house.bridge),
        draining: Arc::new(AtomicBool::new(false)),
        fail_ready_when_down: false,
        telemetry: Arc::clone(&house.telemetry),
    }
}

struct Answer {
    code: StatusCode,
    kind: String,
    cache: String,
    body: String,
}

async fn ask(state: &AdminState, request: Request<Body>) -> Answer {
    let response = router(state.clone()).oneshot(request).await.unwrap();
    let header = |name: header::HeaderName| {
        response.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let (code, kind, cache) = (response.status(), header(header::CONTENT_TYPE), header(header::CACHE_CONTROL));
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { code, kind, cache, body: String::from_utf8(body.to_vec()).unwrap() }
}

async fn get(state: &AdminState, path: &str) -> Answer {
    ask(state, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn readiness(state: &AdminState) -> (StatusCode, Value) {
    let answer = get(state, "/readyz").await;
    (answer.code, serde_json::from_str(&answer.body).unwrap())
}

#[tokio::test]
async fn a_gateway_whose_broker_is_there_is_ready_until_it_drains_and_alive_all_along() {
    let house = House::new(None);
    let state = state(&house);
    let (code, body) = readiness(&state).await;
    assert_eq!((code, &body["status"]), (StatusCode::OK, &"ready".into()), "{body}");
    let connector = &body["connectors"][0];
    for (key, value) in [("name", "log"), ("kind", "memory"), ("state", "up"), ("reason", "")] {
        assert_eq!(connector[key], value, "{body}");
    }
    assert_eq!(connector["required"], true);
    assert!(connector["since"].as_str().is_some_and(|t| t.starts_with("20") && t.ends_with('Z')), "{body}");
    let feed = &body["feeds"][0];
    assert_eq!((&feed["channel"], &feed["state"]), (&"/orders/{region}/{id}".into(), &"closed".into()), "{body}");
    assert_eq!(body["feeds"].as_array().map(Vec::len), Some(1), "the other mapping reads nothing: {body}");

    house.server.drain();
    let (code, body) = readiness(&state).await;
    assert_eq!((code, &body["status"]), (StatusCode::SERVICE_UNAVAILABLE, &"draining".into()), "{body}");
    assert_eq!(get(&state, "/livez").await.code, StatusCode::OK);
}

#[cfg(feature = "nats")]
#[tokio::test]
async fn a_required_broker_that_was_never_there_is_named_with_the_reason() {
    use connector::ConnectorFactory as _;
    let house = House::new(None);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed again
    let settings = serde_json::json!({"servers": [format!("nats://{nobody}")]});
    let plan = connector_nats::NatsFactory::plan(serde_json::from_value(settings).unwrap()).unwrap();
    let context = connector::Context { name: "events".into(), node: "here".into() };
    let nats = connector_nats::NatsFactory::connect(&plan, context).unwrap();
    let mut entry = house.connectors[0].clone();
    entry.name = "events".into();
    entry.kind = "nats".into();
    entry.connector = nats;
    let mut state = state(&house);
    state.connectors.push(entry);
    let (code, body) = readiness(&state).await;
    assert_eq!((code, &body["status"]), (StatusCode::SERVICE_UNAVAILABLE, &"starting".into()), "{body}");
    assert!(body["reasons"][0].as_str().is_some_and(|r| r.starts_with("connector events is connecting: ")), "{body}");

    state.connectors[1].required = false;
    let (code, body) = readiness(&state).await;
    assert_eq!((code, &body["status"]), (StatusCode::OK, &"ready".into()), "{body}");
    assert_eq!(body["reasons"].as_array().map(Vec::len), Some(1), "still told: {body}");
}

#[tokio::test]
async fn only_the_documented_paths_are_open_and_nothing_is_cached() {
    let house = House::new(None);
    let state = state(&house);
    let index = get(&state, "/").await;
    assert!(index.kind.starts_with("text/html"), "{}", index.kind);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert!(index.body.contains(path), "the page lists {path}");
        let answer = get(&state, path).await;
        assert_eq!((answer.code, answer.cache.as_str()), (StatusCode::OK, "no-store"), "{path}");
    }
    let metrics = get(&state, "/metrics").await;
    assert!(metrics.kind.starts_with("text/plain; version=0.0.4"), "{}", metrics.kind);
    assert!(metrics.body.contains("\nbayeux_sessions 0\n"), "{}", metrics.body);
    for path in ["/sessions", "/debug", "/cometd"] {
        assert_eq!(get(&state, path).await.code, StatusCode::NOT_FOUND, "{path}");
    }
    let post = ask(&state, Request::post("/readyz").body(Body::empty()).unwrap()).await;
    assert_eq!(post.code, StatusCode::METHOD_NOT_ALLOWED);
}
