//! Redrive: a mapping's dead letters are sent again to where they should have gone.
//!
//! A log cannot be deleted from, so the letters stay. What was sent is noted in the topic of the dead letters itself, as a
//! *mark*: a record with the header `bayeux-dead-redriven` whose value lists the places of the letters. The next redrive,
//! wherever it runs, passes over them. A mark is written for every hundred letters and at the end; what was sent after the
//! last mark of a redrive that was killed is sent twice.

use crate::letters::{
    DEAD, MAPPING_HEADER, PARTITION_HEADER, POSITION_HEADER, REASON_HEADER, TOPIC_HEADER, WAY_HEADER,
};
use crate::mapping::{CHANNEL_HEADER, EgressError, Format, IngestMatch, Mapping, OnError, Sources, Table, chunk_data};
use bayeux::channel::ChannelName;
use bytes::Bytes;
use bytestring::ByteString;
use connector::{Connector, Cursor, Event, Inbound, Outbound, Place, PublishError, Start, Subscription, TopicFilter};
use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The header of a mark: how many letters it lists.
pub const MARK_HEADER: &str = "bayeux-dead-redriven";
/// Letters that one mark lists.
const MARK_EVERY: usize = 100;
/// How long the broker may say nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Send no more than this many.
    pub max: Option<u64>,
    /// Also those that were sent before.
    pub again: bool,
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The broker has it; where, if it says so.
    Sent(Option<String>),
    /// It would be sent.
    WouldBeSent,
    /// It cannot become a message yet, or the broker refuses it: it stays a dead letter, and why.
    Kept(String),
}

/// One letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where the letter stands in the topic of dead letters.
    pub letter: String,
    /// Why it is there, in a word.
    pub reason: String,
    /// The topic that it goes to.
    pub topic: String,
    /// What became of it.
    pub fate: Fate,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { letter, reason, topic, fate } = self;
        match fate {
            Fate::Sent(Some(place)) => write!(f, "sent   {letter} ({reason}) to {topic} at {place}"),
            Fate::Sent(None) => write!(f, "sent   {letter} ({reason}) to {topic}"),
            Fate::WouldBeSent => write!(f, "would  {letter} ({reason}) to {topic}"),
            Fate::Kept(why) => write!(f, "kept   {letter} ({reason}) for {topic}: {why}"),
        }
    }
}

/// All letters, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Sent, or such as would be.
    pub sent: u64,
    /// Still dead.
    pub kept: u64,
    /// Sent by an earlier redrive.
    pub before: u64,
    /// Copies of a letter that was seen: several gateways read the same record.
    pub copies: u64,
    /// Letters of other mappings.
    pub others: u64,
}

/// Why a redrive ended early.
#[derive(Debug, Error)]
pub enum RedriveError {
    /// The config says of no dead letters for it.
    #[error("the mapping has no `on_error: {{ dead_letter: … }}`: it keeps no dead letters")]
    NoLetters,
    /// There is no log.
    #[error("connector `{0}` keeps no log: dead letters went to whoever was subscribed, and cannot be read back")]
    NoLog(String),
    /// The log cannot be read.
    #[error("the dead letters cannot be read: {0}")]
    Unreadable(String),
    /// The broker is not there any more, or does not say.
    #[error("stopped: {0}. Run it again when the broker is there; what was sent is marked")]
    Stopped(PublishError),
    /// What was sent could not be marked.
    #[error("what was sent last could not be marked, and would be sent again: {0}")]
    Unmarked(PublishError),
}

/// Sends the dead letters of a mapping again, each confirmed by the broker before the next. `tell` gets each as it is dealt
/// with.
///
/// # Errors
/// See [`RedriveError`]; what was told before was done.
pub async fn redrive(
    table: &Table,
    mapping: &Mapping,
    connector: &dyn Connector,
    wishes: Wishes,
    mut tell: impl FnMut(&Line),
) -> Result<Sum, RedriveError> {
    let spec = mapping.spec();
    let OnError::DeadLetter(topic) = &spec.on_error else { return Err(RedriveError::NoLetters) };
    if !connector.capabilities().log {
        return Err(RedriveError::NoLog(spec.connector.clone()));
    }
    let mut done = match wishes.again {
        true => HashSet::new(),
        false => marked(connector, topic, spec.label()).await?,
    };
    let (mut sum, mut seen, mut unmarked) = (Sum::default(), HashSet::new(), Vec::new());
    let mut log = Scan::open(connector, topic).await?;
    let end = loop {
        if wishes.max.is_some_and(|max| sum.sent >= max) {
            break Ok(());
        }
        let letter = match log.next().await {
            Ok(Some(letter)) => letter,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        if letter.header(MARK_HEADER).is_some() {
            continue;
        }
        if text(&letter, MAPPING_HEADER) != Some(spec.label()) {
            sum.others += 1;
            continue;
        }
        let Some(at) = letter.place.as_ref().map(spot) else { continue };
        let identity = identity(&letter);
        if done.contains(&at) {
            // Its copies are sent as well.
            seen.extend(identity);
            sum.before += 1;
            continue;
        }
        if let Some(identity) = identity
            && !seen.insert(identity)
        {
            sum.copies += 1;
            continue;
        }
        let mut line = Line {
            letter: at.clone(),
            reason: text(&letter, REASON_HEADER).unwrap_or("no reason").to_owned(),
            topic: text(&letter, TOPIC_HEADER).unwrap_or_default().to_owned(),
            fate: Fate::WouldBeSent,
        };
        let record = match restored(table, mapping, &letter) {
            Ok(record) => record,
            Err(why) => {
                line.fate = Fate::Kept(why);
                sum.kept += 1;
                tell(&line);
                continue;
            }
        };
        line.topic = record.topic.to_string();
        if !wishes.dry_run {
            match connector.publish(record).await {
                Ok(place) => {
                    line.fate = Fate::Sent(place.map(|place| place.position().to_json()));
                    unmarked.push(at.clone());
                    done.insert(at);
                }
                Err(
                    why
                    @ (PublishError::Unavailable(_) | PublishError::Overloaded(_) | PublishError::OutcomeUnknown(_)),
                ) => {
                    break Err(RedriveError::Stopped(why));
                }
                Err(why) => {
                    line.fate = Fate::Kept(format!("refused: {why}"));
                    sum.kept += 1;
                    tell(&line);
                    continue;
                }
            }
        }
        sum.sent += 1;
        tell(&line);
        if unmarked.len() >= MARK_EVERY
            && let Err(error) = mark(connector, topic, spec.label(), &mut unmarked, spec.publish_timeout).await
        {
            break Err(error);
        }
    };
    // The first reason to stop is the one to be told.
    let marked = mark(connector, topic, spec.label(), &mut unmarked, spec.publish_timeout).await;
    end.and(marked).map(|()| sum)
}

/// A letter as the record that it was, if that can be dealt with by now.
fn restored(table: &Table, mapping: &Mapping, letter: &Inbound) -> Result<Outbound, String> {
    let spec = mapping.spec();
    let topic = text(letter, TOPIC_HEADER).ok_or("it does not say which topic it is from")?;
    // Orders to the broker were for the first time: an id by which it leaves out repeats would lose this one. In a letter
    // they have a name of ours.
    let own = |(name, _): &&(ByteString, Bytes)| !name.starts_with(DEAD);
    let record = Outbound {
        topic: topic.into(),
        key: letter.key.clone(),
        partition: text(letter, PARTITION_HEADER).and_then(|partition| partition.parse().ok()),
        payload: letter.payload.clone(),
        headers: letter.headers.iter().filter(own).cloned().collect(),
        deadline: Instant::now() + spec.publish_timeout,
    };
    if text(letter, WAY_HEADER) == Some("ingest") {
        return published(table, mapping, record);
    }
    let read = Inbound {
        topic: record.topic.clone(),
        partition: record.partition,
        headers: record.headers.clone(),
        place: None,
        ..letter.clone()
    };
    match table.egress(mapping.index(), &read) {
        Ok(_) => {}
        Err(EgressError::Shadowed { .. }) => return Ok(record),
        Err(error) => return Err(error.to_string()),
    }
    chunk_data(spec, read.payload.as_ref(), &read).map_err(|poison| poison.to_string())?;
    Ok(record)
}

/// A publish goes where the mapping sends its channel by now; where that needs what a letter does not have (claims), where it
/// was to go then.
fn published(table: &Table, mapping: &Mapping, mut record: Outbound) -> Result<Outbound, String> {
    let header = |name: &str| {
        let found = record.headers.iter().find(|(n, _)| n == name)?;
        std::str::from_utf8(&found.1).ok().map(ByteString::from)
    };
    let channel = header(CHANNEL_HEADER).and_then(|name| ChannelName::parse(&name).ok());
    let channel = channel.ok_or("it does not say which channel it was published on")?;
    let user = header(crate::ingest::USER_HEADER);
    let IngestMatch::Mapping(route) = table.ingest(&channel) else {
        return Err(format!("no mapping takes publishes on {channel} any more"));
    };
    if route.mapping.index() != mapping.index() {
        return Err(format!("mappings[{}] takes {channel} by now", route.mapping.index()));
    }
    // Text is a JSON string where it is published.
    let data = match (&record.payload, mapping.spec().format) {
        (Some(text), Format::Text) => Some(serde_json::json!(String::from_utf8_lossy(text)).to_string().into()),
        (payload, _) => payload.clone(),
    };
    if let Some(violation) = crate::ingest::violation(mapping.spec(), data.as_ref()) {
        return Err(format!("it violates the schema {violation}"));
    }
    let sources = Sources { data: data.as_deref(), claims: None, user: user.as_deref() };
    if let Ok(rendered) = route.render(&sources) {
        for (name, value) in rendered.headers {
            record.headers.retain(|(n, _)| *n != name);
            record.headers.push((name, value));
        }
        (record.topic, record.key, record.partition) = (rendered.topic, rendered.key, rendered.partition);
    }
    Ok(record)
}

fn text<'r>(record: &'r Inbound, header: &str) -> Option<&'r str> {
    record.header(header).and_then(|value| std::str::from_utf8(value).ok())
}

/// A place in the topic of dead letters: partition and number.
fn spot(place: &Place) -> String {
    format!("{}:{}", place.log.partition, place.n)
}

/// Which record a letter is of, where that can be said: every gateway that reads it writes a letter.
fn identity(letter: &Inbound) -> Option<String> {
    let position = text(letter, POSITION_HEADER)?;
    let partition = text(letter, PARTITION_HEADER).unwrap_or_default();
    Some(format!("{position}:{partition}:{}", text(letter, TOPIC_HEADER)?))
}

/// The letters that earlier redrives have sent.
async fn marked(connector: &dyn Connector, topic: &str, label: &str) -> Result<HashSet<String>, RedriveError> {
    let (mut done, mut log) = (HashSet::new(), Scan::open(connector, topic).await?);
    while let Some(record) = log.next().await? {
        if record.header(MARK_HEADER).is_some() && text(&record, MAPPING_HEADER) == Some(label) {
            let list = record.payload.as_deref().unwrap_or_default();
            done.extend(serde_json::from_slice::<Vec<String>>(list).unwrap_or_default());
        }
    }
    Ok(done)
}

async fn mark(
    connector: &dyn Connector,
    topic: &ByteString,
    label: &str,
    sent: &mut Vec<String>,
    patience: Duration,
) -> Result<(), RedriveError> {
    if sent.is_empty() {
        return Ok(());
    }
    let headers = [(MAPPING_HEADER, label.to_owned()), (MARK_HEADER, sent.len().to_string())];
    let record = Outbound {
        topic: topic.clone(),
        key: None,
        partition: None,
        payload: Some(serde_json::json!(sent).to_string().into()),
        headers: headers.into_iter().map(|(name, value)| (ByteString::from_static(name), value.into())).collect(),
        deadline: Instant::now() + patience,
    };
    connector.publish(record).await.map_err(RedriveError::Unmarked)?;
    sent.clear();
    Ok(())
}

/// All that a topic holds by now, from its beginning.
struct Scan {
    records: mpsc::Receiver<Event>,
    cursor: Cursor,
    end: Cursor,
    _subscription: Subscription,
}

impl Scan {
    async fn open(connector: &dyn Connector, topic: &str) -> Result<Scan, RedriveError> {
        let filter = TopicFilter::exact(topic, connector.syntax());
        let (subscription, _, end) = subscribe(connector, &filter, Start::Live).await?;
        drop(subscription);
        let (subscription, records, cursor) = subscribe(connector, &filter, Start::Earliest).await?;
        Ok(Scan { records, cursor, end, _subscription: subscription })
    }

    async fn next(&mut self) -> Result<Option<Inbound>, RedriveError> {
        while !self.cursor.covers_all(&self.end) {
            let event = timeout(PATIENCE, self.records.recv()).await;
            match event.map_err(|_| RedriveError::Unreadable("the broker says nothing".into()))? {
                Some(Event::Record(record)) => {
                    let within = record.place.as_ref().is_some_and(|place| self.end.covers(place));
                    record.place.iter().for_each(|place| _ = self.cursor.advance(place));
                    if within {
                        return Ok(Some(record));
                    }
                }
                Some(Event::Reached(place)) => _ = self.cursor.advance(&place),
                None => return Err(RedriveError::Unreadable("the connector ended the subscription".into())),
            }
        }
        Ok(None)
    }
}

async fn subscribe(
    connector: &dyn Connector,
    filter: &TopicFilter,
    start: Start,
) -> Result<(Subscription, mpsc::Receiver<Event>, Cursor), RedriveError> {
    let (sink, records) = mpsc::channel(256);
    let unreadable = |error: connector::SubscribeError| RedriveError::Unreadable(error.to_string());
    let mut subscription = connector.subscribe(filter.clone(), start, sink).map_err(unreadable)?;
    let ready = timeout(PATIENCE, subscription.ready()).await;
    let ready = ready.map_err(|_| RedriveError::Unreadable("the broker is not there".into()))?.map_err(unreadable)?;
    Ok((subscription, records, ready.cursor))
}
