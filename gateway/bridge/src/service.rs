//! Services: a message on `/service/**` becomes a request to its handler, and the answer a message to the caller alone,
//! in the form that the `remoteCall()` of CometD's clients understands.
//!
//! The message is acknowledged at once; the answer follows when it is there. So a handler that hangs delays nothing but
//! its own answer, which its timeout ends.

use crate::bridge::UnmappedServices;
use crate::ingest::is_binary;
use crate::observe::{Observer, Outcome, Step, is_traceparent};
use bayeux::channel::ChannelPattern;
use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux::error::error;
use bayeux::message::MessageId;
use bayeux::reply::{Advice, Reconnect, Refusal};
use bayeux_server::LiveSession;
use bayeux_server::hooks::Publish;
use bytes::Bytes;
use bytestring::ByteString;
use connector::{Caller, HandlerError, Request, RequestHandler};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who answers.
#[derive(Clone)]
pub enum Answering {
    /// The gateway itself: the data comes back.
    Echo,
    /// A backend.
    Handler(Arc<dyn RequestHandler>),
}

/// One service of the config.
#[derive(Clone)]
pub struct ServiceSpec {
    /// Its channels; of `/service/…`.
    pub channel: ChannelPattern,
    /// Who answers.
    pub answering: Answering,
    /// How long the answer may take.
    pub timeout: Duration,
    /// How many requests may wait for their answer; above it they are refused with `503`.
    pub max_in_flight: usize,
}

struct Service {
    spec: ServiceSpec,
    places: Arc<Semaphore>,
}

/// The services, in file order: the first whose pattern fits takes a message.
pub struct Services {
    services: Vec<Service>,
    observer: Arc<dyn Observer>,
}

impl Services {
    pub(crate) fn new(specs: Vec<ServiceSpec>, observer: Arc<dyn Observer>) -> Self {
        let services = specs
            .into_iter()
            .map(|spec| Service {
                places: Arc::new(Semaphore::new(spec.max_in_flight.min(Semaphore::MAX_PERMITS))),
                spec,
            })
            .collect();
        Services { services, observer }
    }

    /// Requests that wait for their answer.
    pub fn in_flight(&self) -> usize {
        let waiting = |s: &Service| s.spec.max_in_flight.saturating_sub(s.places.available_permits());
        self.services.iter().map(waiting).sum()
    }

    pub(crate) fn take(&self, publish: &Publish, unmapped: UnmappedServices) -> Result<(), Refusal> {
        let channel = publish.channel.as_str();
        let found = self.services.iter().enumerate().find_map(|(index, service)| {
            service.spec.channel.captures(channel).map(|captures| (index, service, captures))
        });
        let Some((index, service, captures)) = found else {
            return match unmapped {
                UnmappedServices::Acknowledge => Ok(()),
                UnmappedServices::Refuse => Err(Refusal::new(error(404, channel, "service_unknown"))),
            };
        };
        let id = match &publish.message.id {
            Some(MessageId::Valid(id) | MessageId::Invalid(id)) => Some(id.clone()),
            _ => None,
        };
        let data = publish.message.data.clone().unwrap_or(Bytes::from_static(b"null"));
        let call = Call { session: Arc::clone(&publish.session), channel: publish.channel.as_bytestring().clone(), id };
        let handler = match &service.spec.answering {
            Answering::Echo => {
                self.observer.served(index, Outcome::Ok, Duration::ZERO);
                call.answer_marked(true, &data, None, is_binary(&publish.message));
                return Ok(());
            }
            Answering::Handler(handler) => Arc::clone(handler),
        };
        let Ok(place) = Arc::clone(&service.places).try_acquire_owned() else {
            self.observer.served(index, Outcome::Overloaded, Duration::ZERO);
            let refusal = Refusal::new(error(503, channel, "overloaded"));
            return Err(refusal.with_advice(Advice::new(Reconnect::Retry, 1_000)));
        };
        let parent = publish.traceparent.clone().filter(|text| is_traceparent(text));
        let span = self.observer.span(Step::Call, channel, parent.as_deref());
        let traceparent = match &span {
            Some(span) => span.traceparent(),
            None => parent,
        };
        let identity = publish.session.identity();
        let names = service.spec.channel.names().map(ByteString::from);
        let request = Request {
            channel: call.channel.clone(),
            bindings: names.zip(captures.names.iter().map(|value| decoded(value))).collect(),
            data,
            caller: Caller {
                user: identity.user.clone(),
                claims: identity.claims.clone(),
                session_tag: publish.session.tag().clone(),
            },
            traceparent,
            deadline: Instant::now() + service.spec.timeout,
        };
        let observer = Arc::clone(&self.observer);
        tokio::spawn(async move {
            let outcome = run(handler, request, call, place).await;
            if let (Some(span), false) = (&span, outcome.0 == Outcome::Ok) {
                span.fail(outcome.0.as_str());
            }
            observer.served(index, outcome.0, outcome.1);
        });
        Ok(())
    }
}

/// A segment's value: `~HH` decoded where it is a good escape, else as it is.
fn decoded(segment: &str) -> ByteString {
    crate::mapping::decode_segment(segment).map_or_else(|| segment.into(), |value| ByteString::from(&*value))
}

async fn run(
    handler: Arc<dyn RequestHandler>,
    request: Request,
    call: Call,
    place: OwnedSemaphorePermit,
) -> (Outcome, Duration) {
    let begun = Instant::now();
    let deadline = request.deadline;
    let result = tokio::time::timeout_at(deadline.into(), handler.call(request)).await;
    let outcome = match result.unwrap_or(Err(HandlerError::Timeout)) {
        Ok(response) => {
            call.answer(true, &response.data, None);
            Outcome::Ok
        }
        Err(why) => {
            tracing::debug!(channel = %call.channel, %why, "service request failed");
            let (code, text, outcome, data) = failure(&why);
            let error = error(code, &call.channel, text);
            let data = data.unwrap_or_else(|| json!({ "code": code, "reason": why.to_string() }).to_string().into());
            call.answer(false, &data, Some(&error));
            outcome
        }
    };
    drop(place); // not before the answer is on its way: a drain waits for this
    (outcome, begun.elapsed())
}

fn failure(why: &HandlerError) -> (u16, &'static str, Outcome, Option<Bytes>) {
    match why {
        HandlerError::Refused { code, data } => (*code, "refused", Outcome::Refused, data.clone()),
        HandlerError::Failed { code, data, .. } => (*code, "backend_failed", Outcome::Failed, data.clone()),
        HandlerError::Unavailable(_) => (503, "backend_unavailable", Outcome::Unavailable, None),
        HandlerError::Timeout => (504, "timeout", Outcome::Timeout, None),
        HandlerError::Overloaded => (503, "overloaded", Outcome::Overloaded, None),
        HandlerError::Invalid(_) => (400, "request_invalid", Outcome::Refused, None),
    }
}

/// Whom an answer goes to.
struct Call {
    session: Arc<LiveSession>,
    channel: ByteString,
    id: Option<ByteString>,
}

impl Call {
    /// The answer carries the question's id, its outcome and always data: by these the clients know it from the plain
    /// acknowledgement, which has no data.
    fn answer(&self, successful: bool, data: &Bytes, error: Option<&ByteString>) {
        self.answer_marked(successful, data, error, false);
    }

    /// The same; `binary` when the data is a message of the binary extension.
    fn answer_marked(&self, successful: bool, data: &Bytes, error: Option<&ByteString>, binary: bool) {
        let mark = [(ByteString::from_static("binary"), Bytes::from_static(b"{}"))];
        let mut other = Vec::new();
        if let Some(error) = error {
            other.push((ByteString::from_static("error"), Bytes::from(json!(&**error).to_string())));
        }
        let parts = DeliveryParts {
            id: self.id.as_deref(),
            successful: Some(successful),
            data,
            ext: if binary { &mark } else { &[] },
            other: &other,
            lazy: None,
        };
        self.session.deliver(Arc::new(Delivery::new(self.channel.clone(), &parts)));
    }
}
