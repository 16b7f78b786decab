//! `explain`: which mapping or service takes a channel, and which channel a record goes to.

use crate::output::line;
use crate::plan;
use bayeux::channel::{ChannelName, Class};
use bayeux_bridge::mapping::{Explained, Sources};
use bytes::Bytes;
use connector::Headers;
use gateway_config::{UnmappedChannels, UnmappedServices};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A channel, such as /orders/eu/7
    #[arg(required_unless_present = "topic", conflicts_with = "topic")]
    channel: Option<String>,
    /// The data of a publish, as JSON, for templates that look into it
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// The publisher's claims, as a JSON object
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// The publisher's user name
    #[arg(long)]
    user: Option<String>,
    /// A record's topic: explains the way back
    #[arg(long)]
    topic: Option<String>,
    /// Only the mappings of this connector
    #[arg(long, requires = "topic")]
    connector: Option<String>,
    /// The record's key
    #[arg(long, requires = "topic")]
    key: Option<String>,
    /// A header of the record; may be given more than once
    #[arg(long, value_name = "NAME=VALUE", requires = "topic", value_parser = header)]
    header: Vec<(String, String)>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a header is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The command.
pub fn run(files: &[PathBuf], args: Args) -> ExitCode {
    let sources = if files.is_empty() { crate::quickstart::sources() } else { plan::sources(files) };
    let planned = match plan::plan(&sources) {
        Ok(planned) => planned,
        Err(report) => {
            plan::print(&report);
            return ExitCode::FAILURE;
        }
    };
    for (name, json) in [("data", &args.data), ("claims", &args.claims)] {
        if let Some(text) = json
            && let Err(error) = serde_json::from_str::<Value>(text)
        {
            eprintln!("error: --{name} is not JSON: {error}");
            return ExitCode::FAILURE;
        }
    }
    let (found, explained, verdict) = match (&args.topic, &args.channel) {
        (Some(topic), _) => {
            let headers: Headers = args
                .header
                .iter()
                .map(|(name, value)| (name.as_str().into(), Bytes::from(value.clone().into_bytes())))
                .collect();
            let key = args.key.as_ref().map(String::as_bytes);
            let explained = planned.table.explain_record(args.connector.as_deref(), topic, key, &headers);
            let verdict = match explained.iter().any(|e| e.taken) {
                true => "the record reaches the subscribers of that channel".to_owned(),
                false => "no mapping brings this record to a channel".to_owned(),
            };
            (format!("record of topic {topic}"), explained, verdict)
        }
        (None, Some(channel)) => {
            let name = match ChannelName::parse(&channel.as_str().into()) {
                Ok(name) => name,
                Err(error) => {
                    eprintln!("error: {channel}: {error}");
                    return ExitCode::FAILURE;
                }
            };
            let sources = Sources {
                data: args.data.as_ref().map(String::as_bytes),
                claims: args.claims.as_ref().map(String::as_bytes),
                user: args.user.as_deref(),
            };
            let explained = planned.table.explain_channel(&name, &sources);
            let verdict = verdict(&planned, &name, &explained);
            (format!("channel {name}"), explained, verdict)
        }
        (None, None) => return ExitCode::FAILURE, // clap asks for one of them
    };
    if args.json {
        line(format!(
            "{}",
            json!({ "asked": found, "mappings": explained, "verdict": verdict, "policy": "everything is allowed: the config has no auth rules" })
        ));
    } else {
        line(&found);
        for explained in &explained {
            line(explained);
        }
        line(format!("=> {verdict}"));
        line("   policy: everything is allowed, as the config has no auth rules");
    }
    ExitCode::SUCCESS
}

fn verdict(planned: &plan::Planned, name: &ChannelName, explained: &[Explained]) -> String {
    let config = &planned.loaded.config.bayeux;
    match name.class() {
        Class::Meta => "the protocol's own: clients can neither publish nor subscribe to it".into(),
        Class::Service => match planned.services.iter().position(|pattern| pattern.matches(name.as_str())) {
            Some(i) => {
                let service = &planned.loaded.config.services[i];
                format!("services[{i}] ({}) answers, within {}", service.channel, service.timeout)
            }
            None => match config.unmapped_services {
                UnmappedServices::Acknowledge => {
                    "no service has it: acknowledged, and nothing else (bayeux.unmapped_services)".into()
                }
                UnmappedServices::Refuse => "no service has it: refused (bayeux.unmapped_services)".into(),
            },
        },
        Class::Broadcast if name.is_wild() => "a pattern: one can subscribe to it, not publish".into(),
        Class::Broadcast => {
            use bayeux_bridge::mapping::Way;
            let taken = |way| explained.iter().find(|e| e.taken && e.way == way);
            match (taken(Way::Ingest), taken(Way::Egress)) {
                (Some(i), Some(e)) if i.mapping == e.mapping => {
                    format!("mappings[{}]: to the broker and back to subscribers", i.mapping)
                }
                (Some(i), Some(e)) => {
                    format!("publishes go by mappings[{}], records come by mappings[{}]", i.mapping, e.mapping)
                }
                (Some(i), None) => format!("mappings[{}]: to the broker, and to no browser", i.mapping),
                (None, Some(e)) => format!("mappings[{}]: from the broker only; publishing is refused", e.mapping),
                (None, None) => match config.unmapped_channels {
                    UnmappedChannels::Local => {
                        "no mapping has it: from browser to browser on this node (bayeux.unmapped_channels)".into()
                    }
                    UnmappedChannels::Deny => "no mapping has it: refused (bayeux.unmapped_channels)".into(),
                },
            }
        }
    }
}
