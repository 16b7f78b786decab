//! Any compressed message from a WebSocket client.
//!
//! `cargo +nightly fuzz run websocket_deflate` in `gateway/server`. The tests of `bayeux-server` run the same property over
//! the corpus, without a nightly toolchain.

#![no_main]

#[allow(dead_code)]
#[path = "../../src/websocket/deflate.rs"]
mod deflate;
#[allow(dead_code)]
#[path = "../../src/websocket/tests/deflate_property.rs"]
mod deflate_property;
#[allow(dead_code)]
#[path = "../../src/websocket/frame.rs"]
mod frame;

libfuzzer_sys::fuzz_target!(|input: &[u8]| deflate_property::check(input));
