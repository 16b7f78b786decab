//! Mosquitto stands still under load and goes on: a subscriber that is not ours, connected throughout, received every
//! message that was acknowledged.

use gateway_tests::bayeux::{Client, Transport};
use gateway_tests::gateway::Gateway;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::mqtt::Witness;
use gateway_tests::outage::{Away, Load, account, outage};
use gateway_tests::story::aside;
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_is_paused_under_load_and_a_subscriber_gets_all_that_was_acknowledged() {
    let mqtt = aside(|| Broker::own(Kind::Mosquitto, &[]));
    let gateway = Gateway::start(&format!(
        "
connectors:
  sensors: {{ mqtt: {{ url: \"{}\" }} }}
mappings:
  - {{ channel: \"/sensors/{{id}}\", connector: sensors, topic: \"sensors/{{id}}\", direction: both }}
",
        mqtt.url()
    ));
    let mut subscribers = Vec::new();
    for transport in [Transport::WebSocket, Transport::LongPolling] {
        let subscriber = Client::connect(&gateway.url(), transport).await;
        subscriber.subscribe("/sensors/*").await;
        subscribers.push(subscriber);
    }
    let witness = aside(|| Witness::start(&mqtt, "sensors"));

    let load = Load::start(&gateway.url(), "/sensors/").await;
    let first_tick = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let from = Instant::now();
    aside(|| mqtt.pause());
    tokio::time::sleep(outage()).await;
    aside(|| mqtt.resume());
    let away = Away { from, to: Instant::now() };
    let backend: String = (0..200).map(|n| format!("\"after {n}\"\n")).collect();
    aside(|| mqtt.run_with_input(&["pub", "-q", "1", "-l", "-t", "sensors/backend"], backend.as_bytes()));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let last_tick = Instant::now();
    let publishes = load.finish().await;

    let received = aside(|| witness.until_quiet(Duration::from_secs(2)));
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (_, payload) in &received {
        *counts.entry(payload.as_str()).or_default() += 1;
    }
    let account = account(&publishes, &counts, away);
    account.print("mosquitto paused", away);
    account.assert_promises(first_tick, last_tick);
    assert_eq!(account.refused_but_stored, Vec::<String>::new(), "503 means surely not stored");

    // MQTT keeps no log: what our subscribers saw is compared with what the witness saw. A message may come again only
    // when it is marked so.
    for mut subscriber in subscribers {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for message in subscriber.until_quiet(Duration::from_secs(2)).await {
            if message.ext["redelivered"] != true {
                *seen.entry(message.text().to_owned()).or_default() += 1;
            } else {
                seen.entry(message.text().to_owned()).or_insert(1);
            }
        }
        for payload in counts.keys() {
            assert!(seen.contains_key(*payload), "{payload} reached the witness and not the browser");
        }
        for n in 0..200 {
            assert_eq!(seen.get(&format!("\"after {n}\"")), Some(&1), "the backend's {n}th, exactly once");
        }
        assert_eq!(subscriber.faults(), Vec::<String>::new(), "subscribers go on without a reconnect");
    }
}
