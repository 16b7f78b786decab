//! Any query of a callback-polling client.
//!
//! `cargo +nightly fuzz run callback_query` in `gateway/server`. The tests of `bayeux-server` run the same property over the corpus,
//! without a nightly toolchain.

#![no_main]

#[allow(dead_code)]
#[path = "../../src/http/callback.rs"]
mod callback;
#[allow(dead_code)]
#[path = "../../src/http/tests/callback_property.rs"]
mod callback_property;
#[allow(dead_code)]
#[path = "../../src/settings/http.rs"]
mod settings;

libfuzzer_sys::fuzz_target!(|input: &[u8]| callback_property::query(input));
