//! Lazy messages over real sockets: nobody is woken for them, and nobody waits for them for ever.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

mod kit;

use bayeux::channel::ChannelName;
use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux_server::{Server, ServerSettings};
use kit::{Client, Running};
use serde_json::json;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(3_600));

fn publish(server: &Server, data: &str, lazy: Option<Duration>) {
    let parts = DeliveryParts { data: data.as_bytes(), lazy, ..Default::default() };
    server.publish(&ChannelName::parse(&"/a".into()).unwrap(), Delivery::new("/a".into(), &parts));
}

async fn subscriber(server: &Server) -> (Running, Client) {
    let running = Running::start(server);
    let mut client = running.client().await;
    client.subscribe("/a").await;
    (running, client)
}

#[tokio::test]
async fn a_lazy_message_goes_out_with_the_next_that_is_not_and_before_it() {
    let server = Server::builder(ServerSettings::default()).build();
    let (_running, mut client) = subscriber(&server).await;
    publish(&server, "1", LONG);
    publish(&server, "2", None);
    assert_eq!((client.heard().await["data"].clone(), client.heard().await["data"].clone()), (json!(1), json!(2)));
}

#[tokio::test]
async fn a_lazy_message_goes_out_with_the_reply_to_whatever_its_receiver_sends() {
    let server = Server::builder(ServerSettings::default()).build();
    let (_running, mut client) = subscriber(&server).await;
    publish(&server, "1", LONG);
    client.publish("/elsewhere", json!(0)).await;
    assert_eq!(client.heard().await["data"], 1);
}

#[tokio::test]
async fn lazy_messages_go_out_by_themselves_when_their_time_is_over_again_and_again() {
    let server = Server::builder(ServerSettings::default()).build();
    let (_running, mut client) = subscriber(&server).await;
    for n in 0..3 {
        publish(&server, "\"patient\"", LONG);
        publish(&server, &n.to_string(), Some(Duration::from_millis(50)));
        assert_eq!(client.heard().await["data"], "patient", "in their order");
        assert_eq!(client.heard().await["data"], n);
    }
    publish(&server, "\"now\"", None);
    assert_eq!(client.heard().await["data"], "now");
    publish(&server, "4", Some(Duration::from_millis(50)));
    assert_eq!(client.heard().await["data"], 4, "after one that was not lazy, too");
}

#[tokio::test]
async fn the_servers_own_sessions_get_lazy_messages_too() {
    let server = Server::builder(ServerSettings::default()).build();
    let local = server.local_session("reader").await.unwrap();
    local.subscribe("/a").await.unwrap();
    publish(&server, "1", Some(Duration::from_millis(50)));
    assert_eq!(local.next().await.unwrap().message().data_as::<u32>().unwrap(), 1);
}
