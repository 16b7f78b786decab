//! `redrive`: a mapping's dead letters are sent again.

use crate::output::line;
use crate::plan::{self, Planned};
use crate::registry;
use bayeux_bridge::mapping::Mapping;
use bayeux_bridge::redrive::{Line, Sum, Wishes, redrive};
use connector::Context;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `redrive`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The mapping: its name, its channel as the config has it, or its number from 0
    mapping: String,
    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Send no more than this many
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Also send those that an earlier redrive has sent
    #[arg(long)]
    again: bool,
}

/// The command.
pub async fn run(files: &[PathBuf], args: Args) -> ExitCode {
    let sources = if files.is_empty() { crate::quickstart::sources() } else { plan::sources(files) };
    let planned = match plan::plan(&sources) {
        Ok(planned) => planned,
        Err(report) => {
            plan::print(&report);
            return ExitCode::FAILURE;
        }
    };
    match send(&planned, &args).await {
        Ok(sum) => {
            line(total(&sum, args.dry_run));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn send(planned: &Planned, args: &Args) -> Result<Sum, String> {
    let mapping = find(planned, &args.mapping)?;
    let name = &mapping.spec().connector;
    let kind = planned.loaded.config.connectors.get(name).map_or("", |connector| connector.kind.as_str());
    if registry::lives_in_the_process(kind) {
        return Err(format!(
            "the log of connector `{name}` lives in the gateway's own process: no other process can read its dead letters"
        ));
    }
    let Some(plan) = planned.loaded.connector_plans.get(name) else {
        return Err(format!("there is no connector `{name}`"));
    };
    // A node name of its own: it never takes over the running gateway's session at a broker.
    let context = Context { name: name.clone(), node: format!("redrive-{}", std::process::id()) };
    let connector = plan.connect(context).map_err(|error| error.to_string())?;
    let wishes = Wishes { dry_run: args.dry_run, max: args.max, again: args.again };
    let sum = redrive(&planned.table, mapping, &*connector, wishes, |letter: &Line| line(letter)).await;
    connector.close(Duration::from_secs(5)).await;
    sum.map_err(|error| error.to_string())
}

fn find<'p>(planned: &'p Planned, wanted: &str) -> Result<&'p Mapping, String> {
    let mappings = planned.table.mappings();
    let named = mappings.iter().find(|mapping| mapping.spec().label() == wanted);
    let on = || mappings.iter().find(|mapping| mapping.spec().channel == wanted);
    let numbered = || wanted.parse().ok().and_then(|index| planned.table.get(index));
    named.or_else(on).or_else(numbered).ok_or_else(|| {
        let labels: Vec<&str> = mappings.iter().map(|mapping| mapping.spec().label()).collect();
        format!("there is no mapping `{wanted}`; there are: {}", labels.join(", "))
    })
}

fn total(sum: &Sum, dry_run: bool) -> String {
    let verb = if dry_run { "would be sent" } else { "sent" };
    let mut total = format!("{} {verb}, {} kept, {} sent before", sum.sent, sum.kept, sum.before);
    for (count, what) in [(sum.copies, "copies"), (sum.others, "of other mappings")] {
        if count > 0 {
            total.push_str(&format!(", {count} {what}"));
        }
    }
    total
}
