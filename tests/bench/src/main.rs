//! The benchmark: `tests/bench/run` builds and starts it; `docs/performance.md` says how to read what it prints.

mod dialect;
mod load;
mod rows;
mod servers;
mod table;

use bench::Result;
use servers::{Kind, Options, Programs, Server};
use std::process::ExitCode;
use std::time::Duration;

/// What every row needs.
pub struct Bench {
    /// It only has to be shown that it runs: little work, little time.
    short: bool,
    programs: Programs,
    table: table::Table,
}

impl Bench {
    /// How many of those there are in a short run.
    fn count(&self, full: usize) -> usize {
        if self.short { (full / 50).max(20).min(full) } else { full }
    }

    /// How long a run is.
    fn time(&self) -> Duration {
        self.seconds(2.0)
    }

    /// So many seconds, fewer in a short run.
    fn seconds(&self, full: f64) -> Duration {
        Duration::from_secs_f64(if self.short { full / 10.0 } else { full })
    }

    /// How often a row is measured.
    fn runs(&self) -> usize {
        if self.short { 1 } else { 3 }
    }

    fn warm_up(&self, kind: Kind) -> Duration {
        if self.short { Duration::from_millis(100) } else { kind.warm_up() }
    }

    /// Who takes part: those that could be built; in a short run CometD, whose start takes longest, only in the first row.
    fn those(&self, name: &str, kinds: &[Kind]) -> Vec<Kind> {
        let takes_part = |kind: Kind| match kind {
            Kind::CometD => !self.programs.cometd.is_empty() && (!self.short || name == rows::ROWS[0].0),
            Kind::Centrifuge => !self.programs.centrifuge.as_os_str().is_empty(),
            _ => true,
        };
        kinds.iter().copied().filter(|kind| takes_part(*kind)).collect()
    }

    fn start(&self, kind: Kind, options: &Options) -> Result<Server> {
        Server::start(kind, &self.programs, options)
    }
}

fn usage() {
    println!("tests/bench/run [--short] [--fail-far] [ROW...]\n\nRows (a part of a name selects all that have it):");
    for (name, about, _) in rows::ROWS {
        println!("  {name:<16} {about}");
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let known = |flag: &str| ["--short", "--fail-far"].contains(&flag);
    if arguments.iter().any(|argument| argument.starts_with('-') && !known(argument)) {
        usage();
        return ExitCode::from(2);
    }
    let flag = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let path = |name: &str| std::env::var(name).unwrap_or_default();
    let programs = Programs {
        target: path("BENCH_TARGET").into(),
        cometd: path("BENCH_COMETD"),
        centrifuge: path("BENCH_CENTRIFUGE").into(),
    };
    let mut bench = Bench { short: flag("--short"), programs, table: table::Table::default() };
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
    let mut failed = Vec::new();
    for (name, about, row) in rows::ROWS {
        let selected = if wanted.is_empty() {
            !(bench.short && about.ends_with("(broker)")) // the short form needs no broker unless it is asked for
        } else {
            wanted.iter().any(|wanted| name.contains(wanted.as_str()))
        };
        if !selected {
            continue;
        }
        eprintln!("{name}: {about}");
        if let Err(error) = row(&mut bench, name) {
            eprintln!("  FAILED: {error}");
            failed.push(format!("{name}: {error}"));
        }
    }
    bench.table.print();
    for failure in &failed {
        println!("\n{failure}");
    }
    if flag("--fail-far") && !bench.table.far.is_empty() {
        println!("\nworse than twice the target:\n{}", bench.table.far.join("\n"));
        return ExitCode::FAILURE;
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
