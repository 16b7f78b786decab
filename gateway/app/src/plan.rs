//! From the config to what the gateway will do, without opening a socket: shared by `serve`, `check` and `explain`.

use crate::registry::registry;
use bayeux::channel::{ChannelPattern, Class};
use bayeux_bridge::mapping::{self, ConnectorTraits, MappingSpec, Schema, Table};
use gateway_config::{Config, Finding, Loaded, Report, Sources, Style};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A config that is right, compiled.
pub struct Planned {
    /// The config with the plans of its connectors and handlers.
    pub loaded: Loaded,
    /// The mappings.
    pub table: Arc<Table>,
    /// The services' channel patterns, in order.
    pub services: Vec<ChannelPattern>,
    /// What somebody should look at.
    pub warnings: Report,
}

/// Loads and compiles.
///
/// # Errors
/// All that is wrong, ready to be printed.
pub fn plan(sources: &Sources) -> Result<Planned, Report> {
    let loaded = gateway_config::load(sources, &registry())?;
    let mut findings = Vec::new();
    let table = compile(&loaded, &mut findings);
    let services = services(&loaded.config, &mut findings);
    let report = loaded.report(&findings);
    let mut warnings = loaded.warnings.clone();
    warnings.extend(report);
    match table {
        Some(table) if !warnings.has_errors() => Ok(Planned { loaded, table: Arc::new(table), services, warnings }),
        _ => Err(warnings),
    }
}

/// The sources that the command line names.
pub fn sources(files: &[PathBuf]) -> Sources {
    Sources::files(files)
}

/// Prints a report where people look for it.
pub fn print(report: &Report) {
    if !report.is_empty() {
        eprint!("{}", report.render(Style::for_output(std::io::stderr().is_terminal())));
    }
}

fn compile(loaded: &Loaded, findings: &mut Vec<Finding>) -> Option<Table> {
    let connectors: BTreeMap<String, ConnectorTraits> = loaded
        .connector_plans
        .iter()
        .map(|(name, plan)| {
            (name.clone(), ConnectorTraits { capabilities: plan.capabilities(), syntax: plan.syntax() })
        })
        .collect();
    let binary = loaded.config.bayeux.extensions.contains(&gateway_config::Extension::Binary);
    let mut specs: Vec<MappingSpec> = loaded.config.mappings.iter().map(|mapping| spec(mapping, binary)).collect();
    let mut schemas_are_right = true;
    for (i, (spec, mapping)) in specs.iter_mut().zip(&loaded.config.mappings).enumerate() {
        let Some(file) = &mapping.schema_file else { continue };
        match schema(file) {
            Ok(schema) => spec.schema = Some(Arc::new(schema)),
            Err(message) => {
                schemas_are_right = false;
                findings.push(Finding::error(["mappings", &i.to_string(), "schema_file"], message));
            }
        }
    }
    let (table, found) = match Table::compile(&specs, &connectors) {
        Ok(compiled) => (Some(compiled.table), compiled.warnings),
        Err(found) => (None, found),
    };
    for finding in found {
        let mut path = vec!["mappings".to_owned(), finding.index.to_string()];
        // Names of headers may hold dots.
        let most = if finding.key.starts_with("headers.") { 2 } else { usize::MAX };
        path.extend(finding.key.splitn(most, '.').map(str::to_owned));
        let placed = match finding.severity {
            mapping::Severity::Error => Finding::error(path, finding.message),
            mapping::Severity::Warning => Finding::warning(path, finding.message),
        };
        findings.push(match finding.help {
            Some(help) => placed.with_help(help),
            None => placed,
        });
    }
    table.filter(|_| schemas_are_right)
}

/// Reads a JSON Schema, or says what is wrong with it and where.
fn schema(file: &Path) -> Result<Schema, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Schema::parse(&text).map_err(|error| format!("{}, {error}", file.display()))
}

fn spec(config: &gateway_config::Mapping, binary_extension: bool) -> MappingSpec {
    use gateway_config as c;
    let included = |what| config.include.contains(&what);
    let replay = config.replay.bounds().map(|bounds| mapping::Replay {
        max_records: bounds.max_records,
        max_age: bounds.max_age.map(|age| age.get()),
    });
    MappingSpec {
        name: config.name.clone(),
        key: config.key.clone(),
        partition: config.partition,
        headers: config.headers.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        direction: match config.direction {
            c::Direction::Ingest => mapping::Direction::Ingest,
            c::Direction::Egress => mapping::Direction::Egress,
            c::Direction::Both => mapping::Direction::Both,
        },
        format: match config.format {
            c::Format::Json => mapping::Format::Json,
            c::Format::Text => mapping::Format::Text,
            c::Format::Binary => mapping::Format::Binary,
        },
        binary_extension,
        publish_timeout: config.publish_timeout.get(),
        on_error: match &config.on_error {
            c::OnError::Skip => mapping::OnError::Skip,
            c::OnError::Stop => mapping::OnError::Stop,
            c::OnError::DeadLetter(to) => mapping::OnError::DeadLetter(to.topic.as_str().into()),
        },
        consume: match (config.consume, &replay) {
            (Some(c::Consume::Always), _) | (None, Some(_)) => mapping::Consume::Always,
            (Some(c::Consume::OnDemand), _) | (None, None) => mapping::Consume::OnDemand,
        },
        deliver: config
            .deliver
            .as_ref()
            .map(|deliver| mapping::Deliver { conflate_by: deliver.conflate_by.clone(), every: deliver.every.get() }),
        replay,
        envelope: match config.envelope {
            c::Envelope::Plain => mapping::Envelope::Plain,
            c::Envelope::Salesforce => mapping::Envelope::Salesforce,
        },
        include: mapping::Include {
            key: included(c::Include::Key),
            timestamp: included(c::Include::Timestamp),
            headers: included(c::Include::Headers),
        },
        tombstones: config.tombstones,
        ..MappingSpec::new(&config.channel, &config.connector, &config.topic)
    }
}

fn services(config: &Config, findings: &mut Vec<Finding>) -> Vec<ChannelPattern> {
    let mut patterns = Vec::new();
    for (i, service) in config.services.iter().enumerate() {
        let at = |message: String| Finding::error(["services", &i.to_string(), "channel"], message);
        match ChannelPattern::parse(&service.channel) {
            Err(error) => findings.push(at(error.to_string())),
            Ok(_) if bayeux_class(&service.channel) != Some(Class::Service) => {
                findings.push(at("a service's channel begins with /service/".into()));
            }
            Ok(pattern) => patterns.push(pattern),
        }
    }
    patterns
}

fn bayeux_class(channel: &str) -> Option<Class> {
    bayeux::channel::ChannelName::parse(&channel.into()).ok().map(|name| name.class())
}
