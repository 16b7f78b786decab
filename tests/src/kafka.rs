//! What Kafka holds, as kcat shows it.

use crate::lab::Broker;
use std::collections::HashMap;
use std::process::Command;

/// One record as kcat prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key, as text.
    pub key: String,
    /// The headers, `name=value` with commas between.
    pub headers: String,
    /// The value.
    pub payload: String,
}

/// Makes a topic with a name that no other test and no earlier run has used.
pub fn new_topic(kafka: &Broker, name: &str, partitions: u32) -> String {
    let topic = unique(name);
    make_topic(kafka, &topic, partitions);
    topic
}

/// Makes a topic.
pub fn make_topic(kafka: &Broker, topic: &str, partitions: u32) {
    kafka.run(&["topic", topic, &partitions.to_string()]);
}

/// A name that no other test and no earlier run has used.
pub fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis();
    format!("{name}-{since}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// All that a topic holds, read by kcat from the beginning to the end.
pub fn dump(kafka: &Broker, topic: &str) -> Vec<Stored> {
    let servers = kafka.url();
    let arguments = ["-b", &servers, "-C", "-t", topic, "-o", "beginning", "-e", "-q"];
    let format = ["-f", "%p\t%o\t%T\t%k\t%h\t%s\n"];
    let output = Command::new("kcat").args(arguments).args(format).output().expect("kcat runs");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
    printed.lines().map(stored).collect()
}

fn stored(line: &str) -> Stored {
    let mut parts = line.splitn(6, '\t');
    let mut part = || parts.next().unwrap_or_else(|| panic!("kcat printed {line:?}"));
    let number = |text: &str| text.parse::<i64>().unwrap_or_else(|_| panic!("kcat printed {line:?}"));
    Stored {
        partition: number(part()).try_into().expect("a partition"),
        offset: number(part()),
        timestamp: number(part()),
        key: part().to_owned(),
        headers: part().to_owned(),
        payload: part().to_owned(),
    }
}

/// Stores `KEY:VALUE` lines by kcat, in order.
pub fn produce(kafka: &Broker, topic: &str, lines: &str) {
    kafka.run_with_input(&["produce", topic, "-K:", "-X", "acks=all"], lines.as_bytes());
}

/// How often each payload is stored.
pub fn counts(stored: &[Stored]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for record in stored {
        *counts.entry(record.payload.as_str()).or_default() += 1;
    }
    counts
}

/// The values of each key, in the log's order (a key lives in one partition).
pub fn by_key(stored: &[Stored]) -> HashMap<&str, Vec<&str>> {
    let mut keys: HashMap<&str, Vec<&str>> = HashMap::new();
    for record in stored {
        keys.entry(&record.key).or_default().push(&record.payload);
    }
    keys
}
