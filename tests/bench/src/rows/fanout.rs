//! Fan-out: what one delivery costs, beside the peers and the floors.

use crate::Bench;
use crate::dialect::Dialect;
use crate::load::{Load, Measure, Work};
use crate::servers::{Kind, Options, Server};
use crate::table::Line;
use bench::Result;

const EVERYBODY: [Kind; 5] = [Kind::Ours, Kind::Plain, Kind::Coalescing, Kind::CometD, Kind::Centrifuge];

/// The channel of everybody.
pub const CHANNEL: &str = "/bench/all";

impl Bench {
    /// Warms the server up, then runs the work as often as it is measured.
    pub fn measure(&self, kind: Kind, server: &Server, load: &mut Load, work: &Work) -> Result<Vec<Measure>> {
        load.run(work, server.pid(), self.warm_up(kind))?;
        (0..self.runs()).map(|_| load.run(work, server.pid(), self.time())).collect()
    }

    /// `count` clients of one channel and a publisher; a line for each number in flight, in the row `NAME-xN`.
    pub fn fan_out(
        &mut self,
        name: &str,
        kind: Kind,
        dialect: Dialect,
        (count, in_flight): (usize, &[u64]),
        options: &Options,
    ) -> Result<()> {
        let count = self.count(count);
        let server = self.start(kind, options)?;
        let mut load = Load::new()?;
        load.join(dialect, server.address, count, |_| vec![CHANNEL.into()])?;
        let publisher = match dialect {
            Dialect::LongPolling | Dialect::BayeuxDeflate | Dialect::BayeuxAck => Dialect::Bayeux,
            other => other,
        };
        let publisher = load.publisher(publisher, server.address)?;
        for in_flight in in_flight {
            let channels = vec![CHANNEL.into()];
            let work = Work { publisher, channels, deliveries: count as u64, in_flight: *in_flight, size: 100 };
            let runs = self.measure(kind, &server, &mut load, &work)?;
            self.table.add(Line::deliveries(&format!("{name}-x{in_flight}"), kind.name(), &runs, server.rss()?));
        }
        Ok(())
    }

    fn fan_out_targets(&mut self, name: &str, in_flight: &[u64]) {
        for in_flight in in_flight {
            let row = format!("{name}-x{in_flight}");
            let ours = (row.as_str(), Kind::Ours.name());
            let against = |kind: Kind| (row.as_str(), kind.name());
            if *in_flight == 1 {
                self.table.compare(ours, against(Kind::Plain), 1.2);
            } else {
                self.table.compare(ours, against(Kind::Coalescing), 1.3);
                self.table.compare(ours, against(Kind::Centrifuge), 0.65);
                self.table.compare(ours, against(Kind::CometD), 0.17);
            }
            self.table.compare_p99(&row, &[Kind::CometD.name(), Kind::Centrifuge.name()]);
        }
    }
}

/// 1000 subscribers.
pub fn thousand(bench: &mut Bench, name: &str) -> Result<()> {
    for kind in bench.those(name, &EVERYBODY) {
        bench.fan_out(name, kind, kind.dialect(), (1_000, &[1, 8]), &Options::default())?;
    }
    bench.fan_out_targets(name, &[1, 8]);
    Ok(())
}

/// 100 subscribers.
pub fn hundred(bench: &mut Bench, name: &str) -> Result<()> {
    for kind in bench.those(name, &EVERYBODY) {
        bench.fan_out(name, kind, kind.dialect(), (100, &[8]), &Options::default())?;
    }
    bench.fan_out_targets(name, &[8]);
    Ok(())
}

/// Every message goes to another one.
pub fn channels(bench: &mut Bench, name: &str) -> Result<()> {
    let rows: Vec<(u64, String)> = [8, 64].map(|in_flight| (in_flight, format!("{name}-x{in_flight}"))).into();
    for kind in bench.those(name, &EVERYBODY) {
        let count = bench.count(1_000);
        let server = bench.start(kind, &Options::default())?;
        let mut load = Load::new()?;
        let channel = |n: usize| format!("/bench/one/{n}");
        load.join(kind.dialect(), server.address, count, |n| vec![channel(n)])?;
        let publisher = load.publisher(kind.dialect(), server.address)?;
        for (in_flight, row) in &rows {
            let channels = (0..count).map(channel).collect();
            let work = Work { publisher, channels, deliveries: 1, in_flight: *in_flight, size: 100 };
            let runs = bench.measure(kind, &server, &mut load, &work)?;
            bench.table.add(Line::deliveries(row, kind.name(), &runs, server.rss()?));
        }
    }
    for (_, row) in &rows {
        bench.table.compare((row, Kind::Ours.name()), (row, Kind::Coalescing.name()), 1.3);
    }
    Ok(())
}

/// From 1000 to 9000.
pub fn growth(bench: &mut Bench, name: &str) -> Result<()> {
    for kind in [Kind::Ours, Kind::Plain] {
        for count in [1_000, 9_000] {
            bench.fan_out(&format!("{name}-{count}"), kind, kind.dialect(), (count, &[1]), &Options::default())?;
        }
        let (few, many) = (format!("{name}-1000-x1"), format!("{name}-9000-x1"));
        bench.table.compare((&many, kind.name()), (&few, kind.name()), 1.2);
    }
    Ok(())
}

/// Long-polling.
pub fn polling(bench: &mut Bench, name: &str) -> Result<()> {
    for kind in bench.those(name, &[Kind::Ours, Kind::CometD]) {
        bench.fan_out(name, kind, Dialect::LongPolling, (1_000, &[1, 8]), &Options::default())?;
    }
    for in_flight in [1, 8] {
        let row = format!("{name}-x{in_flight}");
        bench.table.compare((&row, Kind::Ours.name()), (&row, Kind::CometD.name()), 0.35);
        bench.table.compare_p99(&row, &[Kind::CometD.name()]);
    }
    Ok(())
}
