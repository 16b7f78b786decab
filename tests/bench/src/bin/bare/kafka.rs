//! Kafka by rdkafka.

use crate::{Job, age, ready};
use bench::bare::{Report, Watch};
use bench::latency::Latencies;
use bench::{Result, clock};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList};
use std::sync::Mutex;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
/// As many keys as the gateway's publishers use.
const KEYS: u64 = 50;

#[derive(Default)]
struct Confirmations(Mutex<(Latencies, u64)>);

impl ClientContext for Confirmations {}

impl ProducerContext for Confirmations {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, stamp: usize) {
        let mut seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match result {
            Ok(_) => seen.0.add(clock::micros().saturating_sub(stamp as u64)),
            Err(_) => seen.1 += 1,
        }
    }
}

fn config(job: &Job) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &job.url);
    config
}

pub fn produce(job: &Job) -> Result<Report> {
    // What the gateway sets, and its linger.ms in the benchmark.
    let producer: ThreadedProducer<Confirmations> = config(job)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .create_with_context(Confirmations::default())?;
    producer.client().fetch_metadata(Some(&job.topic), PATIENCE)?;
    // A warm connection, as the gateway has.
    producer
        .send(BaseRecord::with_opaque_to(&job.topic, 0).key("warm").payload(&job.record().1))
        .map_err(|(error, _)| error)?;
    producer.flush(PATIENCE)?;
    producer.context().0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0.clear();
    ready();
    let watch = Watch::start()?;
    let (mut sent, all) = (0, (job.rate as f64 * job.time.as_secs_f64()) as u64);
    while sent < all {
        let due = watch.due(job.rate).min(all);
        while sent < due {
            let (stamp, record) = job.record();
            let key = (sent % KEYS).to_string();
            let record = BaseRecord::with_opaque_to(&job.topic, stamp as usize).key(&key).payload(&record);
            producer.send(record).map_err(|(error, _)| error)?;
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    producer.flush(PATIENCE)?;
    let seen = producer.context().0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if seen.1 > 0 {
        return Err(format!("{} records were not stored", seen.1).into());
    }
    Report::of(&seen.0, &watch)
}

pub fn consume(job: &Job) -> Result<Report> {
    let consumer: BaseConsumer = config(job).set("group.id", "bench").set("enable.auto.commit", "false").create()?;
    let metadata = consumer.fetch_metadata(Some(&job.topic), PATIENCE)?;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let end = consumer.fetch_watermarks(&job.topic, partition.id(), PATIENCE)?.1;
        list.add_partition_offset(&job.topic, partition.id(), Offset::Offset(end))?;
    }
    consumer.assign(&list)?;
    consumer.poll(Duration::from_millis(500)); // connected
    ready();
    let (mut ages, mut watch) = (Latencies::default(), None);
    while watch.as_ref().is_none_or(|watch: &Watch| watch.elapsed() < job.time) {
        let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
        if watch.is_none() {
            watch = Some(Watch::start()?);
        }
        ages.add(age(record?.payload().unwrap_or_default()));
    }
    Report::of(&ages, &watch.ok_or("nothing came")?)
}

fn admin(job: &Job) -> Result<AdminClient<DefaultClientContext>> {
    Ok(config(job).create()?)
}

pub async fn make(job: &Job) -> Result<()> {
    let topic = NewTopic::new(&job.topic, 3, TopicReplication::Fixed(1));
    let answers = admin(job)?.create_topics([&topic], &AdminOptions::new()).await?;
    answers
        .into_iter()
        .try_for_each(|answer| answer.map(|_| ()).map_err(|(name, code)| format!("{name}: {code}").into()))
}

pub async fn remove(job: &Job) -> Result<()> {
    admin(job)?.delete_topics(&[&job.topic], &AdminOptions::new()).await?;
    Ok(())
}
