//! The rows: each starts what it needs, measures, and says what the target is.

mod brokers;
mod fanout;
mod idle;
mod life;
mod special;

use crate::Bench;
use bench::Result;

/// Name, what it is, how it is measured.
type Row = (&'static str, &'static str, fn(&mut Bench, &str) -> Result<()>);

/// All of them, in the table's order.
pub const ROWS: &[Row] = &[
    (
        "fanout-1000",
        "WebSocket, one channel, 1000 subscribers, 1 and 8 messages of 100 bytes in flight",
        fanout::thousand,
    ),
    ("fanout-100", "the same with 100 subscribers, 8 in flight", fanout::hundred),
    ("channels-1000", "1000 channels of one subscriber each, 8 and 64 in flight", fanout::channels),
    ("growth", "9000 subscribers instead of 1000, 1 in flight", fanout::growth),
    ("wild", "1000 subscribers of /** instead of the channel", special::wild),
    ("ack", "1000 subscribers with the acknowledgement extension", special::ack),
    ("deflate", "1000 subscribers, 1 KB messages, permessage-deflate", special::deflate),
    ("slow", "1000 subscribers and one that does not read", special::slow),
    ("longpoll", "long-polling, 1000 pollers, 1 and 8 in flight", fanout::polling),
    ("idle-websocket", "memory of an idle WebSocket session with one subscription, of 9000", idle::websockets),
    ("idle-longpoll", "memory of a parked long-poll, of 5000", idle::polls),
    ("idle-cpu", "10,000 idle WebSocket sessions: CPU, and memory after they left", idle::cpu),
    ("churn", "subscribing and unsubscribing beside 1000 and 100,000 channels", life::churn),
    ("start", "cold start, size of the binary, memory at start", life::start),
    ("kafka-ingest", "50 sessions publish 20,000/s of 1 KB to Kafka, acks=all (broker)", brokers::kafka_ingest),
    ("kafka-egress", "20,000/s of 1 KB from Kafka to one subscriber (broker)", brokers::kafka_egress),
    ("kafka-fanout", "20/s of 1 KB from Kafka to 1000 subscribers (broker)", brokers::kafka_fanout),
    ("nats-ingest", "50 sessions publish 5000/s of 1 KB to a JetStream stream (broker)", brokers::nats_ingest),
    ("nats-egress", "20,000/s of 1 KB from NATS to one subscriber (broker)", brokers::nats_egress),
    ("nats-fanout", "20/s of 1 KB from NATS to 1000 subscribers (broker)", brokers::nats_fanout),
    ("mqtt-ingest", "50 sessions publish 5000/s of 1 KB by MQTT, QoS 1 (broker)", brokers::mqtt_ingest),
    ("mqtt-egress", "5000/s of 1 KB from MQTT, QoS 1, to one subscriber (broker)", brokers::mqtt_egress),
    ("mqtt-fanout", "20/s of 1 KB from MQTT, QoS 1, to 1000 subscribers (broker)", brokers::mqtt_fanout),
];
