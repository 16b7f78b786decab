//! The fuzz targets' properties over their committed corpora, and what is near it: fuzzing that needs no special
//! toolchain.

use super::callback_property::{form, query};
use std::path::Path;

/// Each file, each of its beginnings, and each with one byte changed.
fn check(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
    assert!(files.len() >= 10, "the corpus has {} files", files.len());
    for input in files {
        for end in 0..=input.len() {
            property(&input[..end]);
        }
        for at in 0..input.len() {
            for with in [b'%', b'&', b'=', b'+', b'"', 0xFF] {
                let mut changed = input.clone();
                changed[at] = with;
                property(&changed);
            }
        }
    }
}

#[test]
fn the_property_of_queries_holds_for_the_corpus_and_what_is_near_it() {
    check("callback_query", query);
}

#[test]
fn the_property_of_forms_holds_for_the_corpus_and_what_is_near_it() {
    check("form_body", form);
}
