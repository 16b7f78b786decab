//! The fuzz target's property over its committed corpus, and over every cut and every flipped bit of it: fuzzing that
//! needs no special toolchain.

use super::property::check;
use std::path::Path;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/websocket_frame");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn the_property_holds_for_the_corpus_and_each_of_its_beginnings() {
    let corpus = corpus();
    assert!(corpus.len() >= 20, "the corpus has {} files", corpus.len());
    for input in corpus {
        for end in 0..=input.len() {
            check(&input[..end]);
        }
    }
}

#[test]
fn the_property_holds_for_the_corpus_with_any_one_bit_flipped() {
    for input in corpus() {
        for bit in 0..input.len() * 8 {
            let mut flipped = input.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            check(&flipped);
        }
    }
}

#[test]
fn the_property_holds_for_any_two_of_the_corpus_one_after_the_other() {
    let corpus = corpus();
    for first in &corpus {
        for second in &corpus {
            check(&[first.as_slice(), second.get(2..).unwrap_or_default()].concat());
        }
    }
}
