//! The whole way, to a broker and from it, beside a bare client that does the same in a process of its own.

use super::fanout::CHANNEL;
use crate::Bench;
use crate::load::{Load, Measure};
use crate::servers::{Kind, Options};
use crate::table::Line;
use bench::Result;
use bench::bare::Report;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

const SESSIONS: usize = 50;
const SIZE: usize = 1_024;

/// A broker, as the rows need it.
struct Broker {
    /// The bare client that confirms what it produces.
    bare: &'static str,
    /// The variable that holds its address.
    url: &'static str,
    /// The gateway's connector: kind and settings, from the address.
    connector: fn(&str) -> String,
    /// What stands between the parts of a topic.
    separator: char,
    /// Whether a topic is made before and removed after.
    topics: bool,
}

const KAFKA: Broker = Broker {
    bare: "kafka",
    url: "BENCH_KAFKA",
    connector: |url| format!("kafka: {{ brokers: [\"{url}\"], properties: {{ linger.ms: 5 }} }}"),
    separator: '.',
    topics: true,
};
const NATS: Broker = Broker {
    bare: "nats",
    url: "BENCH_NATS",
    connector: |url| format!("nats: {{ servers: [\"{url}\"] }}"),
    separator: '.',
    topics: false,
};
const JETSTREAM: Broker = Broker {
    bare: "jetstream",
    connector: |url| format!("nats: {{ servers: [\"{url}\"], jetstream: true }}"),
    topics: true,
    ..NATS
};
const MQTT: Broker = Broker {
    bare: "mqtt",
    url: "BENCH_MQTT",
    connector: |url| format!("mqtt: {{ url: \"{url}\" }}"),
    separator: '/',
    topics: false,
};

/// A bare client that runs.
struct Bare {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bare {
    /// Starts one and waits until it is ready.
    fn start(bench: &Bench, broker: &Broker, what: &str, topic: &str, rate: u64, seconds: f64) -> Result<Bare> {
        let mut child = command(bench, broker, what, topic)?
            .args([rate.to_string(), seconds.to_string(), SIZE.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut bare = Bare { child, output };
        match bare.line()?.trim() {
            "ready" => Ok(bare),
            _ => Err(format!("the bare client that should {what} does not").into()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    /// Its report, when it has done its work.
    fn report(mut self) -> Result<Report> {
        Ok(Report::parse(self.line()?.trim()).ok_or("a bare client failed")?)
    }
}

fn command(bench: &Bench, broker: &Broker, what: &str, topic: &str) -> Result<Command> {
    let url = std::env::var(broker.url).map_err(|_| format!("{} is not set", broker.url))?;
    let mut command = Command::new(bench.programs.target.join("gateway-bench-bare"));
    command.args([what, broker.bare, &url, topic]);
    Ok(command)
}

/// Makes a topic, does something with it, and removes it whatever came of it.
fn with_topic(
    bench: &mut Bench,
    broker: &Broker,
    name: &str,
    work: impl FnOnce(&mut Bench, &str) -> Result<()>,
) -> Result<()> {
    let topic = ["bench", name, &std::process::id().to_string()].join(&broker.separator.to_string());
    if broker.topics && !command(bench, broker, "make", &topic)?.status()?.success() {
        return Err(format!("the topic {topic} could not be made").into());
    }
    let done = work(bench, &topic);
    if broker.topics {
        let _ = command(bench, broker, "remove", &topic)?.status();
    }
    done
}

fn options(broker: &Broker, channel: &str, topic: &str, more: &str) -> Result<Options> {
    let connector = (broker.connector)(&std::env::var(broker.url).map_err(|_| format!("{} is not set", broker.url))?);
    let config = format!(
        "connectors: {{ broker: {{ {connector} }} }}\nmappings:\n  - {{ channel: \"{channel}\", connector: broker, topic: \"{topic}\"{more} }}"
    );
    Ok(Options { config, ..Options::default() })
}

fn line(row: &str, who: &str, unit: &'static str, report: &Report) -> Line {
    Line {
        rate: Some(report.count as f64 / report.seconds),
        p50: (report.p99 > 0.0).then_some(report.p50),
        p99: (report.p99 > 0.0).then_some(report.p99),
        ..Line::plain(row, who, report.cpu_each(), unit)
    }
}

/// 50 sessions publish, each publish is answered.
fn ingest(
    bench: &mut Bench,
    name: &str,
    broker: &Broker,
    rate: u64,
    more: &str,
    targets: Option<(f64, f64)>,
) -> Result<()> {
    let rate = if bench.short { rate / 20 } else { rate };
    let seconds = bench.seconds(5.0);
    with_topic(bench, broker, name, |bench, topic| {
        let bare = Bare::start(bench, broker, "produce", topic, rate, seconds.as_secs_f64())?.report()?;
        let who = format!("bare {} producer", broker.bare);
        bench.table.add(line(name, &who, "µs CPU/publish", &bare));
        let kind = Kind::Ours;
        let server = bench.start(kind, &options(broker, "/bench/in/{id}", topic, more)?)?;
        let mut load = Load::new()?;
        let publishers: Vec<usize> =
            (0..SESSIONS).map(|_| load.publisher(kind.dialect(), server.address)).collect::<Result<_>>()?;
        let channel = |n: u64| format!("/bench/in/{}", n % SESSIONS as u64);
        // Connected and warm: the first publishes wait for the broker.
        load.pace(&publishers, channel, (rate.min(500), SIZE), server.pid(), bench.seconds(1.0))?;
        let runs: Vec<Measure> = (0..bench.runs())
            .map(|_| load.pace(&publishers, channel, (rate, SIZE), server.pid(), seconds))
            .collect::<Result<_>>()?;
        bench.table.add(Line::confirmations(name, kind.name(), &runs, server.rss()?));
        let (cpu, p50) = targets.unwrap_or((3.0, 1.5));
        bench.table.compare((name, kind.name()), (name, &who), cpu);
        let ours = runs.iter().filter_map(|run| run.seen.confirmations.quantile(0.5)).fold(f64::INFINITY, f64::min);
        bench.table.judge((name, kind.name()), ours / bare.p50, "× its p50", p50);
        Ok(())
    })
}

/// Records come from the broker to one subscriber; a bare consumer reads the same ones.
fn egress(bench: &mut Bench, name: &str, broker: &Broker, rate: u64, count: usize) -> Result<()> {
    let rate = if bench.short { (rate / 20).max(20) } else { rate };
    let (seconds, count) = (bench.seconds(8.0).as_secs_f64(), bench.count(count).min(count));
    let lead = bench.seconds(2.0).as_secs_f64();
    with_topic(bench, broker, name, |bench, topic| {
        let kinds: &[Kind] =
            if count > 1 && broker.bare == "kafka" { &[Kind::Ours, Kind::Centrifuge] } else { &[Kind::Ours] };
        for kind in bench.those(name, kinds) {
            let mut options = options(broker, CHANNEL, topic, ", direction: egress")?;
            options.centrifuge = vec!["-kafka".into(), std::env::var(broker.url)?, "-topics".into(), topic.into()];
            let channel = if kind == Kind::Ours { CHANNEL } else { topic };
            let server = bench.start(kind, &options)?;
            let mut load = Load::new()?;
            load.join(kind.dialect(), server.address, count, |_| vec![channel.into()])?;
            let consumer = Bare::start(bench, broker, "consume", topic, 0, seconds)?;
            let producer = Bare::start(bench, broker, "produce", topic, rate, seconds + 2.0 * lead)?;
            load.listen(server.pid(), std::time::Duration::from_secs_f64(lead))?;
            let run = load.listen(server.pid(), std::time::Duration::from_secs_f64(seconds - lead))?;
            let who = if count > 1 { format!("bare consumer beside {}", kind.name()) } else { "bare consumer".into() };
            let bare = consumer.report()?;
            load.listen(server.pid(), std::time::Duration::from_secs_f64(lead))?;
            drop(producer);
            bench.table.add(line(name, &who, "µs CPU/record", &bare));
            let runs = [run];
            bench.table.add(Line::deliveries(name, kind.name(), &runs, server.rss()?));
            let p50 = runs[0].seen.ages.quantile(0.5).ok_or("nothing came")?;
            if count > 1 {
                bench.table.judge((name, kind.name()), (p50 - bare.p50).max(0.0), "ms more than its p50", 1.0);
            } else {
                bench.table.compare((name, kind.name()), (name, &who), 2.0);
            }
        }
        Ok(())
    })
}

pub fn kafka_ingest(bench: &mut Bench, name: &str) -> Result<()> {
    ingest(bench, name, &KAFKA, 20_000, ", key: \"{id}\", direction: ingest", None)
}

pub fn kafka_egress(bench: &mut Bench, name: &str) -> Result<()> {
    egress(bench, name, &KAFKA, 20_000, 1)
}

pub fn kafka_fanout(bench: &mut Bench, name: &str) -> Result<()> {
    egress(bench, name, &KAFKA, 20, 1_000)
}

pub fn nats_ingest(bench: &mut Bench, name: &str) -> Result<()> {
    ingest(bench, name, &JETSTREAM, 5_000, ", direction: ingest", None)
}

pub fn nats_egress(bench: &mut Bench, name: &str) -> Result<()> {
    egress(bench, name, &NATS, 20_000, 1)
}

pub fn nats_fanout(bench: &mut Bench, name: &str) -> Result<()> {
    egress(bench, name, &NATS, 20, 1_000)
}

pub fn mqtt_ingest(bench: &mut Bench, name: &str) -> Result<()> {
    ingest(bench, name, &MQTT, 5_000, ", direction: ingest", None)
}

pub fn mqtt_egress(bench: &mut Bench, name: &str) -> Result<()> {
    egress(bench, name, &MQTT, 5_000, 1)
}

pub fn mqtt_fanout(bench: &mut Bench, name: &str) -> Result<()> {
    egress(bench, name, &MQTT, 20, 1_000)
}
