//! The language of the cases: see `README.md` beside this file.

use std::collections::BTreeMap;

/// One story, told to both servers.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    /// The file it stands in.
    pub topic: String,
    /// Which pair of servers: see `servers.rs`.
    pub pair: String,
    /// Nothing else may run at the same time: it hears every channel.
    pub alone: bool,
    pub steps: Vec<Step>,
    /// The row of `docs/protocol.md` that allows a difference, and the differing lines of both transcripts.
    pub differs: Option<String>,
    pub lines: Vec<String>,
}

/// What a named client does, or `-` for what nobody does.
#[derive(Debug, Clone)]
pub struct Step {
    pub client: String,
    pub verb: String,
    pub options: BTreeMap<String, String>,
    pub rest: String,
}

/// Reads a file of cases. Panics with the line that it does not understand.
pub fn parse(topic: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("case: ") {
            cases.push(Case {
                name: name.to_owned(),
                topic: topic.to_owned(),
                pair: "plain".to_owned(),
                alone: false,
                steps: Vec::new(),
                differs: None,
                lines: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("{topic}:{}: before the first case", number + 1));
        match line.split_once(' ') {
            Some(("servers:", pair)) => case.pair = pair.to_owned(),
            Some(("differs:", row)) => case.differs = Some(row.to_owned()),
            Some(("cometd" | "gateway", _)) => case.lines.push(line.to_owned()),
            None if line == "alone" => case.alone = true,
            Some((client, rest)) => case.steps.push(step(client, rest)),
            None => panic!("{topic}:{}: not understood: {line}", number + 1),
        }
    }
    cases
}

fn step(client: &str, rest: &str) -> Step {
    let (verb, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut options = BTreeMap::new();
    // Options are words with a `=` in front of the body.
    while let Some((name, value)) = rest.split(' ').next().and_then(|word| word.split_once('=')) {
        if !name.bytes().all(|b| b.is_ascii_lowercase()) || name.is_empty() {
            break;
        }
        options.insert(name.to_owned(), value.to_owned());
        rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
    }
    Step { client: client.to_owned(), verb: verb.to_owned(), options, rest: rest.to_owned() }
}

/// A step of other options than its own words.
pub fn of(client: &str, verb: &str, options: &BTreeMap<String, String>, rest: &str) -> Step {
    Step { client: client.to_owned(), verb: verb.to_owned(), options: options.clone(), rest: rest.to_owned() }
}

/// What frames are read up to.
pub enum Until {
    Reply(String),
    Messages(usize),
    Closed,
}
