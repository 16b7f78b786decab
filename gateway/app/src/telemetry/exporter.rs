//! What the log says of a collector that is away: once when it goes, once when it is back.

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An exporter whose failures are told once an outage, not once a batch.
#[derive(Debug)]
pub(super) struct Told<E> {
    inner: E,
    endpoint: String,
    failing: AtomicBool,
}

impl<E> Told<E> {
    /// `endpoint`: what the log calls it.
    pub(super) fn new(inner: E, endpoint: &str) -> Self {
        Told { inner, endpoint: endpoint.to_owned(), failing: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let endpoint = &self.endpoint;
        match self.inner.export(batch).await {
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => tracing::info!(%endpoint, "traces are sent again"),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%endpoint, spans, %error, "traces cannot be sent, and are dropped until they can");
            }
            Ok(()) | Err(_) => {}
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::error::OTelSdkError;
    use std::sync::{Arc, Mutex};
    use tracing::{Event, Level, Metadata, Subscriber, span};

    /// An exporter that a test can break.
    #[derive(Debug, Clone, Default)]
    struct Line(Arc<AtomicBool>);

    impl SpanExporter for Line {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match self.0.load(Ordering::Relaxed) {
                true => Err(OTelSdkError::InternalFailure("nobody there".into())),
                false => Ok(()),
            }
        }
    }

    /// The levels of what was logged.
    #[derive(Clone, Default)]
    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl Subscriber for Levels {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().ends_with("telemetry::exporter")
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[tokio::test]
    async fn an_outage_of_the_collector_is_told_once_and_so_is_its_end() {
        let levels = Levels::default();
        let _guard = tracing::subscriber::set_default(levels.clone());
        let line = Line::default();
        let told = Told::new(line.clone(), "http://collector:4317");
        for broken in [false, true, true, true, false, false, true] {
            line.0.store(broken, Ordering::Relaxed);
            assert!(told.export(Vec::new()).await.is_ok(), "the log says it, nobody else needs to");
        }
        assert_eq!(*levels.0.lock().unwrap(), [Level::WARN, Level::INFO, Level::WARN]);
    }
}
