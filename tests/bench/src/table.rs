//! The table.

use crate::load::Measure;
use bench::latency::Latencies;

/// A line of it. What is `None` is left empty.
#[derive(Debug, Default, Clone)]
pub struct Line {
    /// The row that it belongs to.
    pub row: String,
    /// What was measured.
    pub who: String,
    /// The figure that counts, the median of several runs.
    pub figure: f64,
    /// The least of these runs.
    pub least: f64,
    /// What the figure is.
    pub unit: &'static str,
    /// Deliveries, or confirmed publishes, a second.
    pub rate: Option<f64>,
    /// Half of them took at most so many milliseconds.
    pub p50: Option<f64>,
    /// Nearly all.
    pub p99: Option<f64>,
    /// Resident memory at the end, MiB.
    pub rss: Option<f64>,
    /// What it is compared with.
    pub verdicts: Vec<String>,
}

impl Line {
    /// A figure without more.
    pub fn plain(row: &str, who: &str, figure: f64, unit: &'static str) -> Line {
        Line { row: row.into(), who: who.into(), figure, least: figure, unit, ..Line::default() }
    }

    /// CPU time for each delivery, of several runs.
    pub fn deliveries(row: &str, who: &str, runs: &[Measure], rss_kib: u64) -> Line {
        Line::of(row, who, "µs CPU/delivery", runs, rss_kib, |run| (run.seen.deliveries, &run.seen.ages))
    }

    /// CPU time for each confirmed publish, of several runs.
    pub fn confirmations(row: &str, who: &str, runs: &[Measure], rss_kib: u64) -> Line {
        Line::of(row, who, "µs CPU/publish", runs, rss_kib, |run| (run.seen.confirmed, &run.seen.confirmations))
    }

    fn of(
        row: &str,
        who: &str,
        unit: &'static str,
        runs: &[Measure],
        rss_kib: u64,
        what: impl Fn(&Measure) -> (u64, &Latencies),
    ) -> Line {
        let of_runs = |value: &dyn Fn(&Measure) -> Option<f64>| median(runs.iter().filter_map(value).collect());
        let cpu = |run: &Measure| Some(run.cpu_per(what(run).0));
        Line {
            figure: of_runs(&cpu).unwrap_or_default(),
            least: runs.iter().filter_map(cpu).fold(f64::INFINITY, f64::min),
            rate: of_runs(&|run| Some(what(run).0 as f64 / run.time.as_secs_f64())),
            p50: of_runs(&|run| what(run).1.quantile(0.5)),
            p99: of_runs(&|run| what(run).1.quantile(0.99)),
            rss: Some(rss_kib as f64 / 1_024.0),
            ..Line::plain(row, who, 0.0, unit)
        }
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// All lines.
#[derive(Debug, Default)]
pub struct Table {
    lines: Vec<Line>,
    /// Targets that were missed by more than that factor.
    pub far: Vec<String>,
}

impl Table {
    /// One more line, which is shown at once as well.
    pub fn add(&mut self, line: Line) {
        eprintln!("  {}", cells(&line).join("  "));
        self.lines.push(line);
    }

    fn line(&self, row: &str, who: &str) -> Option<&Line> {
        self.lines.iter().rfind(|line| line.row == row && line.who == who)
    }

    /// The figure of a line, or nothing.
    pub fn figure(&self, row: &str, who: &str) -> f64 {
        self.line(row, who).map_or(f64::NAN, |line| line.figure)
    }

    /// Compares a line's figure with another's: the target is a ratio of at most `limit`.
    pub fn compare(&mut self, (row, who): (&str, &str), (other_row, other): (&str, &str), limit: f64) {
        let (Some(ours), Some(theirs)) = (self.line(row, who), self.line(other_row, other)) else { return };
        if theirs.figure <= 0.0 {
            return;
        }
        let name = if other_row == row { other.to_owned() } else { format!("{other} in `{other_row}`") };
        self.judge((row, who), ours.figure / theirs.figure, &format!("× {name}"), limit);
    }

    /// Compares the p99 of the gateway in this row with the best of the others named.
    pub fn compare_p99(&mut self, row: &str, others: &[&str]) {
        let best = others.iter().filter_map(|who| self.line(row, who)?.p99).reduce(f64::min);
        let ours = self.line(row, "gateway").and_then(|line| line.p99);
        if let (Some(ours), Some(best)) = (ours, best) {
            self.judge((row, "gateway"), ours / best, &format!("p99 × the best of {}", others.join(", ")), 1.0);
        }
    }

    /// Says of a line what its target is and whether it is reached.
    pub fn judge(&mut self, (row, who): (&str, &str), value: f64, what: &str, limit: f64) {
        let mark = if value <= limit { "reached" } else { "MISSED" };
        let verdict = format!("{} {what} (≤ {limit}: {mark})", short(value));
        eprintln!("  {row}: {verdict}");
        if value > 2.0 * limit {
            self.far.push(format!("{row}: {verdict}"));
        }
        if let Some(line) = self.lines.iter_mut().rfind(|line| line.row == row && line.who == who) {
            line.verdicts.push(verdict);
        }
    }

    /// In Markdown, columns aligned; the lines of a row stand together.
    pub fn print(&self) {
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by_key(|line| self.lines.iter().position(|first| first.row == line.row));
        let head = ["row", "what", "median", "least", "of", "per second", "p50 ms", "p99 ms", "RSS MiB", "against"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(lines.into_iter().map(cells));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for (n, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
                .collect();
            println!("| {} |", cells.join(" | "));
            if n == 0 {
                println!("|{}|", widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|"));
            }
        }
    }
}

fn cells(line: &Line) -> [String; 10] {
    let maybe = |value: Option<f64>| value.map(short).unwrap_or_default();
    [
        line.row.clone(),
        line.who.clone(),
        short(line.figure),
        short(line.least),
        line.unit.to_owned(),
        line.rate.map(|rate| format!("{rate:.0}")).unwrap_or_default(),
        maybe(line.p50),
        maybe(line.p99),
        line.rss.map(|rss| format!("{rss:.0}")).unwrap_or_default(),
        line.verdicts.join("; "),
    ]
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
