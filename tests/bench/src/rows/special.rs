//! Fan-out in its less common forms.

use super::fanout::CHANNEL;
use crate::Bench;
use crate::dialect::Dialect;
use crate::load::{Load, Work};
use crate::servers::{Kind, Options};
use crate::table::Line;
use bench::Result;

/// Subscribers of a pattern beside those of the channel itself.
pub fn wild(bench: &mut Bench, name: &str) -> Result<()> {
    let kind = Kind::Ours;
    let rows = [("exact", CHANNEL), ("pattern", "/**")];
    for (what, subscription) in rows {
        let count = bench.count(1_000);
        let server = bench.start(kind, &Options::default())?;
        let mut load = Load::new()?;
        load.join(kind.dialect(), server.address, count, |_| vec![subscription.into()])?;
        let publisher = load.publisher(kind.dialect(), server.address)?;
        for in_flight in [1, 8] {
            let work = work(publisher, count, in_flight, 100);
            let runs = bench.measure(kind, &server, &mut load, &work)?;
            bench.table.add(Line::deliveries(&format!("{name}-x{in_flight}"), what, &runs, server.rss()?));
        }
    }
    for in_flight in [1, 8] {
        let row = format!("{name}-x{in_flight}");
        bench.table.compare((&row, "pattern"), (&row, "exact"), 1.1);
    }
    Ok(())
}

fn work(publisher: usize, count: usize, in_flight: u64, size: usize) -> Work {
    Work { publisher, channels: vec![CHANNEL.into()], deliveries: count as u64, in_flight, size }
}

/// Messages travel with the answer of a connect, which the client acknowledges with the next.
pub fn ack(bench: &mut Bench, name: &str) -> Result<()> {
    let options = Options { cometd: "ext=ack".into(), ..Options::default() };
    for kind in bench.those(name, &[Kind::Ours, Kind::CometD]) {
        bench.fan_out(name, kind, Dialect::BayeuxAck, (1_000, &[1, 8]), &options)?;
    }
    for in_flight in [1, 8] {
        let row = format!("{name}-x{in_flight}");
        bench.table.compare((&row, Kind::Ours.name()), (&row, Kind::CometD.name()), 0.5);
    }
    Ok(())
}

/// 1 KB, compressed and not.
pub fn deflate(bench: &mut Bench, name: &str) -> Result<()> {
    let kind = Kind::Ours;
    let rows = [("uncompressed", Dialect::Bayeux), ("compressed", Dialect::BayeuxDeflate)];
    for (what, dialect) in rows {
        let count = bench.count(1_000);
        let server = bench.start(kind, &Options::default())?;
        let mut load = Load::new()?;
        load.join(dialect, server.address, count, |_| vec![CHANNEL.into()])?;
        let publisher = load.publisher(Dialect::Bayeux, server.address)?;
        for in_flight in [1, 8] {
            let runs = bench.measure(kind, &server, &mut load, &work(publisher, count, in_flight, 1_024))?;
            bench.table.add(Line::deliveries(&format!("{name}-x{in_flight}"), what, &runs, server.rss()?));
        }
    }
    for in_flight in [1, 8] {
        let row = format!("{name}-x{in_flight}");
        bench.table.compare((&row, "compressed"), (&row, "uncompressed"), 1.3);
    }
    Ok(())
}

/// The same work, before and after one comes that subscribes and never reads.
pub fn slow(bench: &mut Bench, name: &str) -> Result<()> {
    let kind = Kind::Ours;
    let count = bench.count(1_000);
    // Its queue gives way, so that it stays where it is.
    let options =
        Options { bayeux: "  queue: { overflow: drop_oldest, max_messages: 1000 }".into(), ..Options::default() };
    let server = bench.start(kind, &options)?;
    let mut load = Load::new()?;
    load.join(kind.dialect(), server.address, count, |_| vec![CHANNEL.into()])?;
    let publisher = load.publisher(kind.dialect(), server.address)?;
    let work = work(publisher, count, 8, 1_024);
    let runs = bench.measure(kind, &server, &mut load, &work)?;
    bench.table.add(Line::deliveries(name, "without it", &runs, server.rss()?));
    let silent = kind.dialect().join(server.address, &[CHANNEL])?;
    let runs = bench.measure(kind, &server, &mut load, &work)?;
    bench.table.add(Line::deliveries(name, "beside it", &runs, server.rss()?));
    drop(silent);
    bench.table.compare((name, "beside it"), (name, "without it"), 1.1);
    Ok(())
}
