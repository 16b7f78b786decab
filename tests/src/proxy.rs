//! A TCP proxy with a temper, between a client and the gateway: it splits what it carries into small pieces, holds some
//! of them back, cuts connections and refuses new ones.
//!
//! Its whims come from the seed of its [`Temper`] (printed at the start; `PROXY_SEED` sets it), and from nothing else. It
//! counts what it did, so that a test can say that connections were split and cut indeed. It ends when it is dropped.

use futures_util::future::Either;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// How it treats what it carries.
#[derive(Debug, Clone)]
pub struct Temper {
    /// Where its whims come from.
    pub seed: u64,
    /// How many bytes it forwards at a time.
    pub piece: RangeInclusive<usize>,
    /// One piece in so many waits; 0 for none.
    pub hold_one_in: u32,
    /// The longest wait.
    pub hold: Duration,
}

impl Temper {
    /// Carries everything as it comes.
    pub fn calm() -> Temper {
        Temper { seed: seed(), piece: 65536..=65536, hold_one_in: 0, hold: Duration::ZERO }
    }

    /// Splits everything into pieces of 1 to 90 bytes: within a header, a frame, a letter. One in eight waits up to 4 ms.
    pub fn fickle() -> Temper {
        Temper { seed: seed(), piece: 1..=90, hold_one_in: 8, hold: Duration::from_millis(4) }
    }
}

/// `PROXY_SEED`, else one from the clock.
fn seed() -> u64 {
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis() as u64);
    std::env::var("PROXY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(now)
}

/// What it did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken.
    pub connections: u64,
    /// Pieces forwarded.
    pub pieces: u64,
    /// Pieces that waited.
    pub held: u64,
    /// Connections cut, on command or after some bytes.
    pub cuts: u64,
    /// Those cut with RST; the others ended with FIN.
    pub resets: u64,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    target: u16,
    temper: Temper,
    counts: watch::Sender<Counts>,
    /// Grows with each command to cut.
    cut: watch::Sender<u64>,
    /// Whether connections are wanted.
    open: watch::Sender<bool>,
    /// Whether there is a listener.
    listening: watch::Sender<bool>,
    armed: Mutex<Armed>,
}

/// Cuts that are still to come by themselves.
#[derive(Debug)]
struct Armed {
    bytes: RangeInclusive<u64>,
    left: u32,
    /// Whether those that were to come are called off.
    off: bool,
}

impl Proxy {
    /// Listens on a free port of the loopback, for a server on another.
    pub async fn start(target: u16, temper: Temper) -> Proxy {
        eprintln!("the proxy's temper: {temper:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            target,
            temper,
            counts: watch::Sender::default(),
            cut: watch::Sender::default(),
            open: watch::Sender::new(true),
            listening: watch::Sender::new(true),
            armed: Mutex::new(Armed { bytes: 0..=0, left: 0, off: true }),
        });
        let task = tokio::spawn(serve(listener, port, shared.clone())).abort_handle();
        Proxy { port, shared, task }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until what it did is enough.
    pub async fn until(&self, enough: impl FnMut(&Counts) -> bool) -> Counts {
        *self.shared.counts.subscribe().wait_for(enough).await.expect("a running proxy")
    }

    /// Cuts every connection there is, both sides at once.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|n| *n += 1);
    }

    /// From now on cuts `times` connections, each after a number of bytes within `bytes`, counted over both directions.
    pub fn cut_after(&self, bytes: RangeInclusive<u64>, times: u32) {
        *self.shared.armed() = Armed { bytes, left: times, off: false };
    }

    /// Calls off the cuts of [`Proxy::cut_after`] that did not happen yet.
    pub fn relent(&self) {
        self.shared.armed().off = true;
    }

    /// Refuses connections until [`Proxy::accept`]; those that there are stay.
    pub async fn refuse(&self) {
        self.shared.open.send_replace(false);
        let _ = self.shared.listening.subscribe().wait_for(|listening| !listening).await;
    }

    /// Takes connections again.
    pub async fn accept(&self) {
        self.shared.open.send_replace(true);
        let _ = self.shared.listening.subscribe().wait_for(|listening| *listening).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn armed(&self) -> MutexGuard<'_, Armed> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }
}

/// Takes connections while they are wanted. What it spawned ends with it.
async fn serve(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut open = shared.open.subscribe();
    let mut listener = Some(listener);
    let mut number = 0;
    loop {
        let taking = match listener.take() {
            Some(listener) => listener,
            None => TcpListener::bind(("127.0.0.1", port)).await.expect("the proxy's port again"),
        };
        shared.listening.send_replace(true);
        loop {
            tokio::select! {
                taken = taking.accept() => if let Ok((near, _)) = taken {
                    number += 1;
                    connections.spawn(carry(near, number, shared.clone()));
                },
                _ = open.wait_for(|open| !open) => break,
                Some(_) = connections.join_next() => {}
            }
        }
        drop(taking);
        shared.listening.send_replace(false);
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
    }
}

/// Why a direction ended.
#[derive(PartialEq)]
enum End {
    /// It was shut down in order.
    Closed,
    /// A side is gone, or the connection has carried what it may.
    Broken,
}

/// One connection, from its begin to its end.
async fn carry(mut near: TcpStream, number: u64, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    shared.count(|counts| counts.connections += 1);
    // Nobody behind the proxy: the client sees its connection end at once.
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", shared.target)).await else { return };
    let _ = near.set_nodelay(true).and(far.set_nodelay(true));
    let whims = |direction| StdRng::seed_from_u64(shared.temper.seed ^ (number << 2) ^ direction);
    let purse = Purse { left: AtomicU64::new(u64::MAX), dice: Mutex::new(whims(2)) };
    let meant = {
        let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
        let up = pump(near_in, far_out, whims(0), &purse, &shared);
        let down = pump(far_in, near_out, whims(1), &purse, &shared);
        let both = async {
            tokio::pin!(up, down);
            let (first, other) = tokio::select! {
                end = &mut up => (end, Either::Left(down)),
                end = &mut down => (end, Either::Right(up)),
            };
            first == End::Closed && other.await == End::Closed
        };
        tokio::select! {
            in_order = both => purse.left.load(Ordering::Relaxed) == 0 && !in_order,
            _ = cut.changed() => true,
        }
    };
    if meant {
        let reset = purse.dice().random();
        if reset {
            let _ = near.set_zero_linger().and(far.set_zero_linger());
        } else {
            // A FIN, not an RST: nothing may lie unread when the sockets are dropped.
            let _ = near.shutdown().await.and(far.shutdown().await);
            let _ = tokio::time::timeout(Duration::from_millis(20), copy(&mut near, &mut sink())).await;
        }
        shared.count(|counts| {
            counts.cuts += 1;
            counts.resets += u64::from(reset);
        });
    }
}

/// How many bytes a connection may still carry.
struct Purse {
    left: AtomicU64,
    dice: Mutex<StdRng>,
}

impl Purse {
    fn dice(&self) -> MutexGuard<'_, StdRng> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `wanted` bytes may go.
    fn take(&self, wanted: usize, shared: &Shared) -> usize {
        let mut armed = shared.armed();
        if armed.off {
            return wanted;
        }
        if self.left.load(Ordering::Relaxed) == u64::MAX {
            if armed.left == 0 {
                return wanted;
            }
            armed.left -= 1;
            self.left.store(self.dice().random_range(armed.bytes.clone()), Ordering::Relaxed);
        }
        let taken = |left: u64| Some(left - left.min(wanted as u64));
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).unwrap_or_default();
        before.min(wanted as u64) as usize
    }
}

/// One direction.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut dice: StdRng, purse: &Purse, shared: &Shared) -> End {
    let temper = &shared.temper;
    let mut buffer = vec![0; 65536];
    loop {
        let n = match from.read(&mut buffer).await {
            Ok(0) => {
                let _ = to.shutdown().await;
                return End::Closed;
            }
            Ok(n) => n,
            Err(_) => return End::Broken,
        };
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            let wanted = dice.random_range(temper.piece.clone()).min(rest.len());
            let wait = (temper.hold_one_in > 0 && dice.random_ratio(1, temper.hold_one_in))
                .then(|| temper.hold.mul_f64(dice.random()));
            if let Some(wait) = wait {
                tokio::time::sleep(wait).await;
            }
            let granted = purse.take(wanted, shared);
            if to.write_all(&rest[..granted]).await.is_err() || granted < wanted {
                return End::Broken;
            }
            shared.count(|counts| {
                counts.pieces += 1;
                counts.held += u64::from(wait.is_some());
            });
            rest = &rest[granted..];
        }
    }
}
