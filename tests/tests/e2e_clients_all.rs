//! Every client that people use, unchanged, behind a proxy that splits, delays and cuts its connections: the same stories
//! for all. What was found is in the table "Clients" of docs/protocol.md.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

mod e2e_clients_stories;

use e2e_clients_stories::actor::Library;
use e2e_clients_stories::{all, page_comes_again};

#[tokio::test(flavor = "multi_thread")]
async fn cometd_7_lives_through_a_bad_websocket() {
    all(Library::Cometd(7), "websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometd_7_lives_through_bad_long_polling() {
    all(Library::Cometd(7), "long-polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometd_8_lives_through_a_bad_websocket() {
    all(Library::Cometd(8), "websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometd_8_lives_through_bad_long_polling() {
    all(Library::Cometd(8), "long-polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometd_9_lives_through_a_bad_websocket() {
    all(Library::Cometd(9), "websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometd_9_lives_through_bad_long_polling() {
    all(Library::Cometd(9), "long-polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faye_lives_through_a_bad_websocket() {
    all(Library::Faye, "websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faye_lives_through_bad_long_polling() {
    all(Library::Faye, "long-polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aiocometd_lives_through_a_bad_websocket() {
    all(Library::Python, "websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aiocometd_lives_through_bad_long_polling() {
    all(Library::Python, "long-polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometds_java_client_lives_through_a_bad_websocket() {
    all(Library::Java, "websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometds_java_client_lives_through_bad_long_polling() {
    all(Library::Java, "long-polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometd_in_chromium_lives_through_a_bad_websocket() {
    all(Library::Chromium, "websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometd_in_chromium_lives_through_bad_long_polling() {
    all(Library::Chromium, "long-polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cometd_in_chromium_lives_through_bad_callback_polling() {
    all(Library::Chromium, "callback-polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_over_a_websocket_keeps_its_session_when_it_is_loaded_again() {
    page_comes_again("websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_over_long_polling_keeps_its_session_when_it_is_loaded_again() {
    page_comes_again("long-polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_over_callback_polling_keeps_its_session_when_it_is_loaded_again() {
    page_comes_again("callback-polling").await;
}
