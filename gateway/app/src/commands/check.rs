//! `check`: is the config right, and with `--connect`, is everything there that it names?

use crate::output::line;
use crate::plan::{self, Planned};
use bayeux_bridge::mapping::OnError;
use connector::{Connector, Context, HandlerContext};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also reach every broker and handler, and look for the topics
    #[arg(long)]
    connect: bool,
    /// How many seconds each of them may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
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
    plan::print(&planned.warnings);
    let config = &planned.loaded.config;
    line(format!(
        "config is good: {}, {}, {}",
        count(config.connectors.len(), "connector"),
        count(config.mappings.len(), "mapping"),
        count(config.services.len(), "service")
    ));
    if !args.connect {
        return ExitCode::SUCCESS;
    }
    match connect(&planned, Duration::from_secs(args.timeout.max(1))).await {
        0 => ExitCode::SUCCESS,
        failures => {
            eprintln!("{} not there", count(failures, "thing"));
            ExitCode::FAILURE
        }
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Reaches everything; how much of it is not there.
async fn connect(planned: &Planned, timeout: Duration) -> usize {
    let mut failures = 0;
    let mut connectors: BTreeMap<String, Arc<dyn Connector>> = BTreeMap::new();
    for (name, plan) in &planned.loaded.connector_plans {
        // A node name of its own: a check never takes over the running gateway's session at a broker.
        let context = Context { name: name.clone(), node: format!("check-{}", std::process::id()) };
        let probed = match plan.connect(context) {
            Err(error) => Err(error.to_string()),
            Ok(connector) => {
                let probed = connector.probe(timeout).await;
                if probed.is_ok() {
                    connectors.insert(name.clone(), connector);
                }
                probed
            }
        };
        failures += usize::from(!say(&format!("connector {name}"), probed));
    }
    for mapping in planned.table.mappings() {
        let Some(connector) = connectors.get(&mapping.spec().connector) else { continue };
        let letters = match &mapping.spec().on_error {
            OnError::DeadLetter(topic) => Some(topic),
            OnError::Skip | OnError::Stop => None,
        };
        let what = format!("mappings[{}] ({})", mapping.index(), mapping.spec().channel);
        for topic in mapping.fixed_topic().into_iter().chain(letters) {
            let found = match connector.topic_exists(topic, timeout).await {
                Ok(true) => Ok(format!("topic {topic} is there")),
                Ok(false) => Err(format!("topic {topic} does not exist, and the gateway creates none")),
                Err(error) => Err(error),
            };
            failures += usize::from(!say(&what, found));
        }
    }
    let context = HandlerContext { connectors: connectors.clone(), node: "check".into() };
    for (plan, service) in planned.loaded.handler_plans.iter().zip(&planned.loaded.config.services) {
        let Some(plan) = plan else { continue };
        let probed = match plan.connect(&context) {
            Ok(handler) => handler.probe(timeout).await,
            Err(error) => Err(error.to_string()),
        };
        failures += usize::from(!say(&format!("service {}", service.channel), probed));
    }
    for connector in connectors.values() {
        connector.close(Duration::from_secs(1)).await;
    }
    failures
}

fn say(what: &str, result: Result<String, String>) -> bool {
    match &result {
        Ok(found) => line(format!("ok    {what}: {found}")),
        Err(missing) => line(format!("FAIL  {what}: {missing}")),
    }
    result.is_ok()
}
