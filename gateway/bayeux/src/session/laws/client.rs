//! The client: what it has got, and what it may have got only once and in order.

/// What a connection carries to the client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    Message(u32),
    /// The reply to a request; a connect's with the number of the batch that it closes.
    Reply(u32, Option<u64>),
}

/// Which number a connect acknowledges.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ack {
    /// The last batch that it has seen.
    Right,
    /// So many before that one.
    Old(usize),
    /// It says none.
    None,
}

/// A client of the acknowledgement extension takes messages together with the reply that closes their batch, and only
/// the reply to its latest connect: what stood before another was cut off, and comes again.
pub(super) struct Client {
    acknowledges: bool,
    next: u32,
    /// Requests that are not answered, and their connections.
    pub(super) asked: Vec<(u32, usize)>,
    /// Its latest connect, while it waits for its reply.
    current: Option<u32>,
    /// The messages it has, each with its batch.
    got: Vec<(u64, u32)>,
    /// The messages on each connection that no reply has closed.
    open: Vec<Vec<u32>>,
    /// The batches that it has seen whole.
    seen: Vec<u64>,
    acknowledged: u64,
    /// The last message of each connection since it began.
    last: Vec<u32>,
    /// The messages that were lost with a connection.
    pub(super) lost: Vec<u32>,
}

impl Client {
    pub(super) fn new(acknowledges: bool, connections: usize) -> Self {
        Client {
            acknowledges,
            next: 0,
            asked: Vec::new(),
            current: None,
            got: Vec::new(),
            open: vec![Vec::new(); connections],
            seen: vec![0],
            acknowledged: 0,
            last: vec![0; connections],
            lost: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, slot: usize) -> u32 {
        self.next += 1;
        self.asked.push((self.next, slot));
        self.next
    }

    /// A connect: its id and the number that it acknowledges.
    pub(super) fn connect(&mut self, slot: usize, ack: Ack) -> (u32, Option<u64>) {
        let id = self.ask(slot);
        self.current = Some(id);
        let number = match ack {
            Ack::Right => self.seen.last().copied(),
            Ack::Old(by) => self.seen.iter().rev().nth(by).copied(),
            Ack::None => None,
        };
        // What it does not acknowledge, and never did, it says it has not seen.
        self.acknowledged = self.acknowledged.max(number.unwrap_or_default());
        self.seen.retain(|batch| *batch <= self.acknowledged);
        self.got.retain(|(batch, _)| *batch <= self.acknowledged);
        (id, number)
    }

    /// Each request has one outcome.
    pub(super) fn settle(&mut self, id: u32) {
        let at = self.asked.iter().position(|(asked, _)| *asked == id).expect("an outcome of a request that has none");
        self.asked.swap_remove(at);
    }

    pub(super) fn receive(&mut self, slot: usize, item: Item) {
        match item {
            Item::Message(n) if self.acknowledges => self.open[slot].push(n),
            Item::Message(n) => {
                assert!(n > self.last[slot], "{n} after {} on one connection", self.last[slot]);
                self.last[slot] = n;
                self.got.push((0, n));
            }
            Item::Reply(id, batch) => {
                self.settle(id);
                if let Some(batch) = batch {
                    let messages = std::mem::take(&mut self.open[slot]);
                    if self.current == Some(id) {
                        assert!(self.seen.iter().all(|seen| *seen < batch), "batch {batch} after {:?}", self.seen);
                        self.seen.push(batch);
                        for n in messages {
                            let last = self.got.last().map_or(0, |(_, last)| *last);
                            assert!(n > last, "{n} after {last} in the acknowledged stream");
                            self.got.push((batch, n));
                        }
                    }
                }
            }
        }
    }

    /// A response has been read. The next may bring what came before it: messages that a socket had taken, and that went
    /// back to the queue after this one was made.
    pub(super) fn response(&mut self, slot: usize) {
        self.last[slot] = 0;
    }

    /// The connection is gone with what was on it: a new one takes its place.
    pub(super) fn cut(&mut self, slot: usize, wire: impl Iterator<Item = Item>) {
        for item in wire {
            if let Item::Message(n) = item {
                self.lost.push(n);
            }
        }
        let lost = |asked: &(u32, usize)| asked.1 == slot;
        if self.asked.iter().any(|asked| lost(asked) && self.current == Some(asked.0)) {
            self.current = None;
        }
        self.asked.retain(|asked| !lost(asked));
        self.open[slot].clear();
        self.last[slot] = 0;
    }

    pub(super) fn messages(&self) -> Vec<u32> {
        self.got.iter().map(|(_, n)| *n).collect()
    }
}
