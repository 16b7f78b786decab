//! Any bytes as an envelope.
//!
//! `cargo +nightly fuzz run envelope` in `gateway/bayeux`. The tests of `bayeux` run the same property over the corpus, without
//! a nightly toolchain.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bayeux::message::property::check(input));
