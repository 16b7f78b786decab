//! The routes of the admin listener.

use super::readiness::Report;
use crate::telemetry::{ConnectorEntry, Telemetry};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use bayeux_bridge::Bridge;
use bayeux_server::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const INDEX: &str = include_str!("index.html");
/// Of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the admin listener tells about.
#[derive(Clone)]
pub struct AdminState {
    /// The connectors of the config.
    pub connectors: Vec<ConnectorEntry>,
    /// The server.
    pub server: Server,
    /// The bridge.
    pub bridge: Arc<Bridge>,
    /// The gateway is on its way to its end.
    pub draining: Arc<AtomicBool>,
    /// Whether an outage of a required connector makes it not ready.
    pub fail_ready_when_down: bool,
    /// The metrics.
    pub telemetry: Arc<Telemetry>,
}

/// `/`, `/livez`, `/readyz`, `/metrics`. No answer is for a cache.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/", get(|| async { uncached(Html(INDEX)) }))
        .route("/livez", get(|| async { uncached("ok\n") }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(state))
}

fn uncached(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn ready(State(state): State<Arc<AdminState>>) -> Response {
    let draining = state.draining.load(Ordering::Relaxed) || state.server.draining();
    let report = Report::make(&state.connectors, &state.bridge, draining, state.fail_ready_when_down);
    let code = if report.status.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    uncached((code, Json(report)))
}

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    // It goes through all sessions: not on a thread that serves them.
    let text = tokio::task::spawn_blocking(move || state.telemetry.metrics()).await;
    match text {
        Ok(Ok(text)) => uncached(([(header::CONTENT_TYPE, METRICS_TYPE)], text)),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "metrics cannot be shown");
    uncached((StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be shown: {error}\n")))
}
