//! The sending side of a WebSocket, shared by the connection's task and the flusher.
//!
//! Lock order: `write`, then a session's own lock. So what a session calls while it holds its lock ([`Outlet::mark`],
//! [`Outlet::session_ended`], [`Outlet::forget_held`], [`Outlet::drain`]) touches `control` only.

use super::{deflate, frame};
use crate::session::LiveSession;
use bayeux::delivery::{Delivery, Framing};
use bayeux::reply::Reply;
use bayeux::session::{EndReason, Ticket};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use write::{Piece, Write};

mod former;
mod write;

/// Reply frames, and bytes of them, that may wait for a peer that does not read.
const MAX_REPLIES: (usize, usize) = (1_024, 1 << 20);

/// A connect that this socket holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) ticket: Ticket,
    pub(crate) until: Instant,
    pub(crate) reply: Reply,
}

/// What others tell the connection's task.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) held: Option<Held>,
    /// Which sessions (their keys) have ended, and why.
    pub(crate) ended: Vec<(u64, EndReason)>,
    pub(crate) draining: bool,
    /// The connect of this ticket is to be answered: messages wait that need its reply to go out.
    pub(crate) release: Option<Ticket>,
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// A plain socket, written by whoever has something; `None` with TLS, where only the task can write.
    plain: Option<TcpStream>,
    write: Mutex<Write>,
    control: Mutex<Control>,
    wake: Notify,
    marked: AtomicBool,
    lane: usize,
    /// The peer takes compressed messages.
    compresses: bool,
    /// How many waiting messages go into one frame; 0: all.
    per_frame: u16,
}

impl Outlet {
    pub(crate) fn new(plain: Option<TcpStream>, lane: usize, compresses: bool, per_frame: u16) -> Self {
        Outlet {
            plain,
            write: Mutex::default(),
            control: Mutex::default(),
            wake: Notify::new(),
            marked: AtomicBool::new(false),
            lane,
            compresses,
            per_frame,
        }
    }

    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        self.plain.as_ref()
    }

    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    /// True when it was not marked before.
    pub(crate) fn mark(&self) -> bool {
        !self.marked.load(Ordering::Relaxed) && !self.marked.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn unmark(&self) {
        self.marked.store(false, Ordering::Release);
    }

    /// Resolves when the task has something to look at: blocked or dead socket, control, or (TLS) things to write.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Whose queue is written.
    pub(crate) fn carry(&self, session: Option<Arc<LiveSession>>) {
        self.write.lock().session = session;
    }

    /// A delivery as this peer takes it: one frame, shared with all who take the same.
    pub(crate) fn framed(&self, delivery: &Delivery) -> Bytes {
        let plain = || delivery.framed(Framing::Plain, frame::message_frame).clone();
        if !self.compresses {
            return plain();
        }
        let compressed = |json: &[u8]| deflate::message_frame(json).unwrap_or_else(plain);
        delivery.framed(Framing::Compressed, compressed).clone()
    }

    /// How many of so many waiting messages go into one frame.
    fn per_frame(&self, waiting: usize) -> usize {
        if self.per_frame == 0 { waiting.max(1) } else { usize::from(self.per_frame) }
    }

    /// Several deliveries in one frame for this peer alone.
    fn bundled(&self, deliveries: &[Arc<Delivery>]) -> Bytes {
        if let [delivery] = deliveries {
            return self.framed(delivery);
        }
        let mut json =
            Vec::with_capacity(deliveries.iter().map(|delivery| delivery.json().len() + 1).sum::<usize>() + 1);
        for delivery in deliveries {
            json.push(if json.is_empty() { b'[' } else { b',' });
            json.extend_from_slice(delivery.json());
        }
        json.push(b']');
        self.text_frame(&json)
    }

    /// Queues deliveries in front of the reply that they go out with. They stay the session's until they are sent.
    pub(crate) fn push_deliveries(&self, deliveries: &[Arc<Delivery>]) {
        for some in deliveries.chunks(self.per_frame(deliveries.len())) {
            self.push_piece(Piece::bundle(None, some, self.bundled(some)));
        }
    }

    /// An envelope for this peer alone, in one frame.
    pub(crate) fn text_frame(&self, json: &[u8]) -> Bytes {
        if self.compresses { deflate::text_frame(json) } else { frame::text_frame(json) }
    }

    /// Queues a finished frame (replies, pong, close); [`Outlet::flush`] sends it.
    pub(crate) fn push(&self, frame: Bytes) {
        self.push_piece(Piece::Frame(frame));
    }

    fn push_piece(&self, piece: Piece) {
        let mut write = self.write.lock();
        if !write.closing {
            write.reply_bytes += piece.bytes().len();
            write.replies.push_back(piece);
        }
    }

    /// Queues the close frame: nothing is sent after it, and what waits for the session stays there.
    pub(crate) fn push_close(&self, frame: Bytes) {
        let mut write = self.write.lock();
        if !write.closing {
            write.closing = true;
            write.reply_bytes += frame.len();
            write.replies.push_back(Piece::Frame(frame));
        }
    }

    /// Writes all that waits, as far as a plain socket takes it. With TLS it wakes the task.
    pub(crate) fn flush(&self) {
        let Some(stream) = &self.plain else {
            self.wake.notify_one();
            return;
        };
        let mut write = self.write.lock();
        if write.blocked || write.dead {
            return;
        }
        loop {
            write.fill(self);
            if write.pieces.is_empty() {
                write.rest();
                return;
            }
            // One piece needs no gathering, which costs the kernel more.
            match write.attempt(|slices| match slices {
                [one] => stream.try_write(one),
                _ => stream.try_write_vectored(slices),
            }) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    write.blocked = true;
                    break;
                }
                Err(_) => {
                    write.dead = true;
                    break;
                }
            }
        }
        drop(write);
        self.wake.notify_one();
    }

    /// One round of writing by the task over any stream: `write` gets the slices. `Ok(false)`: nothing is left.
    pub(crate) fn write_round(&self, write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<bool> {
        let mut state = self.write.lock();
        state.fill(self);
        if state.pieces.is_empty() {
            state.rest();
            return Ok(false);
        }
        state.attempt(write).map(|()| true)
    }

    /// Whether something was sent since this was last asked.
    pub(crate) fn take_wrote(&self) -> bool {
        std::mem::take(&mut self.write.lock().wrote)
    }

    /// The socket takes bytes again.
    pub(crate) fn unblock(&self) {
        self.write.lock().blocked = false;
    }

    pub(crate) fn blocked(&self) -> bool {
        self.write.lock().blocked
    }

    /// So many replies wait that the peer, who does not read them, is not read either.
    pub(crate) fn congested(&self) -> bool {
        let write = self.write.lock();
        write.replies.len() >= MAX_REPLIES.0 || write.reply_bytes >= MAX_REPLIES.1
    }

    pub(crate) fn dead(&self) -> bool {
        self.write.lock().dead
    }

    /// Ends it: nothing more is sent. The deliveries that were taken and not wholly sent; those of former sessions go
    /// back to them.
    pub(crate) fn finish(&self) -> Vec<Arc<Delivery>> {
        let mut write = self.write.lock();
        write.dead = true;
        self.wake.notify_one();
        let pieces = std::mem::take(&mut write.pieces);
        let replies = std::mem::take(&mut write.replies);
        write.leave(self, pieces.into_iter().chain(replies))
    }

    /// Carries nobody from now on. The deliveries that were taken and not sent; of one that is half sent the rest still
    /// goes out, as a frame must be whole.
    pub(crate) fn retract(&self) -> Vec<Arc<Delivery>> {
        let mut write = self.write.lock();
        let pieces = std::mem::take(&mut write.pieces);
        let (frames, unsent): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut write.replies).into_iter().partition(|piece| matches!(piece, Piece::Frame(_)));
        write.reply_bytes = frames.iter().map(|piece| piece.bytes().len()).sum();
        write.replies = frames;
        let mut taken = Vec::new();
        for (n, piece) in pieces.into_iter().enumerate() {
            if (n == 0 && write.sent > 0) || matches!(piece, Piece::Frame(_)) {
                write.pieces.push_back(Piece::Frame(piece.bytes().clone()));
            }
            taken.push(piece); // also the half: its peer may not look at it any more
        }
        write.leave(self, taken.into_iter().chain(unsent))
    }

    pub(crate) fn control(&self) -> parking_lot::MutexGuard<'_, Control> {
        self.control.lock()
    }

    /// The session that it carries has ended.
    pub(crate) fn session_ended(&self, key: u64, reason: EndReason) {
        self.control.lock().ended.push((key, reason));
        self.wake.notify_one();
    }

    /// A newer connect elsewhere ended the one held here: it gets no reply.
    pub(crate) fn forget_held(&self) {
        self.control.lock().held = None;
    }

    /// The hold of that ticket has ended: its connect is to be answered.
    pub(crate) fn release(&self, ticket: Ticket) {
        self.control.lock().release = Some(ticket);
        self.wake.notify_one();
    }

    pub(crate) fn drain(&self) {
        self.control.lock().draining = true;
        self.wake.notify_one();
    }
}
