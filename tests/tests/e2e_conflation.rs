//! Prices tick faster than anybody can read: subscribers get the latest of each, as often as the mapping says.

use gateway_tests::bayeux::{Client, Transport};
use gateway_tests::gateway::Gateway;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::nats::Nats;
use gateway_tests::story::aside;
use std::collections::HashMap;
use std::time::Duration;

const SYMBOLS: [&str; 3] = ["ACME", "HOOLI", "STARK"];
const TICKS: usize = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_price_of_each_symbol_arrives_and_most_before_it_do_not() {
    let nats = Broker::shared(Kind::Nats);
    let subject = gateway_tests::kafka::unique("market");
    let gateway = Gateway::start(&format!(
        "
connectors:
  events: {{ nats: {{ servers: [\"{}\"] }} }}
mappings:
  - channel: /market/**
    connector: events
    topic: {subject}.**
    direction: egress
    deliver: {{ conflate_by: \"/symbol\", every: 200ms }}
",
        nats.url()
    ));
    let mut clients = Vec::new();
    for transport in [Transport::WebSocket, Transport::LongPolling] {
        let client = Client::connect(&gateway.url(), transport).await;
        client.subscribe("/market/*").await;
        clients.push(client);
    }
    aside(|| {
        let mut bus = Nats::connect(&nats.url());
        for n in 0..TICKS {
            let symbol = SYMBOLS[n % SYMBOLS.len()];
            bus.publish(&format!("{subject}.all"), &format!(r#"{{"symbol":"{symbol}","n":{n}}}"#));
        }
        bus.flush();
    });
    for client in &mut clients {
        let mut latest: HashMap<String, u64> = HashMap::new();
        let mut count = 0;
        // The last of each symbol arrives, whatever was left out before.
        while SYMBOLS
            .iter()
            .enumerate()
            .any(|(i, symbol)| latest.get(*symbol).copied() != Some((TICKS - SYMBOLS.len() + i) as u64))
        {
            let data = client.next().await.value();
            let (symbol, n) = (data["symbol"].as_str().expect("a symbol").to_owned(), data["n"].as_u64().expect("n"));
            assert!(latest.insert(symbol, n).is_none_or(|before| before < n), "never back in time: {data}");
            count += 1;
        }
        assert!(count < TICKS / 2, "{count} of {TICKS} went out");
        assert_eq!(client.until_quiet(Duration::from_millis(500)).await.len(), 0, "and nothing after the last");
    }
    let metrics = gateway.admin_get("/metrics").1;
    let conflated: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("bayeux_egress_messages_total") && line.contains("outcome=\"conflated\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!(conflated > 0.0, "what was left out is counted:\n{metrics}");
}
