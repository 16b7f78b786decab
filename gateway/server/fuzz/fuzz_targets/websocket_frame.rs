//! Any bytes from a WebSocket client, read in any pieces.
//!
//! `cargo +nightly fuzz run websocket_frame` in `gateway/server`. The tests of `bayeux-server` run the same property over
//! the corpus, without a nightly toolchain.

#![no_main]

#[allow(dead_code)]
#[path = "../../src/websocket/frame.rs"]
mod frame;
#[path = "../../src/websocket/tests/property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::check(input));
