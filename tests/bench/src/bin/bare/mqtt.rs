//! MQTT 5 by rumqttc, QoS 1.

use crate::{Job, age, ready};
use bench::bare::{Report, Watch};
use bench::latency::Latencies;
use bench::{Result, clock};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

async fn connect(job: &Job) -> Result<(AsyncClient, EventLoop)> {
    let (host, port) = job.url.trim_start_matches("mqtt://").rsplit_once(':').ok_or("mqtt://HOST:PORT")?;
    let mut options = MqttOptions::new(format!("bench-{}", std::process::id()), host, port.parse()?);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 10_000);
    while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    Ok((client, events))
}

pub async fn produce(job: &Job) -> Result<Report> {
    let (client, mut events) = connect(job).await?;
    ready();
    let (watch, mut sent) = (Watch::start()?, 0);
    let mut latencies = Latencies::default();
    // Packets go out in the order in which they were handed over.
    let (mut stamps, mut waiting) = (VecDeque::new(), HashMap::new());
    let all = (job.rate as f64 * job.time.as_secs_f64()) as u64;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while latencies.len() < all {
        tokio::select! {
            event = events.poll() => match event? {
                Event::Outgoing(Outgoing::Publish(id)) => {
                    waiting.insert(id, stamps.pop_front().ok_or("a packet of nobody")?);
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    let stamp: u64 = waiting.remove(&ack.pkid).ok_or("an acknowledgement of nothing")?;
                    latencies.add(clock::micros().saturating_sub(stamp));
                }
                _ => {}
            },
            _ = tick.tick() => {
                while sent < watch.due(job.rate).min(all) {
                    let (stamp, record) = job.record();
                    if client.try_publish(job.topic.clone(), QoS::AtLeastOnce, false, record).is_err() {
                        break; // the line is full: the broker is slower than this
                    }
                    stamps.push_back(stamp);
                    sent += 1;
                }
            }
        }
    }
    Report::of(&latencies, &watch)
}

pub async fn consume(job: &Job) -> Result<Report> {
    let (client, mut events) = connect(job).await?;
    client.subscribe(job.topic.clone(), QoS::AtLeastOnce).await?;
    while !matches!(events.poll().await?, Event::Incoming(Packet::SubAck(_))) {}
    ready();
    let (mut ages, mut watch) = (Latencies::default(), None);
    while watch.as_ref().is_none_or(|watch: &Watch| watch.elapsed() < job.time) {
        if let Event::Incoming(Packet::Publish(record)) = events.poll().await? {
            if watch.is_none() {
                watch = Some(Watch::start()?);
            }
            ages.add(age(&record.payload));
        }
    }
    Report::of(&ages, &watch.ok_or("nothing came")?)
}
