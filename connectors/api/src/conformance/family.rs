//! Names: what a value becomes in a topic, and which topics a family filter gets.

use super::Fixture;
use super::kit::{Kit, numbered, record};
use crate::{FilterToken, Start};
use std::collections::BTreeSet;

const ODD: &[&str] = &[
    "a", "A-z_0", "a b", "a.b", ".", "..", "a/b", "*", "**", ">", "+", "#", "$SYS", "a$", "%", "%41", "%4", "%zz",
    "_x41", "_x4", "__x", "~7E", "{x}", "grüße", "☃", "🦀", "\u{1}", "\u{7f}", "a\nb", " a ", "\"", "\\", "_", "-",
    "?", "&",
];

/// The law of [`crate::TopicSyntax`] for values that are known to be troublesome.
///
/// # Panics
/// When a value is not read back as it was, or two values share a token.
pub async fn the_syntax_writes_each_value_as_one_token(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "syntax").await;
    let mut tokens = BTreeSet::new();
    for value in ODD {
        let mut token = String::new();
        kit.syntax.encode(value, true, None, &mut token);
        assert_eq!(kit.syntax.tokens(&token).count(), 1, "{value:?} became more than one token: {token:?}");
        assert_eq!(kit.syntax.decode(&token).as_deref(), Some(*value), "{value:?} is not read back from {token:?}");
        for (wildcard, _) in kit.syntax.wildcards {
            assert!(!token.contains(wildcard), "{value:?} became {token:?}, which holds the wildcard {wildcard}");
        }
        let topic = kit.name(&[&token]);
        assert_eq!((kit.syntax.check)(&topic), Ok(()), "{value:?} became a topic that is not valid: {topic:?}");
        assert!(tokens.insert(token.clone()), "another value became {token:?} too, besides {value:?}");
    }
    kit.end().await;
}

/// The broker takes a topic made of such values, and gives its name back as it was.
///
/// # Panics
/// When it does not.
pub async fn a_value_of_odd_characters_makes_one_topic(fixture: &impl Fixture) {
    const VALUE: &str = "$a b.c*d>e%41f_x41g+h#i/jäk{l}~7E☃";
    let kit = Kit::begin(fixture, "odd").await;
    let mut token = String::new();
    kit.syntax.encode(VALUE, true, None, &mut token);
    let topic = kit.topic(fixture, &[&token], 1).await;
    let family = kit.family(vec![FilterToken::Wild { prefix: String::new(), suffix: String::new() }], false);
    let mut reader = kit.read(family, Start::Live).await;
    kit.store(record(&topic, "1")).await;
    let got = reader.next("a record of a topic with escapes arrives").await;
    assert_eq!(got.topic, topic, "the topic's name was changed");
    let last = kit.syntax.tokens(&got.topic).next_back().unwrap_or_default();
    assert_eq!(kit.syntax.decode(last).as_deref(), Some(VALUE));
    kit.end().await;
}

/// A wild token stands for one token, with its literal beginning and end, and for nothing else.
///
/// # Panics
/// When a topic is missed, or one that does not fit is given.
pub async fn a_family_gets_each_topic_that_fits(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "family").await;
    let fits = [kit.topic(fixture, &["shop-eu"], 1).await, kit.topic(fixture, &["shop-us"], 1).await];
    let others = [kit.topic(fixture, &["bank-eu"], 1).await, kit.topic(fixture, &["shop-eu", "x"], 1).await];
    let family = kit.family(vec![FilterToken::Wild { prefix: "shop-".into(), suffix: String::new() }], false);
    let mut reader = kit.read(family, Start::Live).await;
    for n in 0..10 {
        for topic in others.iter().chain(&fits) {
            kit.store(numbered(topic, n)).await;
        }
    }
    let mut got = Vec::new();
    while got.len() < 20 {
        let record = reader.next("each record of a family arrives").await;
        assert!(fits.iter().any(|t| record.topic == *t), "{} does not belong to the family", record.topic);
        got.push((record.topic.to_string(), super::kit::number_of(&record)));
    }
    for topic in &fits {
        let numbers: Vec<_> = got.iter().filter(|(t, _)| t == topic).map(|(_, n)| *n).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "{topic} did not arrive in order, once each");
    }
    kit.end().await;
}

/// A topic that is made while the family is being read is read from its beginning.
///
/// # Panics
/// When a record of it is missed.
pub async fn a_family_gets_topics_that_appear_later(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "later").await;
    if fixture.topics_appear() {
        let first = kit.topic(fixture, &["a"], 1).await;
        let family = kit.family(vec![FilterToken::Wild { prefix: String::new(), suffix: String::new() }], false);
        let mut reader = kit.read(family, Start::Live).await;
        kit.store_numbered(&first, 0..5).await;
        assert_eq!(reader.numbers(5, "a topic that was there arrives").await, [0, 1, 2, 3, 4]);
        let later = kit.topic(fixture, &["b"], 1).await;
        kit.store_numbered(&later, 5..15).await;
        let numbers = reader.numbers(10, "a topic that was made later arrives from its beginning").await;
        assert_eq!(numbers, (5..15).collect::<Vec<_>>());
    }
    kit.end().await;
}

/// `**` stands for one or more further tokens.
///
/// # Panics
/// When a topic below is missed, or the parent is given.
pub async fn a_rest_filter_gets_all_that_is_below(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "rest").await;
    if kit.can.rest_topics {
        assert!(kit.syntax.rest, "rest topics are declared, yet the syntax has none");
        let parent = kit.topic(fixture, &[], 1).await;
        let below = [kit.topic(fixture, &["a"], 1).await, kit.topic(fixture, &["a", "b", "c"], 1).await];
        let mut reader = kit.read(kit.family(Vec::new(), true), Start::Live).await;
        for n in 0..10 {
            kit.store(numbered(&parent, n)).await;
            for topic in &below {
                kit.store(numbered(topic, n)).await;
            }
        }
        for n in 0..20 {
            let record = reader.next(&format!("each record below arrives ({n} did)")).await;
            assert!(below.iter().any(|t| record.topic == *t), "{} is not below {parent}", record.topic);
        }
    }
    kit.end().await;
}
