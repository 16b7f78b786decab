//! `mosquitto_sub` as a witness of what a broker delivers.

use crate::lab::Broker;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A QoS 1 subscriber that is not ours, connected until it is dropped.
#[derive(Debug)]
pub struct Witness {
    child: Child,
    lines: Receiver<(String, String)>,
}

impl Witness {
    /// Subscribes to `{prefix}/#`; it is subscribed when this returns.
    pub fn start(mqtt: &Broker, prefix: &str) -> Witness {
        // A retained message is the sign that the subscription stands. It lies one level deeper than what is tested.
        let sign = format!("{prefix}/witness/ready");
        mqtt.run(&["pub", "-q", "1", "-r", "-t", &sign, "-m", "ready"]);
        let filter = format!("{prefix}/#");
        let mut child = mqtt
            .command(&["sub", "-q", "1", "-k", "600", "-t", &filter, "-F", "%t %p"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub runs");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        let strip = format!("{prefix}/");
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { return };
                let (topic, payload) = line.split_once(' ').expect("topic and payload");
                let topic = topic.strip_prefix(&strip).unwrap_or(topic).to_owned();
                if sender.send((topic, payload.to_owned())).is_err() {
                    return;
                }
            }
        });
        let witness = Witness { child, lines };
        let first = witness.lines.recv_timeout(Duration::from_secs(20)).expect("the witness subscribes");
        assert_eq!(first, ("witness/ready".to_owned(), "ready".to_owned()));
        mqtt.run(&["pub", "-q", "1", "-r", "-n", "-t", &sign]); // forgets the sign; the witness sees an empty message
        let second = witness.lines.recv_timeout(Duration::from_secs(20)).expect("the witness hears");
        assert_eq!(second.0, "witness/ready");
        witness
    }

    /// The next `count` messages: topic without the prefix, payload.
    pub fn take(&self, count: usize) -> Vec<(String, String)> {
        (0..count)
            .map(|n| self.lines.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("{n} of {count} came")))
            .collect()
    }

    /// Messages until none came for `quiet`.
    pub fn until_quiet(&self, quiet: Duration) -> Vec<(String, String)> {
        std::iter::from_fn(|| self.lines.recv_timeout(quiet).ok()).collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
