//! Looking again at a partition that was given up.

use crate::desk::Desk;
use crate::reader::Env;
use crate::resolve::Key;
use crate::trouble::Trouble;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::sync::Weak;
use std::time::Duration;

/// How long to wait before a partition that failed is looked at again: doubled each time.
const FIRST_BREAK: Duration = Duration::from_millis(100);
const LONGEST_BREAK: Duration = Duration::from_secs(5);

/// How long to wait after so many failures.
pub(crate) fn pause(failures: u32) -> Duration {
    FIRST_BREAK.saturating_mul(1 << failures.min(10)).min(LONGEST_BREAK)
}

pub(crate) fn not_allowed(topic: &str) -> String {
    format!("Kafka does not let us read topic {topic}: allow Read and Describe on it")
}

/// Waits until a partition is there, and asks what it holds.
pub(crate) async fn look(
    env: Weak<Env>,
    desk: Weak<Desk>,
    alive: Weak<()>,
    slot: u64,
    key: Key,
    time: i64,
    mut pause: Duration,
) {
    let mut trouble = None;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_BREAK);
        let (Some(env), true) = (env.upgrade(), alive.strong_count() > 0) else { return };
        if env.link.topics().partitions(&key.0).is_none_or(|count| count <= key.1) {
            trouble = None;
            env.link.look_for(&key.0, Duration::ZERO);
            let mut catalogs = env.link.catalog();
            drop(env);
            // A deleted topic may never come back: look up now and then whether anybody still wants it.
            let there = catalogs.wait_for(|catalog| catalog.partitions(&key.0).is_some_and(|count| count > key.1));
            let _ = tokio::time::timeout(LONGEST_BREAK, there).await;
            continue;
        }
        match env.resolver.bounds(&key, time).await {
            Ok(bounds) => {
                if let Some(desk) = desk.upgrade() {
                    desk.revive(slot, bounds, trouble);
                }
                return;
            }
            Err(Code::TopicAuthorizationFailed) => Trouble::tell(&mut trouble, &env.link, not_allowed(&key.0)),
            Err(code) => {
                tracing::debug!(topic = %key.0, partition = key.1, ?code, "a Kafka partition is not there yet")
            }
        }
    }
}
