//! The policy and the authorizers: who may do what.
#![allow(clippy::unwrap_used)]

mod kit;

use bayeux::reply::{Advice, Reconnect, Refusal};
use bayeux_server::hooks::{Attempt, Eventually, Grant, Handshake, Operation, Policy, Verdict, authorizer};
use bayeux_server::{Identity, Server, ServerSettings};
use kit::Running;
use serde_json::json;

/// Knows names after asking somewhere; `/official/**` may be made and used by the chief only.
struct House;

impl House {
    fn chief<'a>(attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
        Eventually::later(async move {
            tokio::task::yield_now().await; // a database is asked
            let chief = attempt.session.identity().user.as_deref() == Some("chief");
            match attempt.channel.as_str().starts_with("/official/") && !chief {
                true => Err(attempt.denied()),
                false => Ok(()),
            }
        })
    }
}

impl Policy for House {
    fn handshake<'a>(&'a self, handshake: &'a Handshake<'a>) -> Eventually<'a, Result<Identity, Refusal>> {
        Eventually::later(async move {
            tokio::task::yield_now().await;
            match handshake.message.ext_string("name") {
                Some(name) => Ok(Identity { user: Some(name.into()), claims: None }),
                None => Err(Refusal::new("403::handshake_denied")
                    .with_advice(Advice::new(Reconnect::Handshake, 1_000))
                    .with_ext("challenge", r#"{"realm":"house"}"#)),
            }
        })
    }
    fn create<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
        House::chief(attempt)
    }
    fn publish<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
        House::chief(attempt)
    }
}

#[tokio::test]
async fn a_policy_admits_refuses_and_challenges() {
    let server = Server::builder(ServerSettings::default()).policy(House).build();
    let running = Running::start(&server);
    let refused = running.client_with(json!({})).await.err().unwrap();
    assert_eq!(refused["error"], "403::handshake_denied");
    assert_eq!(refused["advice"], json!({"reconnect": "handshake", "interval": 1000}));
    assert_eq!(refused["ext"], json!({"challenge": {"realm": "house"}}));

    let mut clerk = running.client_with(json!({"name": "clerk"})).await.unwrap();
    let error = |reply: serde_json::Value| reply["error"].as_str().unwrap().to_owned();
    // Nobody may make the channel but the chief; once it is there, a clerk may listen and not speak.
    assert_eq!(error(clerk.subscribe("/official/a").await), "403:denied_by_security_policy:create_denied");
    assert_eq!(
        error(clerk.publish("/official/a", json!(1)).await),
        "403:denied_by_security_policy:channel_create_denied"
    );
    let mut chief = running.client_with(json!({"name": "chief"})).await.unwrap();
    assert_eq!(chief.subscribe("/official/a").await["successful"], true);
    assert_eq!(clerk.subscribe("/official/a").await["successful"], true);
    assert_eq!(error(clerk.publish("/official/a", json!(1)).await), "403:denied_by_security_policy:publish_denied");
    chief.publish("/official/a", json!("hear")).await;
    assert_eq!(clerk.heard().await["data"], "hear");
}

#[tokio::test]
async fn the_policy_is_asked_for_local_sessions_too() {
    let server = Server::builder(ServerSettings::default()).policy(House).build();
    assert_eq!(server.local_session("nobody").await.unwrap_err().error, "403::handshake_denied");
    let mut hello = bayeux::message::Message::default();
    hello.set_ext("name", "clerk");
    let clerk = server.local_session_with("clerk", hello).await.unwrap();
    let refused = clerk.publish("/official/a", 1).await.unwrap_err();
    assert_eq!(refused.error, "403:denied_by_security_policy:channel_create_denied");
    assert!(clerk.publish("/other", 1).await.unwrap().successful());
}

#[tokio::test]
async fn any_deny_wins_none_grants_and_a_gate_needs_one_grant() {
    let server = Server::builder(ServerSettings::default()).build();
    let running = Running::start(&server);
    let mut client = running.client().await;
    let error = |reply: serde_json::Value| reply["error"].as_str().unwrap_or("none").to_owned();
    assert_eq!(error(client.publish("/free/x", json!(1)).await), "none", "where there is no authorizer all is granted");

    let gate = server.channel("/game/**").unwrap();
    let shut = gate.add_authorizer(Grant::none());
    assert_eq!(error(client.publish("/game/x", json!(1)).await), "403:denied_by_not_granting:channel_create_denied");
    assert_eq!(error(client.subscribe("/game/x").await), "403:denied_by_not_granting:create_denied");
    let listen = gate.add_authorizer(Grant::only(&[Operation::Create, Operation::Subscribe]));
    assert_eq!(error(client.subscribe("/game/x").await), "none");
    assert_eq!(error(client.publish("/game/x", json!(1)).await), "403:denied_by_not_granting:publish_denied");
    let exact = server.channel("/game/x").unwrap();
    let play = exact.add_authorizer(Grant::only(&[Operation::Publish]));
    assert_eq!(error(client.publish("/game/x", json!(1)).await), "none", "a grant below the gate is enough");
    let deny = server.channel("/**").unwrap().add_authorizer(authorizer(|attempt| match attempt.operation {
        Operation::Publish => Verdict::Deny("quiet_hours".into()),
        _ => Verdict::Ignore,
    }));
    assert_eq!(error(client.publish("/game/x", json!(1)).await), "403:quiet_hours:publish_denied");
    assert_eq!(error(client.publish("/free/x", json!(1)).await), "403:quiet_hours:publish_denied");
    assert_eq!(error(client.unsubscribe("/game/x").await), "none", "meta messages need no grant");

    assert!(server.channel("/**").unwrap().remove(deny));
    assert!(gate.remove(shut) && gate.remove(listen) && exact.remove(play));
    assert_eq!(error(client.publish("/game/x", json!(1)).await), "none");
}
