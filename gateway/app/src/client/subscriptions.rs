//! What a session is subscribed to, and how far it has read where it asked for a position: after a new handshake it goes
//! on from there.

use super::request::{Request, Wanted};
use super::wire::{self, Incoming};
use bayeux::channel::ChannelName;
use connector::{Cursor, Place, Position};
use serde_json::Value;

/// A subscription as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub channel: String,
    reading: Option<Reading>,
}

impl Subscription {
    /// To this channel or pattern, from a position (JSON) if one is given.
    pub fn new(channel: &str, from: Option<&str>) -> Self {
        let reading = from.map(|from| Reading { from: from.to_owned(), number: None, cursor: Cursor::default() });
        Self { channel: channel.to_owned(), reading }
    }

    /// The fields of its request.
    pub fn fields(&self) -> String {
        let channel = wire::quoted(&self.channel);
        let replay =
            self.reading.as_ref().map(|reading| format!(r#","ext":{{"replay":{{{channel}:{}}}}}"#, reading.json()));
        format!(r#""channel":"/meta/subscribe","subscription":{channel}{}"#, replay.unwrap_or_default())
    }

    fn reaches(&self, channel: &str) -> bool {
        ChannelName::parse(&self.channel.as_str().into()).is_ok_and(|name| name.reaches(channel))
    }
}

/// How far the records are read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    /// Where it began, as JSON.
    from: String,
    number: Option<u64>,
    cursor: Cursor,
}

impl Reading {
    fn json(&self) -> String {
        match self.number {
            Some(number) => Position::Number(number).to_json(),
            None if self.cursor.is_empty() => self.from.clone(),
            None => self.cursor.position().to_json(),
        }
    }

    fn reached(&mut self, position: &Value) {
        if let Some(number) = position.as_u64() {
            self.number = self.number.max(Some(number));
        } else if let Some(Ok(cursor)) = position.as_str().map(Cursor::parse) {
            self.number = None; // the topic has more logs than one by now
            for (log, seen) in cursor.iter() {
                self.cursor.advance(&Place { log: log.clone(), n: seen.n, at: seen.at, sole: false });
            }
        }
    }
}

/// All of a session.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Vec<Subscription>);

impl Subscriptions {
    /// The server has taken it.
    pub fn made(&mut self, subscription: Subscription) {
        if self.0.iter().all(|made| made.channel != subscription.channel) {
            self.0.push(subscription);
        }
    }

    /// The server does not take it any more.
    pub fn refused(&mut self, channel: &str) {
        self.0.retain(|subscription| subscription.channel != channel);
    }

    /// Requests that make them in a new session, the last one first.
    pub fn renewed(&self) -> impl Iterator<Item = Request> {
        self.0.iter().rev().map(|subscription| Request {
            rest: subscription.fields(),
            wanted: Wanted::Subscription(subscription.clone()),
            reply: None,
        })
    }

    /// Notes the positions that a message or a reply tells.
    pub fn hear(&mut self, message: &Incoming<'_>) {
        if self.0.iter().all(|subscription| subscription.reading.is_none()) {
            return;
        }
        match message.replay() {
            Some(Value::Object(told)) => {
                for subscription in &mut self.0 {
                    if let (Some(reading), Some(position)) =
                        (&mut subscription.reading, told.get(&subscription.channel))
                    {
                        reading.reached(position);
                    }
                }
            }
            Some(position) => {
                // For which of several it comes the message does not say: then only replies to connects count.
                let mut reached = self.0.iter_mut().filter(|subscription| subscription.reaches(&message.channel));
                if let (Some(Subscription { reading: Some(reading), .. }), None) = (reached.next(), reached.next()) {
                    reading.reached(&position);
                }
            }
            None => {}
        }
    }
}

/// A position as it is typed, as JSON: a number, a token, or a time.
///
/// # Errors
/// In words, when it is none.
pub(super) fn position(typed: &str) -> Result<String, String> {
    match typed {
        _ if typed.parse::<i64>().is_ok() => Ok(typed.to_owned()),
        "new" => Ok("-1".to_owned()),
        "all" => Ok("-2".to_owned()),
        _ if typed.contains(':') => Ok(format!(r#"{{"at":{}}}"#, wire::quoted(typed))),
        _ if Cursor::parse(typed).is_ok() => Ok(wire::quoted(typed)),
        _ => {
            Err("give -1 (new only), -2 (all that is kept), a position, or a time such as 2026-11-24T14:00:00Z"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(subscriptions: &mut Subscriptions, message: &str) {
        subscriptions.hear(&wire::envelope(message).unwrap()[0]);
    }

    fn asks(subscriptions: &Subscriptions) -> Vec<String> {
        subscriptions.renewed().map(|request| request.rest).collect()
    }

    #[test]
    fn a_new_session_goes_on_behind_the_last_message() {
        let mut all = Subscriptions::default();
        all.made(Subscription::new("/a/*", Some("-2")));
        let asked = |position: &str| {
            vec![format!(
                r#""channel":"/meta/subscribe","subscription":"/a/*","ext":{{"replay":{{"/a/*":{position}}}}}"#
            )]
        };
        assert_eq!(asks(&all), asked("-2"));
        heard(&mut all, r#"[{"channel":"/a/b","data":1,"ext":{"replay":55}}]"#);
        assert_eq!(asks(&all), asked("55"));
        heard(&mut all, r#"[{"channel":"/meta/connect","successful":true,"ext":{"replay":{"/a/*":60}}}]"#);
        heard(&mut all, r#"[{"channel":"/a/b","data":1,"ext":{"replay":58}}]"#);
        heard(&mut all, r#"[{"channel":"/b","data":1,"ext":{"replay":99}}]"#);
        assert_eq!(asks(&all), asked("60"));
    }

    #[test]
    fn of_tokens_each_logs_farther_place_counts() {
        let token = |places: &[(i32, u64)]| {
            let place =
                |&(partition, n)| (connector::Log { topic: "t".into(), partition }, connector::Seen { n, at: Some(7) });
            places.iter().map(place).collect::<Cursor>().position().to_json()
        };
        let mut all = Subscriptions::default();
        all.made(Subscription::new("/a", Some("-1")));
        for places in [&[(0, 5), (1, 8)][..], &[(1, 9)], &[(0, 4)]] {
            heard(&mut all, &format!(r#"[{{"channel":"/a","data":1,"ext":{{"replay":{}}}}}]"#, token(places)));
        }
        assert!(asks(&all)[0].contains(&token(&[(0, 5), (1, 9)])), "{:?}", asks(&all));
    }

    #[test]
    fn positions_are_typed_as_people_have_them() {
        assert_eq!(position("-2").as_deref(), Ok("-2"));
        assert_eq!(position("all").as_deref(), Ok("-2"));
        assert_eq!(position("2026-11-24T14:00:00Z").as_deref(), Ok(r#"{"at":"2026-11-24T14:00:00Z"}"#));
        assert_eq!(position("AQ").as_deref(), Ok("\"AQ\""));
        assert!(position("yesterday").is_err());
    }
}
