//! What holds for any text that is taken for a channel or a pattern. Run over the corpus by the tests, and over anything
//! by the fuzz target `channel`.

use super::{ChannelError, ChannelName, ChannelPattern, Segment};
use bytestring::ByteString;

/// Up to this length everything is compared with everything; above it only what takes linear time is done.
const SHORT: usize = 1_000;

/// Panics when it does not hold. The input's first line is a channel, its second a subscription, its third a pattern.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (channel, subscription) = (name(line()), name(line()));
    let pattern = ChannelPattern::parse(line()).ok();
    pattern.iter().for_each(readable);
    let Some(channel) = channel.filter(|channel| !channel.is_wild()) else { return };
    let reaching = reaching(&channel);
    if let Some(subscription) = subscription.as_ref().filter(|_| channel.as_str().len() <= SHORT) {
        let listed = reaching.iter().any(|name| name == subscription.as_str());
        assert_eq!(subscription.reaches(channel.as_str()), listed, "{subscription} and {channel}");
    }
    if let Some(pattern) = &pattern {
        binds(pattern, &channel, subscription.as_ref());
    }
}

/// A name is what it is parsed from, but for one slash behind it (and spaces around both), and parses to itself.
fn name(text: &str) -> Option<ChannelName> {
    let name = ChannelName::parse(&ByteString::from(text)).ok()?;
    let rest = text.strip_prefix(name.as_str()).expect("a beginning of what was parsed");
    assert!(["", "/"].contains(&rest.trim_end_matches(' ')), "{rest:?}");
    // `/a /` is the channel `/a `, as in CometD, which cannot be written without its slash.
    assert_eq!(exact(name.as_str()), Ok(name.clone()));
    if !name.as_str().ends_with(' ') {
        assert_eq!(ChannelName::parse(name.as_bytestring()), Ok(name.clone()));
    }
    assert!(name.segments().all(|segment| !segment.is_empty()));
    let wild = name.segments().filter(|segment| ["*", "**"].contains(segment)).count();
    assert_eq!(wild, usize::from(name.is_wild()), "a wildcard is the last segment only");
    Some(name)
}

fn exact(name: &str) -> Result<ChannelName, ChannelError> {
    ChannelName::parse(&format!("{name}/").into())
}

/// The names that reach it: one for each segment and two more, no two the same, and each does reach it. Only the last
/// three for a long one, as all of them together are longer than long.
fn reaching(channel: &ChannelName) -> Vec<String> {
    let (mut names, mut count) = (Vec::new(), 0);
    let all = channel.segments().count() + 2;
    channel.for_each_reaching(|name| {
        count += 1;
        if channel.as_str().len() <= SHORT || count + 3 > all {
            names.push(name.to_owned());
        }
    });
    assert_eq!(count, all);
    for (at, name) in names.iter().enumerate() {
        assert!(!names[..at].contains(name), "{name} twice");
        let name = exact(name).expect("a channel");
        assert!(name.reaches(channel.as_str()), "{name} and {channel}");
    }
    assert_eq!(names.last().map(String::as_str), Some(channel.as_str()));
    names
}

/// A pattern, written from its segments, is read again as the same; its names are distinct.
fn readable(pattern: &ChannelPattern) {
    let (mut text, mut channel) = (String::new(), String::new());
    for segment in pattern.segments() {
        let (written, bound) = match segment {
            Segment::Literal(literal) => (literal.clone(), literal.as_str()),
            Segment::Name(name) => (format!("{{{name}}}"), "x"),
            Segment::Any => ("*".to_owned(), "x"),
            Segment::Rest => ("**".to_owned(), "x/x"),
        };
        text.extend(["/", &written]);
        channel.extend(["/", bound]);
    }
    assert!(pattern.as_str().starts_with(&text));
    let again = ChannelPattern::parse(&format!("{text}/")).expect("a pattern");
    assert_eq!(again.segments(), pattern.segments());
    let mut names: Vec<_> = pattern.names().collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(pattern.matches(&channel), "{text} and {channel}, made from it");
}

/// What a pattern binds, put in its place, gives the channel again; and it meets just the subscriptions it may.
fn binds(pattern: &ChannelPattern, channel: &ChannelName, subscription: Option<&ChannelName>) {
    assert_eq!(pattern.matches(channel.as_str()), pattern.meets(channel));
    let Some(captures) = pattern.captures(channel.as_str()) else { return };
    let (mut text, mut names) = (String::new(), captures.names.iter());
    for segment in pattern.segments() {
        text.push('/');
        text.push_str(match segment {
            Segment::Literal(literal) => literal,
            Segment::Name(_) => names.next().expect("a value for each name"),
            Segment::Any | Segment::Rest => captures.rest.expect("what the wildcard stood for"),
        });
    }
    assert_eq!((text.as_str(), names.next()), (channel.as_str(), None));
    if let Some(subscription) = subscription.filter(|subscription| subscription.reaches(channel.as_str())) {
        assert!(pattern.meets(subscription), "{} and {subscription} have {channel} in common", pattern.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use proptest::prelude::*;

    /// Fuzzing that needs no special toolchain: the fuzz target's property over its corpus, each of its beginnings, and
    /// each with one byte changed.
    #[test]
    fn the_property_holds_for_the_corpus_and_what_is_near_it() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/channel");
        let files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
        assert!(files.len() >= 12, "the corpus has {} files", files.len());
        for input in files {
            for end in 0..=input.len() {
                check(&input[..end]);
            }
            for at in 0..input.len() {
                for with in [b'/', b'*', b'{', b'}', b' ', b'\n', b'a', 0xFF] {
                    let mut changed = input.clone();
                    changed[at] = with;
                    check(&changed);
                }
            }
        }
    }

    /// As long as a client may make one: with work that grows by the square this would take minutes.
    #[test]
    fn long_channels_and_patterns_are_dealt_with() {
        for (channel, pattern) in
            [("/a", "/a"), ("/a", "/*"), ("/", "/"), ("/**", "/**"), ("/a /", "/{a}"), ("/ ", "/ ")]
        {
            let lines = [channel.repeat(100_000), "/a/**".to_owned(), pattern.repeat(100_000)];
            check(lines.join("\n").as_bytes());
        }
        let names: String = (0..5_000).map(|n| format!("/{{n{n}}}")).collect();
        check(format!("{}\n/**\n{names}", "/a".repeat(5_000)).as_bytes());
    }

    proptest! {
        #[test]
        fn any_three_lines_keep_the_property(text in "(/([ab]{1,2}|[* {}]|\\*\\*|\\{[ab]\\}|.)|\n/){0,12}") {
            check(text.as_bytes());
        }

        #[test]
        fn lines_that_have_much_in_common_keep_the_property(
            channel in "(/[ab ]{1,2}){1,4}/?",
            subscription in "(/[ab ]){0,3}(/[ab]|/\\*|/\\*\\*) ?",
            pattern in "(/[ab ]|/\\{x\\}){0,2}(/\\{y\\}){0,1}(/[ab ]|/\\*|/\\*\\*)"
        ) {
            check([channel, subscription, pattern].join("\n").as_bytes());
        }

        #[test]
        fn any_text_keeps_the_property(text in "[^\n]{0,30}\n?[^\n]{0,30}\n?[^\n]{0,30}") {
            check(text.as_bytes());
        }
    }
}
