//! The load: thousands of clients in one thread around epoll, as cheap as they can be, the same for every server.
//!
//! What a subscriber gets is not parsed: the stamps in it are found and counted. Messages are published in a closed loop:
//! so many are in flight, and a new one goes out when all subscribers together have got as many as one needs.

use crate::dialect::{self, Dialect, Seat};
use bench::latency::Latencies;
use bench::{Result, clock, frame, process};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read as _, Write as _};
use std::ops::Range;
use std::time::{Duration, Instant};

/// No delivery for so long is a failure.
const STALLED: Duration = Duration::from_secs(20);

struct Client {
    stream: mio::net::TcpStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    again: Box<[u8]>,
    dialect: Dialect,
    id: Box<str>,
    /// Its replies are looked at, and no deliveries are counted.
    publishes: bool,
}

/// All clients of one server.
pub struct Load {
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    clients: Vec<Client>,
    seen: Seen,
}

/// What the clients saw since it was last taken.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Messages that subscribers got.
    pub deliveries: u64,
    /// How old they were.
    pub ages: Latencies,
    /// Publishes that were confirmed.
    pub confirmed: u64,
    /// How long that took.
    pub confirmations: Latencies,
}

/// What was measured.
#[derive(Debug, Default, Clone)]
pub struct Measure {
    /// What the clients saw.
    pub seen: Seen,
    /// How long it took.
    pub time: Duration,
    /// What the server's process used meanwhile.
    pub cpu: Duration,
}

impl Measure {
    /// Microseconds of CPU time for each of so many.
    pub fn cpu_per(&self, count: u64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / count.max(1) as f64
    }
}

/// Publishes in a closed loop.
#[derive(Debug, Clone)]
pub struct Work {
    /// Which client publishes.
    pub publisher: usize,
    /// To these channels, one after the other.
    pub channels: Vec<String>,
    /// How many deliveries a message makes.
    pub deliveries: u64,
    /// How many messages are in flight.
    pub in_flight: u64,
    /// Bytes of `data`.
    pub size: usize,
}

impl Load {
    /// No clients yet.
    pub fn new() -> Result<Load> {
        Ok(Load {
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            buffer: vec![0; 256 << 10].into_boxed_slice(),
            clients: Vec::new(),
            seen: Seen::default(),
        })
    }

    /// Brings clients in, several at a time; `channels` says what the nth subscribes to. Tells their places.
    pub fn join(
        &mut self,
        dialect: Dialect,
        address: std::net::SocketAddr,
        count: usize,
        channels: impl Fn(usize) -> Vec<String> + Sync,
    ) -> Result<Range<usize>> {
        let lanes = 8.min(count);
        let seats: Vec<Result<Vec<Seat>>> = std::thread::scope(|scope| {
            let lane = |lane: usize| {
                let channels = &channels;
                scope.spawn(move || {
                    (lane..count)
                        .step_by(lanes)
                        .map(|n| {
                            let channels = channels(n);
                            dialect.join(address, &channels.iter().map(String::as_str).collect::<Vec<_>>())
                        })
                        .collect()
                })
            };
            let threads: Vec<_> = (0..lanes).map(lane).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a panic".into()))).collect()
        });
        let first = self.clients.len();
        for lane in seats {
            for seat in lane? {
                self.seat(seat)?;
            }
        }
        Ok(first..self.clients.len())
    }

    /// Takes one in that publishes.
    pub fn publisher(&mut self, dialect: Dialect, address: std::net::SocketAddr) -> Result<usize> {
        let at = self.seat(dialect.join(address, &[])?)?;
        self.clients[at].publishes = true;
        Ok(at)
    }

    fn seat(&mut self, seat: Seat) -> Result<usize> {
        seat.stream.set_nonblocking(true)?;
        let at = self.clients.len();
        let mut stream = mio::net::TcpStream::from_std(seat.stream);
        self.poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        self.clients.push(Client {
            stream,
            unread: seat.unread,
            unsent: Vec::new(),
            again: seat.again.into_boxed_slice(),
            dialect: seat.dialect,
            id: seat.id.into_boxed_str(),
            publishes: false,
        });
        Ok(at)
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// The last clients leave, without a word.
    pub fn leave(&mut self, stay: usize) {
        self.clients.truncate(stay);
    }

    /// Reads what comes within that time.
    pub fn listen(&mut self, pid: u32, time: Duration) -> Result<Measure> {
        let (begin, cpu) = (Instant::now(), process::cpu(pid)?);
        self.seen = Seen::default();
        while let Some(left) = time.checked_sub(begin.elapsed()) {
            self.pump(left)?;
        }
        self.measured(pid, begin, cpu)
    }

    /// Publishes for that time.
    pub fn run(&mut self, work: &Work, pid: u32, time: Duration) -> Result<Measure> {
        let (begin, cpu) = (Instant::now(), process::cpu(pid)?);
        self.seen = Seen::default();
        let (mut published, mut last, mut heard) = (0, 0, (0, Instant::now()));
        loop {
            let over = begin.elapsed() >= time;
            let done = self.seen.deliveries / work.deliveries;
            if over && done >= published {
                break;
            }
            if !over && done + work.in_flight > published {
                let mut bytes = Vec::new();
                let publisher = &self.clients[work.publisher];
                while done + work.in_flight > published {
                    last = clock::micros().max(last + 1);
                    let channel = &work.channels[published as usize % work.channels.len()];
                    publisher.dialect.publish(&mut bytes, &publisher.id, channel, last, work.size);
                    published += 1;
                }
                self.clients[work.publisher].send(&bytes)?;
            }
            self.pump(Duration::from_millis(100))?;
            if self.seen.deliveries > heard.0 {
                heard = (self.seen.deliveries, Instant::now());
            } else if heard.1.elapsed() > STALLED {
                let (got, wanted) = (self.seen.deliveries, published * work.deliveries);
                return Err(format!("stalled: {got} of {wanted} deliveries came").into());
            }
        }
        self.measured(pid, begin, cpu)
    }

    /// These clients publish so many a second together, whether or not they are confirmed, for that time; then the rest
    /// of the confirmations is awaited.
    pub fn pace(
        &mut self,
        publishers: &[usize],
        channel: impl Fn(u64) -> String,
        (rate, size): (u64, usize),
        pid: u32,
        time: Duration,
    ) -> Result<Measure> {
        let (begin, cpu) = (Instant::now(), process::cpu(pid)?);
        self.seen = Seen::default();
        let (mut published, mut last) = (0, 0);
        let all = (rate as f64 * time.as_secs_f64()) as u64;
        let mut bytes = Vec::new();
        while self.seen.confirmed < all {
            let due = ((begin.elapsed().as_secs_f64() * rate as f64) as u64).min(all);
            while published < due {
                let at = publishers[published as usize % publishers.len()];
                last = clock::micros().max(last + 1);
                bytes.clear();
                let client = &mut self.clients[at];
                client.dialect.publish(&mut bytes, &client.id, &channel(published), last, size);
                client.send(&bytes)?;
                published += 1;
            }
            self.pump(Duration::from_millis(1))?;
            if begin.elapsed() > time + STALLED {
                return Err(format!("stalled: {} of {all} publishes were confirmed", self.seen.confirmed).into());
            }
        }
        self.measured(pid, begin, cpu)
    }

    fn measured(&mut self, pid: u32, begin: Instant, cpu: Duration) -> Result<Measure> {
        let (time, cpu) = (begin.elapsed(), process::cpu(pid)?.saturating_sub(cpu));
        Ok(Measure { seen: std::mem::take(&mut self.seen), time, cpu })
    }

    fn pump(&mut self, wait: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let Some(client) = self.clients.get_mut(event.token().0) else { continue };
            if event.is_writable() && !client.unsent.is_empty() {
                let waiting = std::mem::take(&mut client.unsent);
                client.send(&waiting)?;
            }
            if event.is_readable() || !client.unread.is_empty() {
                client.read(&mut self.buffer, &mut self.seen)?;
            }
        }
        Ok(())
    }
}

impl Client {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        match self.stream.write(bytes) {
            Ok(n) => self.unsent.extend_from_slice(&bytes[n..]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.unsent.extend_from_slice(bytes),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], seen: &mut Seen) -> Result<()> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(n) => {
                    if self.unread.is_empty() {
                        let done = self.look(&buffer[..n], seen)?;
                        self.unread.extend_from_slice(&buffer[done..n]);
                    } else {
                        let mut unread = std::mem::take(&mut self.unread);
                        unread.extend_from_slice(&buffer[..n]);
                        let done = self.look(&unread, seen)?;
                        if done < unread.len() {
                            self.unread = unread.split_off(done);
                        }
                    }
                    if n < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what is whole in these bytes. Tells how many they are.
    fn look(&mut self, bytes: &[u8], seen: &mut Seen) -> Result<usize> {
        let (mut done, now) = (0, clock::micros());
        if self.dialect == Dialect::LongPolling {
            while let Some(length) = dialect::response(&bytes[done..])? {
                stamps(&bytes[done..done + length], now, seen);
                done += length;
                let again = std::mem::take(&mut self.again);
                self.send(&again)?;
                self.again = again;
            }
            return Ok(done);
        }
        while let Some(found) = frame::first(&bytes[done..]) {
            let payload = &bytes[done..][found.payload.clone()];
            match found.opcode {
                frame::TEXT if found.compressed => {
                    seen.deliveries += 1;
                    // One of many is looked into: inflating all would cost the client more than the server.
                    if seen.deliveries.is_multiple_of(64) {
                        let before = seen.deliveries;
                        stamps(&inflate(payload)?, now, seen);
                        if seen.deliveries != before + 1 {
                            return Err("a compressed frame without its one message".into());
                        }
                        seen.deliveries = before;
                    }
                }
                frame::TEXT => self.text(payload, now, seen)?,
                frame::PING => {
                    let mut pong = Vec::new();
                    frame::client(&mut pong, frame::PONG, payload);
                    self.send(&pong)?;
                }
                frame::CLOSE => {
                    return Err(
                        format!("closed: {}", String::from_utf8_lossy(payload.get(2..).unwrap_or_default())).into()
                    );
                }
                _ => {}
            }
            done += found.payload.end;
        }
        Ok(done)
    }

    fn text(&mut self, payload: &[u8], now: u64, seen: &mut Seen) -> Result<()> {
        if self.publishes {
            dialect::refused(payload)?;
            for at in memchr::memmem::find_iter(payload, b"\"id\":\"") {
                if let Some(stamp) = payload.get(at + 6..).and_then(clock::digits) {
                    seen.confirmed += 1;
                    seen.confirmations.add(now.saturating_sub(stamp));
                }
            }
        } else {
            stamps(payload, now, seen);
        }
        let bayeux = matches!(self.dialect, Dialect::Bayeux | Dialect::BayeuxDeflate | Dialect::BayeuxAck);
        let mut answer = Vec::new();
        if bayeux && memchr::memmem::find(payload, b"/meta/connect").is_some() {
            dialect::refused(payload)?;
            if self.dialect == Dialect::BayeuxAck {
                let at = memchr::memmem::find(payload, b"\"ack\":").ok_or("a connect without its ack")? + 6;
                let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let text = [&self.again, &payload[at..at + digits], b"}}]"].concat();
                frame::client(&mut answer, frame::TEXT, &text);
            } else {
                frame::client(&mut answer, frame::TEXT, &self.again);
            }
        } else if self.dialect == Dialect::Centrifuge && payload == b"{}" {
            frame::client(&mut answer, frame::TEXT, b"{}");
        }
        if answer.is_empty() { Ok(()) } else { self.send(&answer) }
    }
}

fn stamps(bytes: &[u8], now: u64, seen: &mut Seen) {
    for at in memchr::memmem::find_iter(bytes, clock::STAMP) {
        seen.deliveries += 1;
        if let Some(stamp) = clock::digits(&bytes[at + clock::STAMP.len()..]) {
            seen.ages.add(now.saturating_sub(stamp));
        }
    }
}

/// The text of a compressed frame.
pub fn inflate(payload: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::with_capacity(64 << 10);
    let whole = [payload, &[0, 0, 0xff, 0xff]].concat();
    flate2::Decompress::new(false).decompress_vec(&whole, &mut text, flate2::FlushDecompress::Sync)?;
    Ok(text)
}
