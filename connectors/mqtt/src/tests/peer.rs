//! What brokers may do and Mosquitto cannot be made to do at a wanted moment, done by hand over a socket.

use crate::connector::MqttFactory;
use crate::subscribe::QOS0_ROOM;
use bytes::Bytes;
use connector::{Connector, ConnectorKind, Context, Event, Outbound, Start, State, TopicFilter};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;

/// The broker's side of one connection.
struct Peer(TcpStream);

impl Peer {
    /// Takes a connection and grants it, with these properties in the CONNACK.
    async fn accept(listener: &TcpListener, properties: &[u8]) -> Peer {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer(stream);
        assert_eq!(peer.packet().await.0 >> 4, 1, "CONNECT comes first");
        let length = u8::try_from(properties.len()).unwrap();
        let mut connack = vec![0x20, 3 + length, 0, 0, length];
        connack.extend_from_slice(properties);
        peer.send(&connack).await;
        peer
    }

    /// First byte and body of the next packet.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let first = self.0.read_u8().await.unwrap();
            let (mut length, mut shift) = (0_usize, 0);
            loop {
                let byte = self.0.read_u8().await.unwrap();
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.unwrap();
            (first, body)
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a packet comes")
    }

    /// The next packet of a type; pings on the way are answered, nothing else may come.
    async fn next(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let (first, body) = self.packet().await;
            if first >> 4 == kind {
                return body;
            }
            assert_eq!(first, 0xc0, "waited for a packet of type {kind}");
            self.send(&[0xd0, 0]).await;
        }
    }

    /// A message at QoS 1 with its packet id as payload.
    async fn message(&mut self, to: u8, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.send(&[0x32, 10, 0, 1, b's', high, low, 2, 0x0b, to, high, low]).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Grants the next SUBSCRIBE: its subscription identifier, below 128.
    async fn grant(&mut self) -> u8 {
        let body = self.next(SUBSCRIBE).await;
        self.send(&[0x90, 4, body[0], body[1], 0, 1]).await;
        assert_eq!(body[2..4], [2, 0x0b]);
        body[4]
    }
}

/// The packet id of a PUBLISH at QoS 1 to the topic `t`.
fn publish_id(body: &[u8]) -> [u8; 2] {
    assert_eq!(body[..3], [0, 1, b't']);
    [body[3], body[4]]
}

async fn connector(receive_maximum: u16) -> (TcpListener, Arc<dyn Connector>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let settings = json!({ "url": url, "receive_maximum": receive_maximum });
    let plan = ConnectorKind::of::<MqttFactory>().plan(settings).unwrap_or_else(|e| panic!("{e}"));
    let connector = plan.connect(Context { name: "sensors".into(), node: "node".into() });
    (listener, connector.unwrap_or_else(|e| panic!("{e}")))
}

fn record(payload: &'static str) -> Outbound {
    Outbound {
        topic: "t".into(),
        key: None,
        partition: None,
        payload: Some(Bytes::from_static(payload.as_bytes())),
        headers: Vec::new(),
        deadline: Instant::now() + PATIENCE,
    }
}

async fn received(records: &mut mpsc::Receiver<Event>) -> Bytes {
    let record = tokio::time::timeout(PATIENCE, records.recv()).await.expect("a message comes");
    let Some(Event::Record(record)) = record else { panic!("{record:?} is no record") };
    record.payload.expect("it has a payload")
}

#[tokio::test]
async fn what_a_broker_said_right_before_it_hung_up_counts() {
    let (listener, connector) = connector(20).await;
    let (sink, mut records) = mpsc::channel(10);
    let _subscription = connector.subscribe(TopicFilter::exact("s", &crate::SYNTAX), Start::Live, sink).unwrap();
    let answers: Vec<_> = ["one", "two"].map(|payload| tokio::spawn(connector.publish(record(payload)))).into();
    let mut peer = Peer::accept(&listener, &[]).await;
    let to = peer.grant().await;
    let (one, two) = (publish_id(&peer.next(PUBLISH).await), publish_id(&peer.next(PUBLISH).await));
    // In one breath: both acknowledged, a message at QoS 0, and DISCONNECT, shutting down.
    let mut last = vec![0x40, 2, one[0], one[1], 0x40, 2, two[0], two[1]];
    last.extend_from_slice(&[0x30, 7, 0, 1, b's', 2, 0x0b, to, b'x', 0xe0, 2, 0x8b, 0]);
    peer.send(&last).await;
    for answer in answers {
        assert_eq!(tokio::time::timeout(PATIENCE, answer).await.expect("it is answered").unwrap(), Ok(None));
    }
    assert_eq!(received(&mut records).await, "x");
    // The next connection carries only what is new.
    let mut peer = Peer::accept(&listener, &[]).await;
    peer.grant().await;
    let answer = tokio::spawn(connector.publish(record("three")));
    let body = peer.next(PUBLISH).await;
    assert!(body.ends_with(b"three"), "{body:?}");
    let id = publish_id(&body);
    peer.send(&[0x40, 2, id[0], id[1]]).await;
    assert_eq!(answer.await.unwrap(), Ok(None));
}

#[tokio::test]
async fn with_a_broker_that_takes_one_publish_at_a_time_that_one_does_not_hold_acknowledgements_back() {
    let (listener, connector) = connector(20).await;
    let (sink, mut records) = mpsc::channel(10);
    let _subscription = connector.subscribe(TopicFilter::exact("s", &crate::SYNTAX), Start::Live, sink).unwrap();
    let mut peer = Peer::accept(&listener, &[0x21, 0, 1]).await;
    let to = peer.grant().await;
    let one = tokio::spawn(connector.publish(record("one")));
    let two = tokio::spawn(connector.publish(record("two")));
    let first = publish_id(&peer.next(PUBLISH).await);
    // It keeps us waiting for its answer, as one does that asks its own disk or peers first, and sends meanwhile.
    for n in 1..=3 {
        peer.send(&[0x32, 9, 0, 1, b's', 0, n, 2, 0x0b, to, b'x']).await;
        assert_eq!(received(&mut records).await, "x");
        assert_eq!(peer.next(PUBACK).await[..2], [0, n]);
    }
    peer.send(&[0x40, 2, first[0], first[1]]).await;
    let second = publish_id(&peer.next(PUBLISH).await);
    peer.send(&[0x40, 2, second[0], second[1]]).await;
    assert_eq!(one.await.unwrap(), Ok(None));
    assert_eq!(two.await.unwrap(), Ok(None));
}

#[tokio::test]
async fn a_reader_that_stands_still_under_a_broker_that_sends_too_much_is_reported_and_publishes_go_on() {
    let (listener, connector) = connector(1).await;
    let (sink, mut records) = mpsc::channel(1);
    let _subscription = connector.subscribe(TopicFilter::exact("s", &crate::SYNTAX), Start::Live, sink).unwrap();
    let mut peer = Peer::accept(&listener, &[]).await;
    let to = peer.grant().await;
    let mut health = connector.health();
    // One in the sink, one in hand, the rest in the queue, and two too many.
    let many = u16::try_from(QOS0_ROOM + 2 + 2 + 2).unwrap();
    for id in 1..=many {
        peer.message(to, id).await;
    }
    assert_eq!(peer.next(PUBACK).await[..2], [0, 1], "the sink has one");
    let publish = tokio::spawn(connector.publish(record("one")));
    let id = publish_id(&peer.next(PUBLISH).await);
    peer.send(&[0x40, 2, id[0], id[1]]).await;
    assert_eq!(publish.await.unwrap(), Ok(None));
    let said = tokio::select! {
        said = health.wait_for(|health| health.state == State::Degraded) => said.unwrap().clone(),
        _ = peer.next(PUBLISH) => panic!("nothing more is published"),
    };
    assert!(said.reason.contains("a reader of s takes no messages"), "{said:?}");
    // Far too many: now the broker must wait.
    for id in many + 1..=many + 20 {
        peer.message(to, id).await;
    }
    tokio::select! {
        said = health.wait_for(|health| health.reason.contains("nothing more is read")) => drop(said.unwrap()),
        _ = peer.next(PUBLISH) => panic!("nothing more is published"),
    }
    // It wakes up, gets all in order, and all is acknowledged.
    let acknowledged = tokio::spawn(async move {
        for id in 2..=many + 20 {
            assert_eq!(peer.next(PUBACK).await[..2], id.to_be_bytes());
        }
        peer
    });
    for id in 1..=many + 20 {
        assert_eq!(received(&mut records).await, id.to_be_bytes()[..], "lost or overtaken");
    }
    let mut peer = acknowledged.await.unwrap();
    tokio::select! {
        said = health.wait_for(|health| health.state == State::Up) => drop(said.unwrap()),
        _ = peer.next(PUBLISH) => panic!("nothing more is published"),
    }
}
