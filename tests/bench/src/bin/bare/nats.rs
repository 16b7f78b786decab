//! NATS by async-nats.

use crate::{Job, age, ready};
use async_nats::jetstream;
use bench::bare::{Report, Watch};
use bench::latency::Latencies;
use bench::{Result, clock};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;

/// The stream of the benchmark.
const STREAM: &str = "BENCH";

pub async fn produce(job: &Job) -> Result<Report> {
    let client = async_nats::connect(&job.url).await?;
    ready();
    let (watch, mut sent) = (Watch::start()?, 0);
    let mut latencies = Latencies::default();
    while watch.elapsed() < job.time {
        while sent < watch.due(job.rate) {
            client.publish(job.topic.clone(), job.record().1.into()).await?;
            latencies.add(0);
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.flush().await?;
    Report::of(&latencies, &watch)
}

pub async fn produce_confirmed(job: &Job) -> Result<Report> {
    let context = jetstream::new(async_nats::connect(&job.url).await?);
    context.publish(job.topic.clone(), job.record().1.into()).await?.await?;
    ready();
    let (watch, mut sent) = (Watch::start()?, 0);
    let mut latencies = Latencies::default();
    let mut waiting = FuturesUnordered::new();
    let all = (job.rate as f64 * job.time.as_secs_f64()) as u64;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while latencies.len() < all {
        tokio::select! {
            Some(confirmed) = waiting.next() => latencies.add(confirmed?),
            _ = tick.tick() => {
                while sent < watch.due(job.rate).min(all) {
                    let (stamp, record) = job.record();
                    let answer = context.publish(job.topic.clone(), record.into()).await?;
                    waiting.push(async move {
                        answer.await?;
                        Ok::<u64, bench::Error>(clock::micros().saturating_sub(stamp))
                    });
                    sent += 1;
                }
            }
        }
    }
    Report::of(&latencies, &watch)
}

pub async fn consume(job: &Job) -> Result<Report> {
    let client = async_nats::connect(&job.url).await?;
    let mut records = client.subscribe(job.topic.clone()).await?;
    client.flush().await?;
    ready();
    let first = records.next().await.ok_or("the subscription ended")?;
    let (mut ages, watch) = (Latencies::default(), Watch::start()?);
    ages.add(age(&first.payload));
    while let Some(left) = job.time.checked_sub(watch.elapsed()) {
        match tokio::time::timeout(left, records.next()).await {
            Ok(Some(record)) => ages.add(age(&record.payload)),
            Ok(None) => return Err("the subscription ended".into()),
            Err(_) => break,
        }
    }
    Report::of(&ages, &watch)
}

pub async fn make(job: &Job) -> Result<()> {
    let context = jetstream::new(async_nats::connect(&job.url).await?);
    let _ = context.delete_stream(STREAM).await; // of a run that was cut off
    let subjects = vec![job.topic.clone()];
    context.create_stream(jetstream::stream::Config { name: STREAM.into(), subjects, ..Default::default() }).await?;
    Ok(())
}

pub async fn remove(job: &Job) -> Result<()> {
    jetstream::new(async_nats::connect(&job.url).await?).delete_stream(STREAM).await?;
    Ok(())
}
