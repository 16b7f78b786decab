//! Traces: one span for each publish, record and request, sent by OTLP.
//!
//! Spans are named by the semantic conventions for messaging: the operation and the topic as the mapping's author wrote
//! it, so that a channel of a single order is an attribute and not a name of its own.

use super::exporter::Told;
use bayeux::channel::{ChannelName, ChannelPattern};
use bayeux_bridge::mapping::{IngestMatch, Mapping, SubscribeMatch, Table};
use bayeux_bridge::observe::{Span, Step};
use bytestring::ByteString;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use parking_lot::Mutex;
use rand::Rng as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Why traces cannot be sent to an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It names no protocol.
    #[error("`{0}` must begin with http:// or https://, such as http://localhost:4317")]
    Scheme(String),
    /// It is not a URL.
    #[error("{0}")]
    Url(String),
}

/// Makes spans and sends them.
pub(super) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    table: Arc<Table>,
    services: Vec<(Option<ChannelPattern>, String)>,
    /// By mapping: the attribute that names the kind of broker.
    systems: OnceLock<Vec<Option<KeyValue>>>,
}

impl Traces {
    /// Sends to this endpoint in batches, by a thread of its own. Inside a tokio runtime.
    ///
    /// Sampling is that of the parent, and every trace that begins here; the environment's `OTEL_TRACES_SAMPLER` and
    /// `OTEL_BSP_…` are heeded.
    pub(super) fn to(endpoint: &str, table: &Arc<Table>, services: &[String]) -> Result<Self, EndpointError> {
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            return Err(EndpointError::Scheme(endpoint.to_owned()));
        }
        let exporter = OtlpExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter.map_err(|error| EndpointError::Url(error.to_string()))?;
        let exporter = Told::new(exporter, endpoint);
        let provider = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
        Ok(Self::of(provider, table, services))
    }

    /// Whatever the provider does with the spans.
    pub(super) fn of(provider: SdkTracerProvider, table: &Arc<Table>, services: &[String]) -> Self {
        Traces {
            tracer: provider.tracer("bayeux-gateway"),
            provider,
            table: Arc::clone(table),
            services: services.iter().map(|s| (ChannelPattern::parse(s).ok(), s.clone())).collect(),
            systems: OnceLock::new(),
        }
    }

    /// Says which kind of broker a connector is: known once there are connectors.
    pub(super) fn name_systems(&self, kind: impl Fn(&str) -> Option<String>) {
        let system = |mapping: &Mapping| Some(KeyValue::new("messaging.system", kind(&mapping.spec().connector)?));
        let _ = self.systems.set(self.table.mappings().iter().map(system).collect());
    }

    /// Begins a span; `None` when nothing is traced any more.
    pub(super) fn begin(&self, step: Step, channel: &str, parent: Option<&str>) -> Option<ActiveSpan> {
        let parent = match parent.and_then(parse) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let span = self.tracer.build_with_context(self.describe(step, channel), &parent);
        let context = span.span_context();
        let traceparent = context.is_valid().then(|| write(context))?;
        Some(ActiveSpan { span: Mutex::new(span), traceparent })
    }

    fn describe(&self, step: Step, channel: &str) -> SpanBuilder {
        let (verb, operation, kind) = match step {
            Step::Publish => ("publish", "send", SpanKind::Producer),
            Step::Deliver => ("deliver", "process", SpanKind::Consumer),
            Step::Call => ("call", "", SpanKind::Client),
        };
        let mut attributes = vec![KeyValue::new("bayeux.channel", channel.to_owned())];
        let mut name = verb.to_owned();
        let object = match step {
            Step::Call => self.service(channel).inspect(|pattern| {
                attributes.push(KeyValue::new("bayeux.service", (*pattern).to_owned()));
            }),
            Step::Publish | Step::Deliver => {
                attributes.push(KeyValue::new("messaging.operation.name", verb));
                attributes.push(KeyValue::new("messaging.operation.type", operation));
                self.mapping(step, channel).map(|mapping| {
                    let spec = mapping.spec();
                    let system = self.systems.get().and_then(|systems| systems.get(mapping.index())?.clone());
                    attributes.extend(system);
                    attributes.push(KeyValue::new("bayeux.mapping", spec.label().to_owned()));
                    attributes.push(match mapping.fixed_topic() {
                        Some(topic) => KeyValue::new("messaging.destination.name", topic.to_string()),
                        None => KeyValue::new("messaging.destination.template", spec.topic.clone()),
                    });
                    spec.topic.as_str()
                })
            }
        };
        if let Some(object) = object {
            name.push(' ');
            name.push_str(object);
        }
        SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes)
    }

    fn service(&self, channel: &str) -> Option<&str> {
        let fits = |pattern: &Option<ChannelPattern>| pattern.as_ref().is_some_and(|p| p.matches(channel));
        self.services.iter().find(|(pattern, _)| fits(pattern)).map(|(_, text)| text.as_str())
    }

    fn mapping(&self, step: Step, channel: &str) -> Option<&Mapping> {
        let channel = ChannelName::parse(&ByteString::from(channel)).ok()?;
        if step == Step::Publish {
            return match self.table.ingest(&channel) {
                IngestMatch::Mapping(route) => Some(route.mapping),
                IngestMatch::EgressOnly | IngestMatch::Unmapped => None,
            };
        }
        match self.table.subscribe(&channel) {
            SubscribeMatch::Egress(mappings) => self.table.get(*mappings.first()?),
            SubscribeMatch::IngestOnly | SubscribeMatch::Unmapped => None,
        }
    }

    /// Sends what is not sent yet, and nothing afterwards. Blocks.
    pub(super) fn shutdown(&self, within: Duration) -> OTelSdkResult {
        self.provider.shutdown_with_timeout(within)
    }
}

/// Who sends: this gateway, this run of it. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` may say more.
fn resource() -> Resource {
    let mut random = rand::rng();
    let instance = format!("{:032x}", random.random::<u128>());
    let detected = Resource::builder().build();
    let builder = Resource::builder_empty()
        .with_service_name("bayeux-gateway")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance));
    // Without the environment's word the SDK makes a name up, which would hide ours.
    let made_up = |value: &str| value.starts_with("unknown_service");
    let words = detected.iter().filter(|(key, value)| key.as_str() != "service.name" || !made_up(&value.as_str()));
    builder.with_attributes(words.map(|(key, value)| KeyValue::new(key.clone(), value.clone()))).build()
}

/// A span that runs; it ends when it is dropped.
pub(super) struct ActiveSpan {
    span: Mutex<opentelemetry_sdk::trace::Span>,
    traceparent: ByteString,
}

impl Span for ActiveSpan {
    fn traceparent(&self) -> Option<ByteString> {
        Some(self.traceparent.clone())
    }

    fn fail(&self, reason: &str) {
        self.span.lock().set_status(Status::error(reason.to_owned()));
    }
}

/// Of a W3C `traceparent`; what is not one is nobody's child.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    let context = SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::NONE);
    context.is_valid().then_some(context)
}

fn write(context: &SpanContext) -> ByteString {
    let flags = u8::from(context.is_sampled());
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()).into()
}
