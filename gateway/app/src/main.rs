//! `bayeux-gateway`: the command line, and what wires the parts together.
//!
//! `serve` builds the gateway from its config (`plan.rs`, `serve.rs`); the other commands check and explain a config or
//! talk to a running gateway. The one place that names brokers is `registry.rs`.

mod admin;
mod client;
mod commands;
mod output;
mod page;
mod plan;
mod quickstart;
mod registry;
mod serve;
mod settings;
mod telemetry;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bridges Bayeux (CometD) clients to Kafka, NATS and MQTT.
///
/// Without a command it serves; without a config it serves a quickstart that needs no broker.
#[derive(Debug, Parser)]
#[command(name = "bayeux-gateway", version, max_term_width = 100)]
struct Cli {
    /// A config file; may be given more than once, later ones win
    #[arg(long, global = true, value_name = "FILE", env = "BAYEUX_GATEWAY_CONFIG", value_delimiter = ',')]
    config: Vec<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves (what it does without a command, too)
    Serve,
    /// Checks the config; exit code 1 on any error
    Check(commands::check::Args),
    /// Says which mapping or service takes a channel, or which channel a record goes to, and why
    Explain(commands::explain::Args),
    /// Prints the JSON Schema of the config
    Schema(commands::schema::Args),
    /// Sends a mapping's dead letters again
    Redrive(commands::redrive::Args),
    Publish(client::PublishArgs),
    Subscribe(client::SubscribeArgs),
    Call(client::CallArgs),
    /// Prints the version, the commit, and what is built in
    Version,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One TLS provider for the whole process, before anything may need it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match cli.command {
            None | Some(Command::Serve) => serve::run(&cli.config).await,
            Some(Command::Check(args)) => commands::check::run(&cli.config, args).await,
            Some(Command::Explain(args)) => commands::explain::run(&cli.config, args),
            Some(Command::Schema(args)) => commands::schema::run(args),
            Some(Command::Redrive(args)) => commands::redrive::run(&cli.config, args).await,
            Some(Command::Publish(args)) => client::publish(args).await,
            Some(Command::Subscribe(args)) => client::subscribe(args).await,
            Some(Command::Call(args)) => client::call(args).await,
            Some(Command::Version) => commands::version::run(),
        }
    });
    // Whatever still runs (a blocking read of standard input, a socket that nobody closes) ends with the process.
    runtime.shutdown_background();
    code
}
