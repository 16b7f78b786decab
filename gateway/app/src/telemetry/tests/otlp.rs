//! Traces over the wire, to a collector of our own: gRPC is HTTP/2, and the names in a protobuf message are plain text.

use super::house::{SERVICES, table};
use crate::telemetry::Telemetry;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use bayeux_bridge::observe::Step;
use connector_memory::{MemoryConnector, Settings};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

async fn export(State(seen): State<mpsc::UnboundedSender<Bytes>>, body: Bytes) -> impl IntoResponse {
    seen.send(body).unwrap();
    // One empty message.
    ([(header::CONTENT_TYPE, "application/grpc")], vec![0_u8; 5])
}

async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<Bytes>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let router = Router::new().route(EXPORT, post(export)).with_state(sender);
    tokio::spawn(async move { axum::serve(socket, router).await });
    (address, receiver)
}

fn start(endpoint: &str) -> Result<Telemetry, String> {
    let table = table(&MemoryConnector::open(Settings::default()).unwrap());
    Telemetry::start(Some(endpoint), &table, &SERVICES.map(str::to_owned)).map_err(|error| error.to_string())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_traces_reach_the_collector_before_the_end() {
    let (address, mut seen) = collector().await;
    let telemetry = start(&format!("http://{address}")).unwrap();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    drop(telemetry.observer().span(Step::Publish, "/orders/eu/1", Some(parent)));
    telemetry.shutdown().await;
    let sent = seen.try_recv().expect("they were sent while the gateway ended");
    for text in
        ["service.name", "bayeux-gateway", "service.instance.id", "publish orders.{region}.{id}", "/orders/eu/1"]
    {
        assert!(contains(&sent, text.as_bytes()), "{text}: {}", String::from_utf8_lossy(&sent));
    }
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert!(contains(&sent, &trace), "in the trace of the caller");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_keeps_the_gateway_neither_from_starting_nor_from_ending() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap(); // closed again
    let telemetry = start(&format!("http://{gone}")).unwrap();
    assert!(telemetry.observer().span(Step::Publish, "/audit", None).is_some());
    telemetry.shutdown().await;
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_refused_with_an_example() {
    for bad in ["localhost:4317", "grpc://localhost:4317", "http://"] {
        let why = start(bad).err().unwrap_or_else(|| panic!("{bad} is refused"));
        assert!(why.contains("otlp_endpoint"), "{why}");
    }
    assert!(start("localhost:4317").is_err_and(|why| why.contains("http://localhost:4317")));
    assert!(start("https://collector.example.com:4317").is_ok(), "TLS is built in");
}
