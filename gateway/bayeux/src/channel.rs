//! Channel names: which are valid, what class they are of, and which patterns reach them.
//!
//! The characters are those that CometD's `Bayeux.Validator` lets through, which are more than the specification's;
//! the structure is that of its `ChannelId`: outer spaces and one trailing slash are dropped, no segment is empty, and
//! a wildcard stands only as the last segment.

use bytestring::ByteString;
use std::fmt;
use thiserror::Error;

/// What a channel is for, by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `/meta/…`: the protocol's own.
    Meta,
    /// `/service/…`: between one session and the server.
    Service,
    /// All else: to every subscriber.
    Broadcast,
}

impl Class {
    /// By prefix. As in CometD, `/meta` and `/service` alone are broadcast channels.
    pub fn of(name: &str) -> Class {
        if name.starts_with("/meta/") {
            Class::Meta
        } else if name.starts_with("/service/") {
            Class::Service
        } else {
            Class::Broadcast
        }
    }
}

/// Why a name is no channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChannelError {
    /// Shorter than two characters, or not beginning with a slash.
    #[error("a channel begins with / and a segment")]
    Shape,
    /// A character that no channel may have.
    #[error("character not allowed in a channel")]
    Character,
    /// Two slashes in a row.
    #[error("a channel segment is empty")]
    EmptySegment,
    /// A wildcard that is not the whole last segment.
    #[error("a wildcard may only be the last segment")]
    Wildcard,
}

/// Whether a byte may stand in a channel name (CometD's `Bayeux.Validator`).
pub fn is_channel_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" !#$()*+-./@_{}~".contains(&byte)
}

/// A valid channel name, concrete or with a trailing wildcard. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(ByteString);

impl ChannelName {
    /// Checks and normalizes a name.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn parse(name: &ByteString) -> Result<Self, ChannelError> {
        if name.len() < 2 || !name.starts_with('/') {
            return Err(ChannelError::Shape);
        }
        if !name.bytes().all(is_channel_byte) {
            return Err(ChannelError::Character);
        }
        let trimmed = name.trim();
        let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
        if trimmed.len() < 2 {
            return Err(ChannelError::EmptySegment);
        }
        let mut segments = trimmed[1..].split('/').peekable();
        while let Some(segment) = segments.next() {
            if segment.is_empty() {
                return Err(ChannelError::EmptySegment);
            }
            let wild = segment == "*" || segment == "**";
            if wild && segments.peek().is_some() {
                return Err(ChannelError::Wildcard);
            }
        }
        Ok(ChannelName(if trimmed.len() == name.len() { name.clone() } else { ByteString::from(trimmed) }))
    }

    /// The same name in memory of its own: one that was parsed may hold on to all of the request that it came in.
    pub fn detached(&self) -> Self {
        ChannelName(ByteString::from(self.as_str()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    pub fn as_bytestring(&self) -> &ByteString {
        &self.0
    }

    /// Its class: see [`Class::of`].
    pub fn class(&self) -> Class {
        Class::of(&self.0)
    }

    /// Ends in `*` or `**`.
    pub fn is_wild(&self) -> bool {
        self.0.ends_with("/*") || self.0.ends_with("/**")
    }

    /// The segments.
    pub fn segments(&self) -> std::str::Split<'_, char> {
        self.0[1..].split('/')
    }

    /// The names under which a subscription reaches this concrete channel, from the root's `/**` to the channel itself:
    /// CometD's order of listeners. `/a/b` is reached by `/**`, `/a/**`, `/a/*` and `/a/b`; a pattern by the deeper
    /// patterns above it and by itself (CometD's `ChannelId.getAllIds`).
    pub fn for_each_reaching(&self, mut f: impl FnMut(&str)) {
        let name = self.as_str();
        let wild = self.is_wild();
        let mut buffer = String::with_capacity(name.len() + 3);
        let mut parent_end = 0;
        for (i, _) in name.match_indices('/') {
            buffer.truncate(parent_end);
            buffer.push_str(&name[parent_end..i]);
            buffer.push_str("/**");
            if buffer != name {
                f(&buffer);
            }
            parent_end = i;
        }
        if !wild {
            buffer.truncate(parent_end);
            buffer.push_str("/*");
            f(&buffer);
        }
        f(name);
    }

    /// Whether this name, as a subscription, reaches `channel`.
    pub fn reaches(&self, channel: &str) -> bool {
        if let Some(parent) = self.0.strip_suffix("**").filter(|p| p.ends_with('/')) {
            channel.len() > parent.len() && channel.starts_with(parent)
        } else if let Some(parent) = self.0.strip_suffix('*').filter(|p| p.ends_with('/')) {
            channel.strip_prefix(parent).is_some_and(|last| !last.is_empty() && !last.contains('/'))
        } else {
            *self.0 == *channel
        }
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One segment of a [`ChannelPattern`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this.
    Literal(String),
    /// `{name}`: any one segment, under that name.
    Name(String),
    /// `*`: any one segment (last only).
    Any,
    /// `**`: one or more further segments (last only).
    Rest,
}

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Not even a channel.
    #[error("{0}")]
    Channel(#[from] ChannelError),
    /// A `{name}` that is not a whole segment, or is badly written.
    #[error("{{name}} stands for a whole segment, and a name is made of letters, digits and _: {0}")]
    Name(String),
    /// The same name twice.
    #[error("the name {{{0}}} appears twice")]
    Twice(String),
}

/// A pattern of the config: `/a/{name}`, `/a/*`, `/a/{b}/**`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPattern {
    text: String,
    segments: Vec<Segment>,
}

impl ChannelPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let name = ChannelName::parse(&ByteString::from(text))?;
        let mut segments = Vec::new();
        for segment in name.segments() {
            segments.push(match segment {
                "*" => Segment::Any,
                "**" => Segment::Rest,
                _ if segment.contains(['{', '}']) => {
                    let inner = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')).unwrap_or_default();
                    let good = !inner.is_empty()
                        && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                        && !inner.as_bytes()[0].is_ascii_digit();
                    if !good {
                        return Err(PatternError::Name(segment.to_owned()));
                    }
                    if segments.iter().any(|s| matches!(s, Segment::Name(n) if n == inner)) {
                        return Err(PatternError::Twice(inner.to_owned()));
                    }
                    Segment::Name(inner.to_owned())
                }
                _ => Segment::Literal(segment.to_owned()),
            });
        }
        Ok(ChannelPattern { text: text.to_owned(), segments })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|s| match s {
            Segment::Name(n) => Some(n.as_str()),
            _ => None,
        })
    }

    /// Ends in `**`.
    pub fn has_rest(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Rest))
    }

    /// Matches a concrete channel; the values of the names in order, and what `*` or `**` stood for.
    pub fn captures<'c>(&self, channel: &'c str) -> Option<Captures<'c>> {
        let mut captures = Captures { names: Vec::new(), rest: None };
        let mut remaining = channel.strip_prefix('/')?;
        for (i, segment) in self.segments.iter().enumerate() {
            let last = i + 1 == self.segments.len();
            let (head, tail) = match remaining.split_once('/') {
                Some((head, tail)) => (head, Some(tail)),
                None => (remaining, None),
            };
            if head.is_empty() {
                return None;
            }
            match segment {
                Segment::Rest => {
                    captures.rest = Some(remaining);
                    return Some(captures);
                }
                Segment::Literal(literal) if literal != head => return None,
                Segment::Literal(_) => {}
                Segment::Name(_) => captures.names.push(head),
                Segment::Any => captures.rest = Some(head),
            }
            match (last, tail) {
                (true, None) => return Some(captures),
                (false, Some(tail)) => remaining = tail,
                _ => return None,
            }
        }
        None
    }

    /// Whether a concrete channel fits.
    pub fn matches(&self, channel: &str) -> bool {
        self.captures(channel).is_some()
    }

    /// Whether a subscription could ever receive from a channel of this pattern: whether the two sets of channels meet.
    pub fn meets(&self, subscription: &ChannelName) -> bool {
        let mut theirs = subscription.segments().peekable();
        let mut ours = self.segments.iter().peekable();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(_), Some("**")) | (Some(Segment::Rest), Some(_)) => return true,
                (Some(Segment::Literal(l)), Some(t)) if t != "*" && l != t => return false,
                _ => {}
            }
        }
    }
}

/// What a pattern bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures<'c> {
    /// Values of the names, in the pattern's order.
    pub names: Vec<&'c str>,
    /// The segment that `*`, or the segments that `**`, stood for.
    pub rest: Option<&'c str>,
}

#[cfg(any(test, feature = "fuzzing"))]
pub mod property;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Result<ChannelName, ChannelError> {
        ChannelName::parse(&ByteString::from(text))
    }

    #[test]
    fn names_are_taken_as_cometd_takes_them() {
        for good in ["/a", "/foo/", "/foo bar", "/foo/*", "/**", "/a/{x}", "/a*b", "/~!#$()+-.@_"] {
            assert!(name(good).is_ok(), "{good}");
        }
        assert_eq!(name("/foo/").unwrap().as_str(), "/foo");
        for (bad, why) in [
            ("foo", ChannelError::Shape),
            ("/", ChannelError::Shape),
            ("", ChannelError::Shape),
            ("/foo/ü", ChannelError::Character),
            ("/foo?", ChannelError::Character),
            ("//", ChannelError::EmptySegment),
            ("/foo//bar", ChannelError::EmptySegment),
            ("/foo/*/bar", ChannelError::Wildcard),
            ("/**/foo", ChannelError::Wildcard),
        ] {
            assert_eq!(name(bad).unwrap_err(), why, "{bad}");
        }
    }

    #[test]
    fn a_channel_is_reached_from_the_root_to_itself() {
        let mut all = Vec::new();
        name("/a/b/c").unwrap().for_each_reaching(|n| all.push(n.to_owned()));
        assert_eq!(all, ["/**", "/a/**", "/a/b/**", "/a/b/*", "/a/b/c"]);
    }

    #[test]
    fn wildcards_match_below_and_never_the_parent() {
        let reaches = |s: &str, c: &str| name(s).unwrap().reaches(c);
        assert!(reaches("/foo/*", "/foo/a"));
        assert!(!reaches("/foo/*", "/foo"));
        assert!(!reaches("/foo/*", "/foo/a/b"));
        assert!(reaches("/foo/**", "/foo/a/b"));
        assert!(!reaches("/foo/**", "/foo"));
        assert!(!reaches("/foo/**", "/foobar"));
        assert!(reaches("/**", "/x"));
        assert!(!reaches("/a**", "/abc"), "a wildcard is a whole segment");
    }

    #[test]
    fn a_pattern_binds_one_segment_per_name() {
        let pattern = ChannelPattern::parse("/orders/{region}/{id}").unwrap();
        assert_eq!(pattern.captures("/orders/eu/7").unwrap().names, ["eu", "7"]);
        assert_eq!(pattern.captures("/orders/eu"), None);
        assert_eq!(pattern.captures("/orders/eu/7/x"), None);
        let rest = ChannelPattern::parse("/m/{a}/**").unwrap();
        assert_eq!(rest.captures("/m/x/y/z").unwrap().rest, Some("y/z"));
        assert_eq!(rest.captures("/m/x"), None);
        assert!(ChannelPattern::parse("/a/x{b}").is_err());
        assert!(ChannelPattern::parse("/a/{b}/{b}").is_err());
        assert!(ChannelPattern::parse("/a/{1}").is_err());
    }

    #[test]
    fn a_pattern_meets_the_subscriptions_that_it_could_feed() {
        let meets = |p: &str, s: &str| ChannelPattern::parse(p).unwrap().meets(&name(s).unwrap());
        assert!(meets("/orders/{r}", "/orders/*"));
        assert!(meets("/orders/{r}", "/orders/eu"));
        assert!(meets("/orders/{r}", "/**"));
        assert!(!meets("/orders/{r}", "/orders/eu/x"));
        assert!(!meets("/orders/{r}", "/orders"));
        assert!(meets("/market/**", "/market/a/b"));
        assert!(meets("/market/**", "/market/a/*"));
        assert!(!meets("/market/**", "/markets/a"));
        assert!(!meets("/market/**", "/market"));
    }

    proptest! {
        #[test]
        fn reaching_names_are_just_those_that_reach(
            channel in "(/[ab]{1,2}){1,4}", other in "(/[ab]{1,2}){0,3}(/[ab]|/\\*|/\\*\\*)"
        ) {
            let channel = name(&channel).unwrap();
            let mut all = Vec::new();
            channel.for_each_reaching(|n| all.push(n.to_owned()));
            let other = name(&other).unwrap();
            prop_assert_eq!(all.iter().any(|n| n == other.as_str()), other.reaches(channel.as_str()));
        }
    }
}
