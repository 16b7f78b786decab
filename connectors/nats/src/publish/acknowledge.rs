//! JetStream publishes: handed over in order, answered by the stream.

use super::{Job, UNANSWERED, out_of_time};
use crate::api::{Api, ApiError, ErrorBody};
use crate::inbox::{Answer, Question};
use crate::link::{AskError, Connected};
use crate::position;
use async_nats::{Message, StatusCode};
use bytestring::ByteString;
use connector::{Place, PublishError};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout_at;

/// How long an answer may take until it is asked whether there is a stream at all.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// A record that was handed over.
struct Sent {
    job: Job,
    question: Question,
    _window: OwnedSemaphorePermit,
}

/// Hands over what is in the line, in order, as long as it lives. What cannot be handed over waits until its deadline.
pub(super) async fn send(api: &Api, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let window = Arc::new(Semaphore::new(UNANSWERED));
    // As many can be in it as the window lets through.
    let (sent, answers) = mpsc::unbounded_channel();
    let hand_over = async {
        while let Some(job) = jobs.recv().await {
            let ready = async {
                let place = window.clone().acquire_owned().await;
                (place, api.link.connected().await)
            };
            match timeout_at(job.deadline, ready).await {
                Ok((Ok(place), connection)) => {
                    if let Some(record) = hand_over_one(api, &connection, job, place).await {
                        let _ = sent.send(record);
                    }
                }
                // The caller, whose deadline it is too, says why.
                Ok((Err(_), _)) | Err(_) => {
                    if job.claim.give_up() {
                        let reason =
                            api.link.current().err().map_or_else(out_of_time, |l| PublishError::Unavailable(l.0));
                        job.answer(Err(reason));
                    }
                }
            }
        }
    };
    tokio::join!(hand_over, collect(api, answers));
}

async fn hand_over_one(api: &Api, connection: &Connected, mut job: Job, window: OwnedSemaphorePermit) -> Option<Sent> {
    if !job.claim.send() {
        return None;
    }
    let (headers, payload) = (job.headers.take(), std::mem::take(&mut job.payload));
    match api.link.send(connection, job.topic.to_string(), headers, payload).await {
        Ok(question) => Some(Sent { job, question, _window: window }),
        Err(error) => {
            job.answer(Err(match error {
                AskError::Invalid(why) => PublishError::TooLarge(why),
                other => PublishError::Unavailable(other.to_string()),
            }));
            None
        }
    }
}

/// Waits for all answers at once.
async fn collect(api: &Api, mut sent: mpsc::UnboundedReceiver<Sent>) {
    let looks = Semaphore::new(1);
    let mut open = FuturesUnordered::new();
    let mut more = true;
    while more || !open.is_empty() {
        tokio::select! {
            record = sent.recv(), if more => match record {
                Some(record) => open.push(answer(api, &looks, record)),
                None => more = false,
            },
            Some(()) = open.next(), if !open.is_empty() => {}
        }
    }
}

async fn answer(api: &Api, looks: &Semaphore, mut sent: Sent) {
    let topic = sent.job.topic.clone();
    let answered = async {
        tokio::select! {
            biased;
            answer = sent.question.answer() => match answer {
                Some(Answer::Message(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                    Err(why_no_stream(api, &topic).await)
                }
                Some(Answer::Message(message)) => read(&message),
                Some(Answer::Denied) => Err(PublishError::Denied(format!("this account may not publish to {topic}"))),
                None => {
                    Err(PublishError::OutcomeUnknown("the connection to NATS was lost before it answered".into()))
                }
            },
            () = no_stream(api, looks, &topic) => Err(PublishError::TopicUnknown(topic.to_string())),
        }
    };
    let result = match timeout_at(sent.job.deadline, answered).await {
        Ok(result) => result,
        Err(_) => Err(PublishError::OutcomeUnknown("JetStream did not answer in time".into())),
    };
    sent.job.answer(result.map(Some));
}

/// Resolves when no stream has the subject. NATS says so at once only where nobody at all listens: a plain subscriber
/// takes the record, and never answers.
async fn no_stream(api: &Api, looks: &Semaphore, topic: &ByteString) {
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        // One at a time: a server that is slow to answer is not to be asked once more for each publish.
        let turn = looks.acquire().await;
        if api.streams_of(topic).await.is_ok_and(|streams| streams.is_empty()) {
            return;
        }
        drop(turn);
    }
}

/// No one took the record, so it is surely not stored. Usually no stream has the subject; but a stream without a
/// leader looks the same, and that is no reason to tell a publisher never to try again.
async fn why_no_stream(api: &Api, topic: &ByteString) -> PublishError {
    match api.streams_of(topic).await {
        Ok(streams) if streams.is_empty() => PublishError::TopicUnknown(topic.to_string()),
        Ok(streams) => PublishError::Unavailable(format!("the stream {} has no leader now", streams.join(", "))),
        Err(ApiError::Denied(_)) => PublishError::TopicUnknown(topic.to_string()),
        Err(error) => PublishError::Unavailable(error.to_string()),
    }
}

#[derive(Deserialize)]
struct PublishAnswer {
    stream: Option<String>,
    seq: Option<u64>,
    error: Option<ErrorBody>,
}

/// Reads what a stream answers to a record.
fn read(message: &Message) -> Result<Place, PublishError> {
    match serde_json::from_slice::<PublishAnswer>(&message.payload) {
        Ok(PublishAnswer { error: Some(error), .. }) => Err(refusal(error)),
        // The record's time is not told.
        Ok(PublishAnswer { stream: Some(stream), seq: Some(sequence), .. }) => {
            Ok(position::place(&position::log(&stream), sequence, None))
        }
        // A responder that is no stream listens on that subject, and was quicker or alone.
        _ => Err(PublishError::OutcomeUnknown(
            "the answer is not from JetStream: something else answers on that subject".into(),
        )),
    }
}

fn refusal(error: ErrorBody) -> PublishError {
    /// The stream has no room: `insufficient resources`, memory, storage.
    const NO_ROOM: [u32; 3] = [10_023, 10_028, 10_047];
    /// The store said no, which with `discard: new` means that it is full.
    const NOT_STORED: u32 = 10_077;
    /// The message, or its headers, are larger than the stream takes.
    const TOO_LARGE: [u32; 2] = [10_054, 10_097];
    let text = format!("{} (JetStream error {})", error.description, error.err_code);
    match error.err_code {
        code if TOO_LARGE.contains(&code) => PublishError::TooLarge(text),
        code if NO_ROOM.contains(&code) => PublishError::Overloaded(text),
        NOT_STORED if error.description.contains("maximum") => PublishError::Overloaded(text),
        _ if matches!(error.code, 429) => PublishError::Overloaded(text),
        _ if matches!(error.code, 503) => PublishError::Unavailable(text),
        _ => PublishError::Rejected(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(payload: &str) -> Result<Place, PublishError> {
        read(&Message {
            subject: "_INBOX.a.1".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        })
    }

    #[test]
    fn a_streams_answer_says_what_the_publisher_should_do() {
        let stored = Ok(position::place(&position::log("S"), 7, None));
        assert_eq!(answer(r#"{"stream":"S","seq":7}"#), stored);
        assert_eq!(answer(r#"{"stream":"S","seq":7,"duplicate":true}"#), stored);
        let error = |code, err_code, description| {
            answer(&format!(
                r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"{description}"}},"stream":"S","seq":0}}"#
            ))
            .unwrap_err()
        };
        assert!(matches!(error(400, 10_054, "message size exceeds maximum allowed"), PublishError::TooLarge(_)));
        assert!(matches!(error(400, 10_071, "wrong last sequence: 5"), PublishError::Rejected(_)));
        assert!(matches!(error(503, 10_077, "maximum messages exceeded"), PublishError::Overloaded(_)));
        assert!(matches!(error(503, 10_008, "JetStream system temporarily unavailable"), PublishError::Unavailable(_)));
        assert!(matches!(error(429, 10_167, "too many requests"), PublishError::Overloaded(_)));
        assert!(matches!(answer("pong"), Err(PublishError::OutcomeUnknown(_))));
        assert!(matches!(answer("{}"), Err(PublishError::OutcomeUnknown(_))));
    }
}
