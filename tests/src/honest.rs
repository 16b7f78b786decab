//! An honest session: 100 messages a second from one client to another, while others misbehave.

use crate::bayeux::{Client, answer, millis};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Runs until [`Honest::finish`].
#[derive(Debug)]
pub struct Honest {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Report>,
}

#[derive(Debug)]
struct Report {
    sent: usize,
    worst: u128,
}

/// The longest that a message may take while somebody else misbehaves. Far above what is usual (a few milliseconds), far
/// below what a stall would give.
const IN_TIME: Duration = Duration::from_secs(2);

impl Honest {
    /// Starts the two clients on one channel.
    pub async fn start(url: &str, channel: &str) -> Honest {
        let publisher = Client::websocket(url).await;
        let mut subscriber = Client::websocket(url).await;
        subscriber.subscribe(channel).await;
        let (stop, mut stopped) = oneshot::channel();
        let channel = channel.to_owned();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let (mut times, mut worst, mut seen) = (Vec::new(), 0, 0);
            let mut acknowledgements = Vec::new();
            let mut ending = false;
            // At least a second of it, however short the misbehaviour is.
            while !ending || times.len() < 100 || seen < times.len() {
                tokio::select! {
                    _ = &mut stopped, if !ending => ending = true,
                    _ = ticks.tick(), if !ending || times.len() < 100 => {
                        acknowledgements.push(publisher.publish(&channel, &format!(r#"{{"n":{}}}"#, times.len())));
                        times.push(Instant::now());
                    }
                    message = subscriber.next() => {
                        assert_eq!(message.value()["n"], seen, "the honest session's messages, in order");
                        worst = worst.max(millis(times[seen], Instant::now()));
                        seen += 1;
                    }
                }
            }
            for pending in acknowledgements {
                assert!(answer(pending).await.ok(), "the honest session is refused");
            }
            assert_eq!(
                (publisher.faults(), subscriber.faults()),
                (vec![], vec![]),
                "the honest sessions are untouched"
            );
            Report { sent: times.len(), worst }
        });
        Honest { stop, task }
    }

    /// Ends it: every message has arrived, in order and in time.
    pub async fn finish(self) {
        let _ = self.stop.send(());
        let report = self.task.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        println!("honest session: {} messages, the slowest took {} ms", report.sent, report.worst);
        assert!(report.worst < IN_TIME.as_millis(), "a message took {} ms", report.worst);
    }
}
