//! What a session costs that does nothing.

use super::fanout::CHANNEL;
use crate::Bench;
use crate::dialect::Dialect;
use crate::load::Load;
use crate::servers::{Kind, Options};
use crate::table::Line;
use bench::Result;
use std::time::Duration;

impl Bench {
    /// KiB of memory that each of so many clients costs.
    fn memory(&mut self, name: &str, kind: Kind, dialect: Dialect, count: usize) -> Result<()> {
        let count = self.count(count);
        let server = self.start(kind, &Options::default())?;
        let mut load = Load::new()?;
        // The first ones have it take the memory that it needs once; they stay.
        let few = self.count(500);
        let settle = self.seconds(2.0);
        load.join(dialect, server.address, few, |_| vec![CHANNEL.into()])?;
        load.listen(server.pid(), settle)?;
        let before = server.rss()?;
        load.join(dialect, server.address, count, |_| vec![CHANNEL.into()])?;
        load.listen(server.pid(), settle)?;
        let kib = server.rss()?.saturating_sub(before) as f64 / count as f64;
        let rss = Some(server.rss()? as f64 / 1_024.0);
        self.table.add(Line { rss, ..Line::plain(name, kind.name(), kib, "KiB/session") });
        Ok(())
    }
}

/// WebSockets.
pub fn websockets(bench: &mut Bench, name: &str) -> Result<()> {
    for kind in bench.those(name, &[Kind::Ours, Kind::Plain, Kind::CometD, Kind::Centrifuge]) {
        bench.memory(name, kind, kind.dialect(), 9_000)?;
    }
    let ours = bench.table.figure(name, Kind::Ours.name());
    bench.table.judge((name, Kind::Ours.name()), ours, "KiB", 6.0);
    Ok(())
}

/// Parked long-polls.
pub fn polls(bench: &mut Bench, name: &str) -> Result<()> {
    for kind in bench.those(name, &[Kind::Ours, Kind::CometD]) {
        bench.memory(name, kind, Dialect::LongPolling, 5_000)?;
    }
    bench.table.compare((name, Kind::Ours.name()), (name, Kind::CometD.name()), 0.18);
    let ours = bench.table.figure(name, Kind::Ours.name());
    bench.table.judge((name, Kind::Ours.name()), ours, "KiB", 20.0);
    Ok(())
}

/// CPU of 10,000: while all hold a connect, and while each connects again every 20 seconds as clients do; then what is
/// left when they are gone.
pub fn cpu(bench: &mut Bench, name: &str) -> Result<()> {
    let kind = Kind::Ours;
    let gateway = kind.name();
    let count = bench.count(10_000);
    for (what, hold) in [("held", 900), ("connecting", 20)] {
        let row = format!("{name}-{what}");
        let server = bench.start(kind, &Options { hold: Duration::from_secs(hold), ..Options::default() })?;
        let begin = server.rss()?;
        let mut load = Load::new()?;
        load.join(kind.dialect(), server.address, count, |_| vec![CHANNEL.into()])?;
        load.listen(server.pid(), bench.seconds(3.0))?;
        let idle = load.listen(server.pid(), bench.seconds(20.0))?;
        let percent = idle.cpu.as_secs_f64() / idle.time.as_secs_f64() * 100.0;
        let full = server.rss()? as f64 / 1_024.0;
        bench.table.add(Line { rss: Some(full), ..Line::plain(&row, gateway, percent, "% of a core") });
        bench.table.judge((&row, gateway), percent, "%", 1.0);
        if what == "held" {
            drop(load);
            // A session lives on for ten seconds without its socket; then the allocator has some time.
            std::thread::sleep(bench.seconds(25.0));
            let row = format!("{name}-left");
            let left = server.rss()?;
            bench.table.add(Line::plain(&row, gateway, left as f64 / 1_024.0, "MiB after they left"));
            let ratio = left as f64 / begin as f64;
            bench.table.judge((&row, gateway), ratio, "× at the start", 1.2);
        }
    }
    Ok(())
}
