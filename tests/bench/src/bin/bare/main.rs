//! Bare clients of brokers, each in a process of its own: what the gateway's way of doing the same is measured beside.
//!
//! `gateway-bench-bare WHAT BROKER URL TOPIC [RATE SECONDS SIZE]`, where WHAT is `produce`, `consume`, `make` or `remove` and BROKER
//! `kafka`, `nats`, `jetstream` or `mqtt`. It prints `ready` when what it does can count, and at the end a report of itself.

mod kafka;
mod mqtt;
mod nats;

use bench::{Result, clock};
use std::time::Duration;

/// What is to be done.
pub struct Job {
    /// The broker.
    pub url: String,
    /// The topic or subject.
    pub topic: String,
    /// Records a second.
    pub rate: u64,
    /// For how long; consuming: from the first record on.
    pub time: Duration,
    /// Bytes of a record.
    pub size: usize,
}

impl Job {
    /// A record of now.
    pub fn record(&self) -> (u64, Vec<u8>) {
        let stamp = clock::micros();
        (stamp, clock::data(stamp, self.size))
    }
}

/// The age of a record, in microseconds.
pub fn age(record: &[u8]) -> u64 {
    let stamp =
        memchr::memmem::find(record, clock::STAMP).and_then(|at| clock::digits(&record[at + clock::STAMP.len()..]));
    stamp.map_or(0, |stamp| clock::micros().saturating_sub(stamp))
}

/// Tells the benchmark to go on.
pub fn ready() {
    println!("ready");
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, broker, url, topic, numbers @ ..] = arguments.as_slice() else {
        return Err("gateway-bench-bare WHAT BROKER URL TOPIC [RATE SECONDS SIZE]".into());
    };
    let number = |at: usize| numbers.get(at).map_or(Ok(0.0), |text| text.parse::<f64>());
    let job = Job {
        url: url.clone(),
        topic: topic.clone(),
        rate: number(0)? as u64,
        time: Duration::from_secs_f64(number(1)?),
        size: number(2)? as usize,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = match (what.as_str(), broker.as_str()) {
        ("produce", "kafka") => kafka::produce(&job)?,
        ("consume", "kafka") => kafka::consume(&job)?,
        ("make", "kafka") => return runtime.block_on(kafka::make(&job)),
        ("remove", "kafka") => return runtime.block_on(kafka::remove(&job)),
        ("produce", "nats") => runtime.block_on(nats::produce(&job))?,
        ("produce", "jetstream") => runtime.block_on(nats::produce_confirmed(&job))?,
        ("consume", "nats") => runtime.block_on(nats::consume(&job))?,
        ("make", "jetstream") => return runtime.block_on(nats::make(&job)),
        ("remove", "jetstream") => return runtime.block_on(nats::remove(&job)),
        ("produce", "mqtt") => runtime.block_on(mqtt::produce(&job))?,
        ("consume", "mqtt") => runtime.block_on(mqtt::consume(&job))?,
        (what, broker) => return Err(format!("cannot {what} with {broker}").into()),
    };
    println!("{}", report.line());
    Ok(())
}
