//! The example program, as a client finds it.
#![allow(clippy::unwrap_used)]

#[path = "../examples/embedded.rs"]
#[allow(dead_code)] // its `main`
mod embedded;
mod kit;

use kit::Running;
use serde_json::json;

#[tokio::test]
async fn the_example_does_what_it_says() {
    let server = embedded::build().unwrap();
    tokio::spawn(embedded::bot(server.clone()));
    let running = Running::start(&server);
    let refused = running.client_with(json!({})).await.err().unwrap();
    assert_eq!((&refused["error"], &refused["ext"]["hint"]), (&json!("403::handshake_denied"), &json!("say ext.name")));

    let mut ann = running.client_with(json!({"name": "ann"})).await.unwrap();
    let mut quiet = running.client_with(json!({"name": "quiet"})).await.unwrap();
    for client in [&mut ann, &mut quiet] {
        assert_eq!(client.subscribe("/chat/a").await["successful"], true);
        assert_eq!(client.subscribe("/announce").await["successful"], true);
    }
    // Filters, the server's extension, and the session's.
    let reply = ann.publish("/chat/a", json!({"text": "DARN <b>it</b>"})).await;
    assert!(reply["successful"] == true && reply["timestamp"].is_string(), "{reply}");
    let heard = ann.heard().await;
    assert_eq!((&heard["data"]["text"], &heard["ext"]["from"]), (&json!("**** &lt;b&gt;it&lt;/b&gt;"), &json!("ann")));
    ann.publish("/chat/a", json!({"text": "LOUD"})).await;
    assert_eq!(ann.heard().await["data"]["text"], "LOUD");
    assert_eq!(quiet.heard().await["data"]["text"], "**** &lt;b&gt;it&lt;/b&gt;");
    assert_eq!(quiet.heard().await["data"]["text"], "loud");
    assert_eq!(ann.publish("/chat/a", json!({"text": "buy this"})).await["error"], "404::message_deleted");
    assert_eq!(
        ann.publish("/chat/a/b", json!({"text": ""})).await["error"],
        "403:no_rooms_in_rooms:channel_create_denied"
    );

    // The bot, and the service.
    let id = ann.say(json!({"channel":"/service/who","data":"/chat/a"})).await;
    ann.reply(&id).await;
    let answer = ann.heard().await;
    assert_eq!((&answer["id"], &answer["data"]), (&json!(id), &json!(["ann", "quiet"])));
    ann.publish("/chat/a", json!({"text": "hello bot"})).await;
    assert_eq!(ann.heard().await["data"]["text"], "hello bot");
    let greeting = ann.heard().await;
    assert_eq!((&greeting["data"]["text"], &greeting["ext"]["from"]), (&json!("hello yourself"), &json!("server")));

    // Authorizers.
    assert_eq!(ann.subscribe("/admin/x").await["error"], "403:denied_by_not_granting:create_denied");
    let mut root = running.client_with(json!({"name": "root"})).await.unwrap();
    assert_eq!(root.subscribe("/admin/x").await["successful"], true);
    let error = "403:the_servers_own:publish_denied";
    assert_eq!(ann.publish("/announce", json!({"text": "me"})).await["error"], error);

    // What the server says by itself.
    assert_eq!(embedded::announce(&server, "tea").await.unwrap(), 2);
    assert_eq!(root.heard().await["data"]["text"], "an announcement follows: tea");
    assert_eq!(ann.heard().await["channel"], "/note");
    assert_eq!(ann.heard().await["data"]["text"], "tea");
}
