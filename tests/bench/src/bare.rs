//! The report of a bare client of a broker, which prints it in one line for the benchmark to read.

use crate::latency::Latencies;
use crate::{Result, process};
use std::time::{Duration, Instant};

/// What a bare client measured of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Records that were confirmed, or that came.
    pub count: u64,
    /// How long it took.
    pub seconds: f64,
    /// CPU time that its process used meanwhile, in microseconds.
    pub cpu: f64,
    /// Milliseconds within which half of them were confirmed, or how old they were.
    pub p50: f64,
    /// Milliseconds for nearly all.
    pub p99: f64,
}

impl Report {
    /// Of everything since [`Watch::start`].
    pub fn of(latencies: &Latencies, watch: &Watch) -> Result<Report> {
        let cpu = process::cpu(std::process::id())?.saturating_sub(watch.cpu);
        let at = |share| latencies.quantile(share).unwrap_or_default();
        Ok(Report {
            count: latencies.len(),
            seconds: watch.begin.elapsed().as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6,
            p50: at(0.5),
            p99: at(0.99),
        })
    }

    /// The line.
    pub fn line(&self) -> String {
        format!("report {} {} {} {} {}", self.count, self.seconds, self.cpu, self.p50, self.p99)
    }

    /// Reads the line.
    pub fn parse(line: &str) -> Option<Report> {
        let mut values = line.strip_prefix("report ")?.split(' ').map(str::parse::<f64>);
        let mut next = || values.next()?.ok();
        Some(Report { count: next()? as u64, seconds: next()?, cpu: next()?, p50: next()?, p99: next()? })
    }

    /// Microseconds of CPU time for each record.
    pub fn cpu_each(&self) -> f64 {
        self.cpu / self.count.max(1) as f64
    }
}

/// When a bare client began to be measured.
#[derive(Debug)]
pub struct Watch {
    begin: Instant,
    cpu: Duration,
}

impl Watch {
    /// Now.
    pub fn start() -> Result<Watch> {
        Ok(Watch { begin: Instant::now(), cpu: process::cpu(std::process::id())? })
    }

    /// How long ago that was.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// How many of so many a second are due by now.
    pub fn due(&self, rate: u64) -> u64 {
        (self.elapsed().as_secs_f64() * rate as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report { count: 7, seconds: 1.5, cpu: 350.0, p50: 0.25, p99: 4.0 };
        assert_eq!(Report::parse(&report.line()), Some(report));
        assert_eq!(Report::parse("ready"), None);
    }
}
