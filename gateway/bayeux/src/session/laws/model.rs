//! What a session should be at any moment, as plain lists: each call goes to the session and to the lists, and what it
//! says must agree with them.

use super::*;

/// A message that waits, and the first batch that carried it.
struct Waiting {
    delivery: Arc<Delivery>,
    batch: Option<u64>,
}

/// A session and what it should be.
pub(super) struct Checked {
    session: Session,
    options: SessionOptions,
    born: Carrier,
    /// What the last message came by: whose options hold.
    by: Carrier,
    acknowledged: bool,
    waiting: VecDeque<Waiting>,
    last_batch: u64,
    /// Numbers of the messages that overflow has dropped.
    pub(super) dropped: Vec<u32>,
    untold: u64,
    batches: u32,
    hold: Option<(Ticket, Carrier)>,
    /// All tickets there were.
    tickets: Vec<Ticket>,
    connected: bool,
    /// The client has said something since its handshake.
    spoken: bool,
    pub(super) ended: bool,
    expires: Option<Instant>,
    interval: Option<Duration>,
    advised: Option<Carrier>,
    subscriptions: Vec<ChannelName>,
}

impl Checked {
    pub(super) fn new(options: SessionOptions, acknowledged: bool, carrier: Carrier, now: Instant) -> Self {
        let mut session = Session::new("c".into(), Arc::new(options.clone()), carrier, now);
        session.handshake_advice();
        if acknowledged {
            session.acknowledge();
        }
        let mut checked = Checked {
            session,
            born: carrier,
            by: carrier,
            acknowledged,
            waiting: VecDeque::new(),
            last_batch: 0,
            dropped: Vec::new(),
            untold: 0,
            batches: 0,
            hold: None,
            tickets: Vec::new(),
            connected: false,
            spoken: false,
            ended: false,
            expires: None,
            interval: None,
            advised: Some(carrier),
            subscriptions: Vec::new(),
            options,
        };
        checked.arm(now);
        checked.agrees();
        checked
    }

    /// What can be seen of the session is what it should be.
    fn agrees(&self) {
        let bytes = self.waiting.iter().map(|w| w.delivery.weight()).sum();
        assert_eq!(self.session.waiting(), (self.waiting.len(), bytes), "what waits");
        assert_eq!(self.session.expires(), self.expires, "when it expires");
        assert_eq!(self.session.ended(), self.ended);
        assert_eq!(self.expires.is_none(), self.hold.is_some() || self.ended, "it lives by a held connect or by time");
    }

    fn arm(&mut self, now: Instant) {
        let options = self.options.of(self.by);
        self.expires = Some(now + self.interval.unwrap_or(options.interval) + options.max_interval);
    }

    pub(super) fn connect_only(&self, carrier: Carrier) -> bool {
        self.acknowledged || carrier == Carrier::CallbackPolling
    }

    pub(super) fn held(&self) -> Option<Ticket> {
        self.hold.map(|(ticket, _)| ticket)
    }

    pub(super) fn connect(&mut self, now: Instant, connect: &Connect) -> Result<ConnectOutcome, Refusal> {
        let outcome = self.session.connect(now, connect);
        assert_eq!(outcome.is_err(), self.ended);
        let Ok(got) = &outcome else { return outcome };
        assert_eq!(got.superseded, self.hold.take().map(|(ticket, _)| ticket), "a newer connect ends the older");
        let asked = connect.advice.unwrap_or_default();
        self.by = connect.carrier;
        self.interval = asked.interval.map(Duration::from_millis);
        if let (true, Some(number)) = (self.acknowledged, connect.ack) {
            self.waiting.retain(|w| w.batch.is_none_or(|batch| batch > number));
        }
        let empty = self.waiting.is_empty();
        let again = self.acknowledged && !empty && self.waiting.iter().all(|w| w.batch.is_some());
        let unseen = self.waiting.iter().any(|w| w.batch.is_some());
        let quiet = (empty || self.batches > 0) && !unseen;
        let crowded = connect.crowded && connect.alone && quiet;
        let elsewhere = self.advised != Some(connect.carrier);
        assert_eq!(got.advice.is_some(), again || crowded || connect.advice.is_some() || elsewhere, "advice is due");
        self.advised = Some(connect.carrier);
        self.spoken = true;

        let timeout = asked.timeout.map_or(self.options.of(self.by).timeout, Duration::from_millis);
        let socket = connect.carrier == Carrier::WebSocket;
        let may_wait = (socket || connect.alone) && !connect.crowded && !timeout.is_zero();
        let holds = may_wait && self.connected && (quiet || (socket && !self.acknowledged));
        self.connected = true;
        assert_eq!(got.hold.is_some(), holds, "whether it is held");
        match got.hold {
            Some((ticket, until)) => {
                assert_eq!(until, now + timeout);
                assert!(!self.tickets.contains(&ticket), "a ticket names one connect");
                self.tickets.push(ticket);
                self.hold = Some((ticket, connect.carrier));
                self.expires = None;
            }
            None => self.arm(now),
        }
        self.agrees();
        outcome
    }

    /// An old ticket does nothing at all.
    pub(super) fn release(&mut self, ticket: Ticket, now: Instant) -> bool {
        let held = self.hold.take_if(|(held, _)| *held == ticket).is_some();
        assert_eq!(self.session.release(ticket, now), held, "only a held connect can be let go");
        if held {
            self.arm(now);
        }
        self.agrees();
        held
    }

    /// Any ticket of the past.
    pub(super) fn old_ticket(&self, nth: usize) -> Option<Ticket> {
        let old: Vec<_> = self.tickets.iter().copied().filter(|ticket| self.held() != Some(*ticket)).collect();
        old.get(nth % old.len().max(1)).copied()
    }

    pub(super) fn replied(&mut self, now: Instant) {
        self.session.replied(now);
        if self.hold.is_none() && !self.ended {
            self.arm(now);
        }
        self.agrees();
    }

    pub(super) fn touch(&mut self, now: Instant, carrier: Carrier) {
        self.session.touch(now, carrier);
        self.by = carrier;
        self.spoken = true;
        if self.hold.is_none() && !self.ended {
            self.expires = Some(now + self.options.of(carrier).max_interval);
        }
        self.agrees();
    }

    pub(super) fn push(&mut self, delivery: Arc<Delivery>) -> Push {
        let push = self.session.push(Arc::clone(&delivery));
        if self.ended {
            assert_eq!(push, Push::Gone);
            return push;
        }
        let limits = self.options.of(self.born).queue;
        while self.waiting.len() >= limits.max_messages || !self.fits(&delivery) {
            if limits.overflow == Overflow::Disconnect {
                assert_eq!(push, Push::Overflow);
                return push;
            }
            let oldest = self.waiting.pop_front().expect("one that waits");
            self.dropped.push(number(&oldest.delivery));
            self.untold += 1;
        }
        self.waiting.push_back(Waiting { delivery, batch: None });
        assert_eq!(push, if self.batches > 0 { Push::Waits } else { Push::Wake });
        assert!(self.waiting.len() <= limits.max_messages, "the queue is bounded");
        self.agrees();
        push
    }

    fn fits(&self, delivery: &Delivery) -> bool {
        let bytes: usize = self.waiting.iter().map(|w| w.delivery.weight()).sum();
        self.waiting.is_empty() || bytes + delivery.weight() <= self.options.of(self.born).queue.max_bytes
    }

    pub(super) fn take_polling_hold(&mut self, now: Instant) -> Option<Ticket> {
        let wakes = self.batches == 0 && !self.waiting.is_empty();
        let ends = |carrier| wakes && (self.acknowledged || carrier != Carrier::WebSocket);
        let expected = self.hold.take_if(|(_, carrier)| ends(*carrier)).map(|(ticket, _)| ticket);
        assert_eq!(self.session.take_polling_hold(now), expected, "what a message wakes");
        if expected.is_some() {
            self.arm(now);
        }
        self.agrees();
        expected
    }

    pub(super) fn pop(&mut self, carrier: Carrier) -> Option<Arc<Delivery>> {
        let popped = self.session.pop(carrier);
        let stays = !self.spoken || self.connect_only(carrier);
        let expected = if stays { None } else { self.waiting.pop_front().map(|w| w.delivery) };
        assert_eq!(popped.as_deref().map(number), expected.as_deref().map(number), "the oldest");
        self.agrees();
        popped
    }

    pub(super) fn take_for_connect(&mut self) -> (Vec<Arc<Delivery>>, Option<u64>) {
        let (taken, batch) = self.session.take_for_connect();
        let all: Vec<_> = self.waiting.iter().map(|w| number(&w.delivery)).collect();
        assert_eq!(taken.iter().map(|d| number(d)).collect::<Vec<_>>(), all, "all that waits");
        if self.acknowledged {
            self.last_batch += 1;
            self.waiting.iter_mut().for_each(|w| w.batch = w.batch.or(Some(self.last_batch)));
        } else {
            self.waiting.clear();
        }
        assert_eq!(batch, self.acknowledged.then_some(self.last_batch), "batches are counted");
        self.agrees();
        (taken, batch)
    }

    pub(super) fn put_back(&mut self, unsent: Vec<Arc<Delivery>>) {
        if !self.ended && !self.acknowledged {
            let unsent = unsent.iter().rev().cloned().map(|delivery| Waiting { delivery, batch: None });
            unsent.for_each(|w| self.waiting.push_front(w));
        }
        self.session.put_back(unsent.into_iter());
        self.agrees();
    }

    pub(super) fn start_batch(&mut self) {
        self.session.start_batch();
        self.batches += 1;
    }

    pub(super) fn end_batch(&mut self) -> bool {
        self.batches -= 1;
        let wake = self.session.end_batch();
        assert_eq!(wake, self.batches == 0 && !self.waiting.is_empty());
        wake
    }

    /// Each dropped message is told once.
    pub(super) fn take_untold(&mut self) {
        assert_eq!(self.session.take_untold(), std::mem::take(&mut self.untold));
    }

    pub(super) fn subscribe(&mut self, channel: &ChannelName, wanted: bool) {
        if self.ended {
            return;
        }
        let before = self.subscriptions.contains(channel);
        if wanted {
            assert_eq!(self.session.subscribe(channel), Ok(!before));
        } else {
            assert_eq!(self.session.unsubscribe(channel), before);
        }
        self.subscriptions.retain(|c| c != channel);
        self.subscriptions.extend(wanted.then(|| channel.clone()));
    }

    pub(super) fn subscribed(&self, channel: &ChannelName) -> bool {
        assert_eq!(self.session.is_subscribed(channel), self.subscriptions.contains(channel));
        self.session.is_subscribed(channel)
    }

    /// Whether its time is over.
    pub(super) fn expired(&self, now: Instant) -> bool {
        let over = self.session.expires().is_some_and(|at| at <= now);
        assert!(!(over && self.hold.is_some()), "no session expires while a connect is held");
        over
    }

    pub(super) fn end(&mut self, reason: EndReason) -> bool {
        let subscriptions = self.session.end(reason);
        assert_eq!(subscriptions.is_none(), self.ended, "it ends once");
        let Some(mut subscriptions) = subscriptions else { return false };
        subscriptions.sort();
        self.subscriptions.sort();
        assert_eq!(subscriptions, std::mem::take(&mut self.subscriptions));
        (self.ended, self.expires, self.hold) = (true, None, None);
        match reason {
            EndReason::Disconnected => {}
            EndReason::Server => {
                let told = Delivery::fixed("/meta/disconnect", r#"{"channel":"/meta/disconnect","successful":true}"#);
                self.waiting.push_back(Waiting { delivery: Arc::new(told), batch: None });
            }
            EndReason::Expired | EndReason::Overflow | EndReason::Gap => self.waiting.clear(),
        }
        self.agrees();
        true
    }

    /// The messages that wait.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.waiting.iter().map(|w| number(&w.delivery)).collect()
    }
}
