//! The commands: what is printed where, and with which exit code.
//!
//! Standard output has JSON only, one a line. What a person should know goes to standard error as one sentence. The exit
//! code is 0 if all went well, 1 if not, 2 if the command line is wrong.

use super::handle::{Client, Event, Pending, Reply};
use super::subscriptions::position;
use super::{Error, ServerArgs};
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use serde_json::value::RawValue;
use std::io::{self, BufRead, BufWriter, Write};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Publishes a message, or one for each line of standard input.
#[derive(Clone, Debug, clap::Args)]
pub struct PublishArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Channel to publish on, such as /chat/lobby
    channel: String,
    /// The data, as JSON. Without it, each line of standard input is one
    #[arg(value_name = "JSON")]
    data: Option<String>,
    /// Messages from standard input that may wait for their reply at the same time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
}

/// Prints the messages of channels as they come.
#[derive(Clone, Debug, clap::Args)]
pub struct SubscribeArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Channels or patterns, such as /chat/lobby, /chat/* or /chat/**
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Where to begin: -1 (new only), -2 (all that is kept), a position, or a time such as 2026-11-24T14:00:00Z
    #[arg(long, value_name = "POS", allow_hyphen_values = true, value_parser = position)]
    replay: Option<String>,
}

/// Asks a service and prints the data of its answer.
#[derive(Clone, Debug, clap::Args)]
pub struct CallArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Channel of the service, such as /service/echo
    channel: String,
    /// The question, as JSON
    #[arg(value_name = "JSON")]
    data: String,
}

/// The command `publish`: prints each message's reply.
pub async fn publish(args: PublishArgs) -> ExitCode {
    exit(run_publish(&args, standard_input, io::stdout()).await)
}

/// The command `subscribe`: prints each message.
pub async fn subscribe(args: SubscribeArgs) -> ExitCode {
    exit(run_subscribe(&args, io::stdout()).await)
}

/// The command `call`: prints the data of the answer.
pub async fn call(args: CallArgs) -> ExitCode {
    exit(run_call(&args, io::stdout()).await)
}

/// The lines of an input. One that cannot be read is the last.
pub(super) type Lines = mpsc::Receiver<io::Result<String>>;

/// Why a command ends with another code than 0.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Client(#[from] Error),
    #[error("{place} is no JSON ({error}); a text needs quotes: '\"hello\"'")]
    NoJson { place: String, error: serde_json::Error },
    #[error("the message was not taken: {0}")]
    NotTaken(String),
    #[error("{failed} of {all} messages were not taken; the first: {first}")]
    NotAllTaken { failed: u64, all: u64, first: String },
    #[error("the service answered with a failure: {0}")]
    Answer(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn exit(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe has seen enough.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let sentence = failure.to_string();
            let stop = if sentence.ends_with(['.', '!', '?']) { "" } else { "." };
            eprintln!("{sentence}{stop}");
            ExitCode::FAILURE
        }
    }
}

/// Reads lines in a thread of its own, which does not hold up the end of the program as one of the runtime's would.
fn standard_input() -> Lines {
    let (sender, lines) = mpsc::channel(256);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let last = line.is_err();
            if sender.blocking_send(line).is_err() || last {
                return;
            }
        }
    });
    lines
}

fn json(place: &str, text: &str) -> Result<Box<RawValue>, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::NoJson { place: place.to_owned(), error })
}

pub(super) async fn run_publish(
    args: &PublishArgs,
    input: impl FnOnce() -> Lines,
    output: impl Write,
) -> Result<(), Failure> {
    let data = args.data.as_deref().map(|text| json("the data", text)).transpose()?;
    let (client, _) = Client::open(args.server.options()?).await?;
    let mut printer = Printer { output: BufWriter::new(output), all: 0, failed: 0, first: String::new() };
    let outcome = match data {
        Some(data) => match client.publish(&args.channel, &data).await {
            Ok(pending) => printer.print(pending.reply().await).map_err(Failure::from),
            Err(error) => Err(error.into()),
        },
        None => publish_lines(&client, &args.channel, usize::from(args.in_flight), input(), &mut printer).await,
    };
    client.disconnect().await;
    printer.output.flush()?;
    outcome?;
    match printer {
        Printer { failed: 0, .. } => Ok(()),
        Printer { first, .. } if args.data.is_some() => Err(Failure::NotTaken(first)),
        Printer { all, failed, first, .. } => Err(Failure::NotAllTaken { failed, all, first }),
    }
}

async fn publish_lines(
    client: &Client,
    channel: &str,
    in_flight: usize,
    mut lines: Lines,
    printer: &mut Printer<impl Write>,
) -> Result<(), Failure> {
    let mut replies = FuturesOrdered::new();
    let mut number = 0_u64;
    let mut outcome = Ok(());
    let mut more = true;
    while more || !replies.is_empty() {
        tokio::select! {
            biased;
            Some(reply) = replies.next() => {
                printer.print(reply)?;
                while let Some(Some(reply)) = replies.next().now_or_never() {
                    printer.print(reply)?;
                }
                printer.output.flush()?;
            }
            line = lines.recv(), if more && replies.len() < in_flight => {
                number += 1;
                match send_line(client, channel, number, line).await {
                    Ok(Some(pending)) => replies.push_back(pending.reply()),
                    Ok(None) => more = false,
                    // What was sent before is still answered.
                    Err(failure) => (outcome, more) = (Err(failure), false),
                }
            }
        }
    }
    outcome
}

async fn send_line(
    client: &Client,
    channel: &str,
    number: u64,
    line: Option<io::Result<String>>,
) -> Result<Option<Pending>, Failure> {
    let Some(line) = line.transpose()? else { return Ok(None) };
    let data = json(&format!("line {number}"), &line)?;
    Ok(Some(client.publish(channel, &data).await?))
}

/// Prints replies, and counts those that are refusals.
struct Printer<W: Write> {
    output: BufWriter<W>,
    all: u64,
    failed: u64,
    first: String,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, reply: Result<Reply, Error>) -> io::Result<()> {
        self.all += 1;
        let (line, error) = match reply {
            Ok(reply) => (reply.json, reply.error),
            // So that each message has its line, one that has no reply gets one as well.
            Err(error) => {
                let error = error.to_string();
                (serde_json::json!({ "successful": false, "failure": error }).to_string(), Some(error))
            }
        };
        if let Some(error) = error {
            if self.failed == 0 {
                self.first = error;
            }
            self.failed += 1;
        }
        writeln!(self.output, "{line}")
    }
}

pub(super) async fn run_subscribe(args: &SubscribeArgs, output: impl Write) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (client, mut events) = Client::open(args.server.options()?).await?;
    let mut output = BufWriter::new(output);
    let outcome = {
        let subscribing = client.subscribe(&args.channels, args.replay.as_deref());
        let printing = print_events(&mut events, args.count, &mut output);
        tokio::pin!(subscribing, printing);
        let mut subscribed = false;
        loop {
            tokio::select! {
                // Messages of the first channel may come before the last one is answered.
                done = &mut printing => break done,
                answer = &mut subscribing, if !subscribed => match answer {
                    Ok(()) => subscribed = true,
                    Err(error) => break Err(error.into()),
                },
                _ = interrupt.recv() => break Ok(()),
                _ = terminate.recv() => break Ok(()),
            }
        }
    };
    // Nobody receives any more: what still comes is not to hold up the farewell.
    drop(events);
    client.disconnect().await;
    output.flush()?;
    outcome
}

async fn print_events(
    events: &mut mpsc::Receiver<Event>,
    count: Option<u64>,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let mut printed = 0;
    loop {
        match events.recv().await {
            Some(Event::Message { json, .. }) => {
                writeln!(output, "{json}")?;
                printed += 1;
                if count == Some(printed) {
                    return Ok(output.flush()?);
                }
                if events.is_empty() {
                    output.flush()?;
                }
            }
            Some(Event::Lost(reason)) => eprintln!("The connection is lost ({reason}); trying to come back."),
            Some(Event::Back) => eprintln!("The connection is there again."),
            Some(Event::Unsubscribed(error) | Event::Ended(error)) => return Err(error.into()),
            None => return Err(Error::Ended.into()),
        }
    }
}

pub(super) async fn run_call(args: &CallArgs, mut output: impl Write) -> Result<(), Failure> {
    let data = json("the question", &args.data)?;
    let (client, _) = Client::open(args.server.options()?).await?;
    let answer = client.call(&args.channel, &data).await;
    client.disconnect().await;
    let Reply { error, data, .. } = answer?;
    if let Some(data) = &data {
        writeln!(output, "{data}")?;
    }
    match (error, data) {
        (None, _) => Ok(()),
        (Some(_), Some(data)) => Err(Failure::Answer(data)),
        (Some(error), None) => Err(Error::Refused { what: args.channel.clone(), error }.into()),
    }
}
