//! More is published than a broker takes: whoever sends too much is told at once, and nobody else notices.

use gateway_tests::bayeux::{Client, answer};
use gateway_tests::gateway::Gateway;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::mqtt::Witness;
use gateway_tests::story::aside;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_for_a_session_or_a_broker_is_refused_at_once_and_the_rest_goes_on() {
    let mqtt = aside(|| Broker::own(Kind::Mosquitto, &[]));
    let gateway = Gateway::start(&format!(
        "
bayeux: {{ publish: {{ session_max_in_flight: 10, connector_max_in_flight: 15 }} }}
connectors:
  sensors: {{ mqtt: {{ url: \"{}\" }} }}
  here: {{ memory: {{}} }}
mappings:
  - {{ channel: \"/sensors/{{id}}\", connector: sensors, topic: \"sensors/{{id}}\", publish_timeout: 20s }}
  - {{ channel: \"/here/{{id}}\", connector: here, topic: \"here.{{id}}\" }}
",
        mqtt.url()
    ));
    let witness = aside(|| Witness::start(&mqtt, "sensors"));
    let one = Client::websocket(&gateway.url()).await;
    let two = Client::websocket(&gateway.url()).await;
    let mut bystander = Client::long_polling(&gateway.url()).await;
    bystander.subscribe("/here/*").await;
    assert!(answer(one.publish("/sensors/a", "\"before\"")).await.ok());

    aside(|| mqtt.pause());
    let publish = |client: &Client, count: usize, what: &str| -> Vec<_> {
        (0..count).map(|n| client.publish("/sensors/a", &format!("\"{what} {n}\""))).collect()
    };
    let mut first = publish(&one, 30, "one");
    // Those above the session's bound are answered while the broker stands still.
    for refused in first.split_off(10) {
        let reply = answer(refused).await;
        assert_eq!(reply.error(), "503:/sensors/a:overloaded", "{reply:?}");
        assert_eq!(reply.advice["reconnect"], "retry");
        assert!(reply.advice["interval"].as_u64().is_some_and(|interval| interval > 0), "{reply:?}");
    }
    // Another session fills what is left of the connector's.
    let mut second = publish(&two, 10, "two");
    for refused in second.split_off(5) {
        assert_eq!(answer(refused).await.error(), "503:/sensors/a:overloaded");
    }
    // What goes elsewhere goes on.
    assert!(answer(two.publish("/here/a", "1")).await.ok());
    assert_eq!(bystander.next().await.text(), "1");

    aside(|| mqtt.resume());
    for taken in first.into_iter().chain(second) {
        let reply = answer(taken).await;
        assert!(reply.ok(), "{reply:?}");
    }
    for taken in publish(&one, 5, "after") {
        assert!(answer(taken).await.ok());
    }
    let received: Vec<String> =
        aside(|| witness.until_quiet(Duration::from_secs(1))).into_iter().map(|(_, payload)| payload).collect();
    let expected: Vec<String> = ["before".to_owned()]
        .into_iter()
        .chain((0..10).map(|n| format!("one {n}")))
        .chain((0..5).map(|n| format!("two {n}")))
        .chain((0..5).map(|n| format!("after {n}")))
        .map(|text| format!("\"{text}\""))
        .collect();
    assert_eq!(received, expected, "what was refused is not stored, and what was taken is, once");
}
