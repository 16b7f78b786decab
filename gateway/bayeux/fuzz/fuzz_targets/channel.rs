//! Any text as a channel, a subscription and a pattern, a line each.
//!
//! `cargo +nightly fuzz run channel` in `gateway/bayeux`. The tests of `bayeux` run the same property over the corpus, without
//! a nightly toolchain.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bayeux::channel::property::check(input));
