//! Questions about channel patterns: does one take all that another takes, could both take one channel, and why does a
//! channel not fit.

use bayeux::channel::{ChannelPattern, Segment};

/// Whether `wide` takes every channel that `narrow` takes.
pub(super) fn covers(wide: &ChannelPattern, narrow: &ChannelPattern) -> bool {
    let mut narrow = narrow.segments().iter();
    for segment in wide.segments() {
        match (segment, narrow.next()) {
            (Segment::Rest, Some(_)) => return true,
            (Segment::Literal(a), Some(Segment::Literal(b))) if a == b => {}
            (Segment::Name(_) | Segment::Any, Some(Segment::Literal(_) | Segment::Name(_) | Segment::Any)) => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

/// Whether some channel is taken by both.
pub(super) fn intersects(a: &ChannelPattern, b: &ChannelPattern) -> bool {
    let (mut a, mut b) = (a.segments().iter(), b.segments().iter());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some(Segment::Rest), _) | (_, Some(Segment::Rest)) => return true,
            (Some(Segment::Literal(x)), Some(Segment::Literal(y))) if x != y => return false,
            _ => {}
        }
    }
}

/// Why a concrete channel does not fit, for a person to read; `None` when it does.
pub(super) fn mismatch(pattern: &ChannelPattern, channel: &str) -> Option<String> {
    let wanted = pattern.segments();
    let given: Vec<&str> = channel.strip_prefix('/').unwrap_or(channel).split('/').collect();
    for (i, (wanted, given)) in wanted.iter().zip(&given).enumerate() {
        match wanted {
            Segment::Rest => return None,
            Segment::Literal(literal) if literal != given => {
                return Some(format!("segment {} is `{given}`, the pattern has `{literal}`", i + 1));
            }
            _ => {}
        }
    }
    let least = wanted.len();
    (least != given.len()).then(|| {
        let more = if pattern.has_rest() { " or more" } else { "" };
        format!("it has {} segment(s), the pattern {least}{more}", given.len())
    })
}

/// The channel that these segments make, one for each name of the pattern in order, and what stands for `**`.
/// `None` when a value is missing.
pub(super) fn assemble<'v>(
    pattern: &ChannelPattern,
    mut name: impl FnMut(usize) -> Option<&'v str>,
    rest: Option<&str>,
) -> Option<String> {
    let mut channel = String::with_capacity(64);
    let mut names = 0;
    for segment in pattern.segments() {
        channel.push('/');
        match segment {
            Segment::Literal(literal) => channel.push_str(literal),
            Segment::Name(_) => {
                channel.push_str(name(names)?);
                names += 1;
            }
            Segment::Any | Segment::Rest => channel.push_str(rest?),
        }
    }
    Some(channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ChannelPattern {
        ChannelPattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_covers_another_when_it_takes_all_of_it() {
        for (wide, narrow, expected) in [
            ("/a/{x}", "/a/b", true),
            ("/a/b", "/a/{x}", false),
            ("/a/**", "/a/{x}/c", true),
            ("/a/**", "/a/**", true),
            ("/a/{x}", "/a/**", false),
            ("/a/**", "/a", false),
            ("/{x}/**", "/a/b/**", true),
            ("/a/b/**", "/{x}/**", false),
        ] {
            assert_eq!(covers(&pattern(wide), &pattern(narrow)), expected, "{wide} over {narrow}");
        }
    }

    #[test]
    fn patterns_meet_when_one_channel_fits_both() {
        for (a, b, expected) in [
            ("/a/{x}", "/{y}/b", true),
            ("/a/{x}", "/b/{x}", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/a", "/a/{x}", false),
        ] {
            assert_eq!(intersects(&pattern(a), &pattern(b)), expected, "{a} and {b}");
            assert_eq!(intersects(&pattern(b), &pattern(a)), expected, "{b} and {a}");
        }
    }

    #[test]
    fn a_person_is_told_why_a_channel_does_not_fit() {
        let why = |p: &str, c: &str| mismatch(&pattern(p), c);
        assert_eq!(why("/a/{x}", "/a/1"), None);
        assert_eq!(why("/a/{x}", "/b/1").unwrap(), "segment 1 is `b`, the pattern has `a`");
        assert_eq!(why("/a/{x}", "/a/1/2").unwrap(), "it has 3 segment(s), the pattern 2");
        assert_eq!(why("/a/**", "/a").unwrap(), "it has 1 segment(s), the pattern 2 or more");
    }
}
