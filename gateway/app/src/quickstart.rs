//! What runs without a config: an embedded log, a page to look at, a feed that ticks, an echo.

use crate::output::line;
use bayeux_bridge::Bridge;
use bytes::Bytes;
use connector::Outbound;
use gateway_config::{Source, Sources};
use rand::Rng;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The config of the quickstart.
const CONFIG: &str = "\
connectors:
  demo: { memory: {} }
mappings:
  - { channel: /demo/**, connector: demo, topic: demo.**, replay: true }
services:
  - { channel: /service/echo, builtin: echo }
";

/// What ticks: a name and a price to begin with.
const SYMBOLS: [(&str, f64); 6] =
    [("ACME", 101.20), ("GLOBEX", 54.75), ("HOOLI", 312.40), ("INITECH", 18.05), ("STARK", 224.90), ("WAYNE", 87.30)];
/// Between ticks.
const EVERY: Duration = Duration::from_millis(100);

/// The quickstart's config, with the environment over it.
pub fn sources() -> Sources {
    let mut sources = Sources::files(Vec::<std::path::PathBuf>::new());
    sources.files.push(Source::Text { name: "quickstart".into(), text: CONFIG.into() });
    sources
}

/// Publishes prices from the backend's side: into the log, from where the bridge brings them to browsers.
pub async fn tick(bridge: Arc<Bridge>) {
    let Some(log) = bridge.connector("demo") else { return };
    let mut prices = SYMBOLS;
    let mut next = 0;
    let mut clock = tokio::time::interval(EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        clock.tick().await;
        let count = prices.len();
        let (symbol, price) = &mut prices[next % count];
        let start = SYMBOLS[next % count].1;
        next += 1;
        let step = f64::from(rand::rng().random_range(-40..=40)) / 10_000.0; // of the price
        *price = (*price * (1.0 + step)).max(1.0);
        let change = (*price / start - 1.0) * 100.0; // per cent since the start
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let data = format!(r#"{{"symbol":"{symbol}","price":{price:.2},"change":{change:.2},"at":{at}}}"#);
        let record = Outbound {
            topic: "demo.ticks".into(),
            key: Some(Bytes::from_static(symbol.as_bytes())),
            partition: None,
            payload: Some(data.into()),
            headers: Vec::new(),
            deadline: Instant::now() + Duration::from_secs(1),
        };
        if let Err(error) = log.publish(record).await {
            tracing::warn!(%error, "a tick was not stored");
        }
    }
}

/// Says what to try.
pub fn greet(server: SocketAddr, admin: SocketAddr) {
    let (bold, dim, plain) = match std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => ("\x1b[1m", "\x1b[2m", "\x1b[0m"),
        false => ("", "", ""),
    };
    line(format!(
        "
{bold}bayeux-gateway{plain} quickstart: an embedded log, no broker needed

  Page      {bold}http://{server}/{plain}
  Bayeux    http://{server}/cometd   {dim}(WebSocket, long-polling, callback-polling){plain}
  Health    http://{admin}/readyz    {dim}metrics at /metrics{plain}

Try, in another terminal:
  bayeux-gateway subscribe http://{server}/cometd /demo/ticks --count 3
  bayeux-gateway call http://{server}/cometd /service/echo '{{\"hello\":\"world\"}}'
  curl -s http://{server}/cometd -H 'content-type: application/json' \\
    -d '[{{\"channel\":\"/meta/handshake\",\"version\":\"1.0\",\"supportedConnectionTypes\":[\"long-polling\"]}}]'

With a broker of yours: bayeux-gateway --config FILE   {dim}(examples in config/examples){plain}
"
    ));
}
