//! Why a mapping takes a channel or a record, or does not: for a person at a terminal, or as JSON.

use super::egress::EgressError;
use super::pattern::mismatch;
use super::render::{RenderError, Rendered, Route};
use super::schema::VIOLATION;
use super::source::Sources;
use super::table::{Key, Mapping, Table, is_mappable};
use bayeux::channel::ChannelName;
use bytestring::ByteString;
use connector::{Headers, Inbound};
use serde::Serialize;
use std::fmt;

/// Which way a message would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From a browser to the broker.
    Ingest,
    /// From the broker to browsers.
    Egress,
}

/// What one mapping does with a channel or a record, one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The mapping, from 0, in file order.
    pub mapping: usize,
    /// Its channel pattern, as written.
    pub pattern: String,
    /// Its connector.
    pub connector: String,
    /// Which way.
    pub way: Way,
    /// Whether it takes it.
    pub taken: bool,
    /// Why, or why not.
    pub reason: String,
    /// The channel, where a record was asked for and one comes out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The topic: as it comes out, else its template.
    pub topic: String,
    /// The key as it comes out, or what it is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What decides the partition, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// The headers as they come out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The error string that a publisher would be told, and the detail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Table {
    /// What each mapping does with a channel, first for publishes and then for records, in file order. Mappings of the
    /// other direction are left out.
    pub fn explain_channel(&self, channel: &ChannelName, sources: &Sources<'_>) -> Vec<Explained> {
        let mut all = Vec::new();
        for way in [Way::Ingest, Way::Egress] {
            let mut taken_by = None;
            for mapping in self.mappings.iter().filter(|mapping| mapping.goes(way)) {
                let explained = mapping.explain(way, channel, sources, taken_by);
                if explained.taken {
                    taken_by = Some(mapping.index);
                }
                all.push(explained);
            }
        }
        all
    }

    /// What each egress mapping does with a record, in file order. `connector` narrows it to that connector's.
    pub fn explain_record(
        &self,
        connector: Option<&str>,
        topic: &str,
        key: Option<&[u8]>,
        headers: &Headers,
    ) -> Vec<Explained> {
        let record = Inbound {
            topic: ByteString::from(topic),
            partition: None,
            key: key.map(|key| key.to_vec().into()),
            payload: None,
            headers: headers.clone(),
            timestamp: None,
            place: None,
            redelivered: false,
            retained: false,
        };
        let asked = |m: &&Mapping| m.goes(Way::Egress) && connector.is_none_or(|name| m.spec.connector == name);
        let explain = |mapping: &Mapping| {
            let mut explained = mapping.blank(Way::Egress);
            match self.egress(mapping.index, &record) {
                Ok(channel) => {
                    explained.taken = true;
                    explained.reason = "the record is brought to the channel".to_owned();
                    explained.channel = Some(channel.to_string());
                }
                Err(EgressError::Shadowed { channel, by }) => {
                    explained.reason = format!("mapping {by} comes first and has the channel");
                    explained.channel = Some(channel.to_string());
                }
                Err(error) => explained.reason = error.to_string(),
            }
            explained
        };
        self.mappings.iter().filter(asked).map(explain).collect()
    }
}

impl Mapping {
    fn goes(&self, way: Way) -> bool {
        match way {
            Way::Ingest => self.spec.direction.is_ingest(),
            Way::Egress => self.spec.direction.is_egress(),
        }
    }

    fn blank(&self, way: Way) -> Explained {
        Explained {
            mapping: self.index,
            pattern: self.pattern.as_str().to_owned(),
            connector: self.spec.connector.clone(),
            way,
            taken: false,
            reason: String::new(),
            channel: None,
            topic: self.spec.topic.clone(),
            key: None,
            partition: None,
            headers: Vec::new(),
            error: None,
        }
    }

    fn explain(&self, way: Way, channel: &ChannelName, sources: &Sources<'_>, taken_by: Option<usize>) -> Explained {
        let mut explained = self.blank(way);
        if !is_mappable(channel) {
            explained.reason = "mappings are for broadcast channels without a wildcard".to_owned();
            return explained;
        }
        if let Some(reason) = mismatch(&self.pattern, channel.as_str()) {
            explained.reason = format!("the channel does not fit: {reason}");
            return explained;
        }
        if let Some(by) = taken_by {
            explained.reason = format!("the channel fits, but mapping {by} comes first");
            return explained;
        }
        explained.taken = true;
        explained.reason = match way {
            Way::Ingest => "the first ingest mapping that fits the channel".to_owned(),
            Way::Egress => "the first egress mapping that fits the channel".to_owned(),
        };
        let Some(captures) = self.pattern.captures(channel.as_str()) else { return explained };
        let route = Route { mapping: self, channel, captures };
        if let (Way::Ingest, Some(schema), Some(data)) = (way, &self.spec.schema, sources.data)
            && let Err(violation) = schema.check(Some(data))
        {
            explained.error = Some(format!("400:{channel}:{VIOLATION} ({violation})"));
            return explained;
        }
        match (route.render(sources), way) {
            (Ok(rendered), _) => self.show(&mut explained, rendered),
            (Err(RenderError::ValueMissing(_)), Way::Egress) => {}
            (Err(error), _) => explained.error = Some(format!("{} ({error})", error.error_string(channel.as_str()))),
        }
        explained
    }

    fn show(&self, explained: &mut Explained, rendered: Rendered) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        explained.topic = rendered.topic.to_string();
        explained.key = rendered.key.as_deref().map(text);
        explained.partition = match (rendered.partition, &self.key) {
            _ if !self.traits.capabilities.partitions => None,
            (Some(partition), _) => Some(partition.to_string()),
            (None, Key::None) => Some("any".to_owned()),
            (None, Key::Channel) => Some("by the key, which is the channel".to_owned()),
            (None, Key::Template(_)) => Some("by the key".to_owned()),
        };
        explained.headers = rendered.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Ingest => "ingest",
            Way::Egress => "egress",
        };
        let taken = if self.taken { "takes it" } else { "no" };
        write!(f, "{way} mappings[{}] {} ({}): {taken}: {}", self.mapping, self.pattern, self.connector, self.reason)?;
        if let Some(channel) = &self.channel {
            write!(f, "\n  channel    {channel}")?;
        }
        if self.taken {
            write!(f, "\n  topic      {}", self.topic)?;
        }
        for (label, value) in [("key", &self.key), ("partition", &self.partition), ("error", &self.error)] {
            if let Some(value) = value {
                write!(f, "\n  {label:<10} {value}")?;
            }
        }
        for (name, value) in &self.headers {
            write!(f, "\n  header     {name}: {value}")?;
        }
        Ok(())
    }
}
