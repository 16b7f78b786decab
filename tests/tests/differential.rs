//! The gateway beside CometD's own server: each case of `tests/differential/cases` is told to both, and both must say the
//! same, but for what `docs/protocol.md` lists. `tests/differential/README.md` says how cases are written.
//!
//! `DIFFERENTIAL=text` tells only the cases whose name or file has this text, and shows their transcripts.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

#[path = "../differential/play.rs"]
mod play;
#[path = "../differential/script.rs"]
mod script;
#[path = "../differential/servers.rs"]
mod servers;
#[path = "../differential/text.rs"]
mod text;
#[path = "../differential/wire.rs"]
mod wire;

use gateway_tests::lab::tests_dir;
use script::Case;
use servers::Pair;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Cases in which the gateway is not yet as it should be, and why: they are shown, and do not fail the test. One that
/// is the same again must leave this list.
const KNOWN: [(&str, &str); 0] = [];

/// How many cases are told at the same time.
const AT_ONCE: usize = 12;

/// A held request shows by nothing, so a case waits a little for it; a busy machine may need the longer times.
const SETTLE: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(800), Duration::from_millis(2500)];

/// A case and its two transcripts.
struct Told {
    case: Arc<Case>,
    cometd: Vec<String>,
    gateway: Vec<String>,
}

impl Told {
    /// The lines that differ, as they stand in a case that allows them.
    fn differing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (n, (theirs, ours)) in self.cometd.iter().zip(&self.gateway).enumerate() {
            if theirs != ours {
                lines.push(format!("cometd {}: {theirs}", n + 1));
                lines.push(format!("gateway {}: {ours}", n + 1));
            }
        }
        lines
    }

    fn as_written(&self) -> bool {
        self.differing() == self.case.lines
    }

    fn transcript(&self) -> String {
        let mut text = String::new();
        for (n, step) in self.case.steps.iter().enumerate() {
            let (theirs, ours) = (&self.cometd[n], &self.gateway[n]);
            text.push_str(&format!("  {}. {} {} {:?} {}\n", n + 1, step.client, step.verb, step.options, step.rest));
            if theirs == ours {
                text.push_str(&format!("     both    {}\n", short(theirs)));
            } else {
                text.push_str(&format!("     cometd  {}\n     gateway {}\n", short(theirs), short(ours)));
            }
        }
        text
    }
}

fn short(text: &str) -> String {
    if text.len() > 1500 { format!("{}…", text.chars().take(1500).collect::<String>()) } else { text.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_answers_as_cometd_does() {
    let filter = std::env::var("DIFFERENTIAL").ok();
    let cases = cases();
    let all = cases.len();
    let wanted = |case: &Case| filter.as_ref().is_none_or(|text| case.name.contains(text) || case.topic.contains(text));
    let cases: Vec<Arc<Case>> = cases.into_iter().filter(wanted).map(Arc::new).collect();
    let pairs = Arc::new(tokio::task::spawn_blocking(Pair::all).await.unwrap());

    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let (alone, together): (Vec<_>, Vec<_>) = cases.iter().cloned().enumerate().partition(|(_, case)| case.alone);
    let running: Vec<_> = together
        .into_iter()
        .map(|(n, case)| {
            let (pairs, permits) = (Arc::clone(&pairs), Arc::clone(&permits));
            tokio::spawn(async move {
                let _permit = permits.acquire().await.unwrap();
                (n, tell(&pairs, case, n).await)
            })
        })
        .collect();
    let mut told = Vec::new();
    for running in running {
        told.push(running.await.unwrap());
    }
    for (n, case) in alone {
        told.push((n, tell(&pairs, case, n).await));
    }
    told.sort_by_key(|(n, _)| *n);

    let rows = rows();
    let mut failures = Vec::new();
    let mut counts = [0; 3];
    for (_, told) in &told {
        let case = &told.case;
        let known = KNOWN.iter().find(|(name, _)| *name == case.name).map(|(_, why)| why);
        let different = !told.differing().is_empty();
        let verdict = match (&case.differs, known) {
            (Some(row), _) if !rows.contains(row) => Err(format!("docs/protocol.md has no row \"{row}\"")),
            (Some(row), _) if different && told.as_written() => Ok((1, format!("allowed difference ({row})"))),
            (Some(_), _) => Err("DIFFERENT, not as the case allows it".to_owned()),
            (None, Some(why)) if different && told.as_written() => Ok((2, format!("KNOWN difference ({why})"))),
            (None, Some(_)) => Err("not the difference that is KNOWN".to_owned()),
            (None, None) if different => Err("DIFFERENT".to_owned()),
            (None, None) => Ok((0, "same".to_owned())),
        };
        let text = match verdict {
            Ok((kind, text)) => {
                counts[kind] += 1;
                text
            }
            Err(text) => {
                let lines = told.differing().join("\n");
                failures.push(format!("{}: {}\n{text}\n{}\n{lines}\n", case.topic, case.name, told.transcript()));
                text
            }
        };
        println!("{:11} {:75} {text}", case.topic, case.name);
        if filter.is_some() {
            println!("{}", told.transcript());
        }
    }
    for failure in &failures {
        println!("\n{failure}");
    }
    let [same, allowed, known] = counts;
    println!("{} cases: {same} same, {allowed} allowed, {known} known, {} DIFFERENT", told.len(), failures.len());
    assert!(failures.is_empty(), "{} cases differ from CometD", failures.len());
    assert!(all >= 150, "{all} cases are too few");
}

/// Tells a case to both servers; again, and slower, if they do not say what they should.
async fn tell(pairs: &[Pair], case: Arc<Case>, n: usize) -> Told {
    let pair = pairs.iter().find(|pair| pair.name == case.pair).expect("a pair of that name");
    let mut attempt = 0;
    loop {
        let tag = format!("c{n}t{attempt}");
        let settle = SETTLE[attempt];
        let (cometd, gateway) = tokio::join!(
            play::play(&case, pair.cometd.port, &tag, settle),
            play::play(&case, pair.gateway.port(), &tag, settle)
        );
        let told = Told { case: Arc::clone(&case), cometd, gateway };
        attempt += 1;
        if told.as_written() || attempt == SETTLE.len() || std::env::var_os("DIFFERENTIAL_ONCE").is_some() {
            return told;
        }
    }
}

fn cases() -> Vec<Case> {
    let mut files: Vec<_> =
        std::fs::read_dir(tests_dir().join("differential/cases")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let topic = file.file_stem().unwrap().to_string_lossy().into_owned();
        cases.extend(script::parse(&topic, &std::fs::read_to_string(&file).unwrap()));
    }
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).for_each(|two| assert!(two[0] != two[1], "two cases are named {}", two[0]));
    cases
}

/// The first column of the table in `docs/protocol.md`.
fn rows() -> Vec<String> {
    let text = std::fs::read_to_string(tests_dir().join("../docs/protocol.md")).unwrap();
    text.lines()
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| line.split(" | ").next())
        .map(|cell| cell.trim().to_owned())
        .collect()
}
