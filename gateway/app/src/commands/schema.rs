//! `schema`: the config's JSON Schema, or its reference for people.

use crate::registry::registry;
use std::io::Write;
use std::process::ExitCode;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the reference for people instead, in Markdown
    #[arg(long)]
    markdown: bool,
}

/// The command.
pub fn run(args: Args) -> ExitCode {
    let text = if args.markdown {
        gateway_config::reference(&registry())
    } else {
        format!("{:#}\n", gateway_config::schema(&registry()))
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
