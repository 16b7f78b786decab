//! Answers: who waits for which.
//!
//! One subscription takes all answers of a connector. Each question carries a reply subject of its own, whose last
//! token is looked up here.

use async_nats::Message;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    Message(Message),
    /// The server does not let this account publish there: nothing was delivered.
    Denied,
}

struct Waiting {
    subject: String,
    answer: oneshot::Sender<Answer>,
}

/// The questions that are out.
#[derive(Clone)]
pub(crate) struct Inbox {
    base: Arc<str>,
    next: Arc<AtomicU64>,
    waiting: Arc<Mutex<HashMap<u64, Waiting>>>,
}

/// A question that is out. Dropping it forgets it. It resolves to an error when the connection is lost meanwhile.
pub(crate) struct Question {
    token: u64,
    inbox: Inbox,
    answer: oneshot::Receiver<Answer>,
}

impl Inbox {
    /// An inbox that no one can guess, under `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        Inbox {
            base: format!("{prefix}.{:032x}", rand::random::<u128>()).into(),
            next: Arc::default(),
            waiting: Arc::default(),
        }
    }

    /// What to subscribe to.
    pub(crate) fn wildcard(&self) -> String {
        format!("{}.*", self.base)
    }

    /// A fresh subject below the inbox that [`Inbox::wildcard`] does not take.
    pub(crate) fn aside(&self) -> String {
        format!("{}.x.{}", self.base, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A question that will be sent to `subject`.
    pub(crate) fn ask(&self, subject: &str) -> Question {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        self.waiting.lock().insert(token, Waiting { subject: subject.to_owned(), answer });
        Question { token, inbox: self.clone(), answer: receiver }
    }

    /// Hands an answer to who waits for it; answers that come too late have no taker.
    pub(crate) fn take(&self, message: Message) {
        let token = message.subject.rsplit('.').next().and_then(|t| t.parse().ok());
        let waiting = token.and_then(|token: u64| self.waiting.lock().remove(&token));
        if let Some(waiting) = waiting {
            let _ = waiting.answer.send(Answer::Message(message));
        }
    }

    /// The server refused to publish to `subject`.
    pub(crate) fn deny(&self, subject: &str) {
        let denied: Vec<_> = self.waiting.lock().extract_if(|_, w| w.subject == subject).collect();
        for (_, waiting) in denied {
            let _ = waiting.answer.send(Answer::Denied);
        }
    }

    /// The connection is gone: no answer will come.
    pub(crate) fn abandon(&self) {
        let abandoned = std::mem::take(&mut *self.waiting.lock());
        drop(abandoned);
    }
}

impl Question {
    /// Where the answer is to be sent.
    pub(crate) fn reply_subject(&self) -> String {
        format!("{}.{}", self.inbox.base, self.token)
    }

    /// The answer; `None` when the connection was lost before.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.inbox.waiting.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: String) -> Message {
        Message {
            subject: subject.into(),
            reply: None,
            payload: "x".into(),
            headers: None,
            status: None,
            description: None,
            length: 1,
        }
    }

    #[tokio::test]
    async fn each_answer_goes_to_who_asked() {
        let inbox = Inbox::new("_INBOX");
        let (mut one, mut two) = (inbox.ask("a"), inbox.ask("b"));
        inbox.take(message(two.reply_subject()));
        inbox.deny("a");
        assert!(matches!(one.answer().await, Some(Answer::Denied)));
        assert!(matches!(two.answer().await, Some(Answer::Message(_))));
        inbox.take(message("strange".into()));
        assert!(inbox.waiting.lock().is_empty());
    }

    #[tokio::test]
    async fn a_lost_connection_ends_the_waiting_and_a_dropped_question_is_forgotten() {
        let inbox = Inbox::new("_INBOX");
        let (mut one, two) = (inbox.ask("a"), inbox.ask("a"));
        drop(two);
        assert_eq!(inbox.waiting.lock().len(), 1);
        inbox.abandon();
        assert!(one.answer().await.is_none());
    }
}
