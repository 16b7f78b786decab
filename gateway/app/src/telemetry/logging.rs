//! Log lines, on stderr: stdout belongs to what commands print.

use gateway_config::LogFormat;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging for the whole process; the first call counts. `RUST_LOG` overrides `level`.
///
/// Never fails: a gateway that cannot log as told says so on stderr and serves.
pub fn init_logging(format: LogFormat, level: &str) {
    let (filter, complaint) = filter(level, std::env::var(EnvFilter::DEFAULT_ENV).ok().as_deref());
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            registry.with(lines.compact().with_ansi(colors)).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(lines).try_init()
        }
    };
    if let Err(error) = started {
        eprintln!("warning: logging was started before: {error}");
    }
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
}

/// What is logged, and what to complain about.
fn filter(level: &str, rust_log: Option<&str>) -> (EnvFilter, Option<String>) {
    let configured = EnvFilter::new(directives(level));
    match rust_log.filter(|text| !text.trim().is_empty()).map(|text| (text, EnvFilter::builder().parse(text))) {
        None => (configured, None),
        Some((_, Ok(filter))) => (filter, None),
        Some((text, Err(error))) => {
            (configured, Some(format!("RUST_LOG is not understood and ignored: `{text}`: {error}")))
        }
    }
}

/// Libraries whose words the gateway says itself, with the connector's name and once.
const QUIET: &str = "opentelemetry=warn,opentelemetry-otlp=error,async_nats=warn,rumqttc=error";

/// Below `info` only the gateway's own parts speak: what a library does with each packet is for `RUST_LOG`. The
/// exporter of traces is quieted, as the gateway itself says once when a collector is away (`traces.rs`).
fn directives(level: &str) -> String {
    match level {
        "error" => "error".into(),
        "warn" => "warn,opentelemetry-otlp=error,rumqttc=error".into(),
        "debug" | "trace" => {
            let own = ["bayeux", "connector", "gateway"].map(|prefix| format!("{prefix}={level}")).join(",");
            format!("info,{QUIET},{own}")
        }
        _ => format!("info,{QUIET}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, rust_log: Option<&str>) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(filter(level, rust_log).0).with(lines.compact());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "bayeux_server::server", "own info");
            tracing::debug!(target: "bayeux_server::server", "own debug");
            tracing::debug!(target: "connector_kafka::link", "connector debug");
            tracing::debug!(target: "h2::codec", "library debug");
            tracing::info!(target: "hyper", "library info");
            tracing::warn!(target: "rumqttc", "each packet");
            tracing::warn!(target: "opentelemetry-otlp", "export failed");
            tracing::error!(target: "opentelemetry_sdk", "broken");
        });
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn debug_shows_what_the_gateway_does_and_not_each_packet_of_a_library() {
        let text = logged("debug", None);
        for shown in ["own info", "own debug", "connector debug", "library info", "broken"] {
            assert!(text.contains(shown), "{shown}:\n{text}");
        }
        for hidden in ["library debug", "export failed", "each packet"] {
            assert!(!text.contains(hidden), "{hidden}:\n{text}");
        }
    }

    #[test]
    fn a_level_hides_what_is_less_grave() {
        assert!(!logged("info", None).contains("debug"));
        let text = logged("warn", None);
        assert!(!text.contains("info") && text.contains("broken"), "{text}");
    }

    #[test]
    fn rust_log_wins_over_the_level_of_the_config() {
        let text = logged("error", Some("h2=debug"));
        assert!(text.contains("library debug") && !text.contains("broken"), "{text}");
    }

    #[test]
    fn a_rust_log_that_is_not_understood_is_told_and_the_level_of_the_config_stands() {
        let (_, complaint) = filter("info", Some("h2=loud"));
        assert!(complaint.is_some_and(|c| c.contains("RUST_LOG") && c.contains("h2=loud")));
        assert!(logged("info", Some("h2=loud")).contains("own info"));
    }
}
