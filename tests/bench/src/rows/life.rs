//! Beginning and change: starting, subscribing, unsubscribing.

use crate::Bench;
use crate::dialect::{self, Line as Wire};
use crate::servers::{Kind, Options, Server};
use crate::table::{Line, median};
use bench::{Result, process};

/// As many channels as a session may subscribe to.
const MOST: usize = 10_000;

/// A session subscribes to a channel and leaves it again, many times, while others hold so many channels.
pub fn churn(bench: &mut Bench, name: &str) -> Result<()> {
    let kind = Kind::Ours;
    let rounds = bench.count(20_000);
    for (row, held) in [(format!("{name}-1000"), 1_000), (format!("{name}-100000"), bench.count(100_000))] {
        let server = bench.start(kind, &Options::default())?;
        let mut holders = Vec::new();
        for from in (0..held).step_by(MOST) {
            let seat = kind.dialect().join(server.address, &[])?;
            let id = seat.id.clone();
            let mut wire = Wire::of(seat);
            for n in from..held.min(from + MOST) {
                wire.ask(&dialect::subscribe(&id, &format!("/held/{n}")), "/meta/subscribe")?;
            }
            holders.push(wire);
        }
        let seat = kind.dialect().join(server.address, &[])?;
        let id = seat.id.clone();
        let mut wire = Wire::of(seat);
        let cpu = process::cpu(server.pid())?;
        for n in 0..rounds {
            let channel = format!("/changing/{n}");
            wire.ask(&dialect::subscribe(&id, &channel), "/meta/subscribe")?;
            wire.ask(&dialect::unsubscribe(&id, &channel), "/meta/unsubscribe")?;
        }
        let used = process::cpu(server.pid())?.saturating_sub(cpu);
        let each = used.as_secs_f64() * 1e6 / rounds as f64;
        let rss = Some(server.rss()? as f64 / 1_024.0);
        bench.table.add(Line { rss, ..Line::plain(&row, kind.name(), each, "µs CPU/pair") });
    }
    let (few, many) = (format!("{name}-1000"), format!("{name}-100000"));
    bench.table.compare((&many, kind.name()), (&few, kind.name()), 1.2);
    Ok(())
}

/// From nothing to the first answered handshake.
pub fn start(bench: &mut Bench, name: &str) -> Result<()> {
    let kind = Kind::Ours;
    let options = Options {
        config: "connectors: { local: { memory: {} } }\nmappings: [{ channel: \"/memory/{name}\", connector: local, topic: \"{name}\" }]"
            .into(),
        ..Options::default()
    };
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs() * 3 {
        let server = Server::start(kind, &bench.programs, &options)?;
        kind.dialect().join(server.address, &["/memory/x"])?;
        times.push(server.start.as_secs_f64() * 1e3);
        memory.push(server.rss()? as f64 / 1_024.0);
    }
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let line = |row: &str, figure, unit| Line::plain(row, kind.name(), figure, unit);
    let (cold, size, rss) = (format!("{name}-cold"), format!("{name}-size"), format!("{name}-rss"));
    let time = median(times).unwrap_or_default();
    bench.table.add(Line { least, ..line(&cold, time, "ms") });
    bench.table.judge((&cold, kind.name()), time, "ms", 100.0);
    let bytes = std::fs::metadata(bench.programs.target.join("bayeux-gateway"))?.len() as f64 / 1e6;
    bench.table.add(line(&size, bytes, "MB of binary"));
    bench.table.judge((&size, kind.name()), bytes, "MB", 25.0);
    let memory = median(memory).unwrap_or_default();
    bench.table.add(line(&rss, memory, "MiB"));
    bench.table.judge((&rss, kind.name()), memory, "MiB", 15.0);
    Ok(())
}
