//! The sending side of a WebSocket, shared by the connection's task and the flusher.
//!
//! Lock order: `write`, then a session's own lock. So what a session calls while it holds its lock ([`Outlet::mark`],
//! [`Outlet::session_ended`], [`Outlet::forget_held`], [`Outlet::drain`]) touches `control` only.

mod piece;

use super::{deflate, frame};
use crate::session::LiveSession;
use bayeux::delivery::{Delivery, Framing};
use bayeux::reply::Reply;
use bayeux::session::{EndReason, Ticket};
use bytes::Bytes;
use parking_lot::Mutex;
use piece::Piece;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Frames in one vectored write.
const BATCH: usize = 64;
/// Of those, at most so many deliveries before waiting replies get their turn.
const DELIVERIES: usize = 48;

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
    /// Which session (its key) has ended, and why.
    pub(crate) ended: Option<(u64, EndReason)>,
    pub(crate) draining: bool,
    /// The connect of this ticket is to be answered: messages wait that need its reply to go out.
    pub(crate) release: Option<Ticket>,
}

#[derive(Debug, Default)]
struct Write {
    session: Option<Arc<LiveSession>>,
    replies: VecDeque<Bytes>,
    reply_bytes: usize,
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are sent.
    sent: usize,
    /// Something was sent since it was last asked.
    wrote: bool,
    /// The socket takes no more until it is writable.
    blocked: bool,
    /// The close frame is in line: nothing may follow it.
    closing: bool,
    dead: bool,
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

    /// Queues deliveries in front of the reply that they go out with.
    pub(crate) fn push_deliveries(&self, deliveries: &[Arc<Delivery>]) {
        for some in deliveries.chunks(self.per_frame(deliveries.len())) {
            self.push(self.bundled(some));
        }
    }

    /// An envelope for this peer alone, in one frame.
    pub(crate) fn text_frame(&self, json: &[u8]) -> Bytes {
        if self.compresses { deflate::text_frame(json) } else { frame::text_frame(json) }
    }

    /// Queues a finished frame (replies, pong, close); [`Outlet::flush`] sends it.
    pub(crate) fn push(&self, frame: Bytes) {
        let mut write = self.write.lock();
        if !write.closing {
            write.reply_bytes += frame.len();
            write.replies.push_back(frame);
        }
    }

    /// Queues the close frame: nothing is sent after it, and what waits for the session stays there.
    pub(crate) fn push_close(&self, frame: Bytes) {
        let mut write = self.write.lock();
        if !write.closing {
            write.closing = true;
            write.reply_bytes += frame.len();
            write.replies.push_back(frame);
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
            match write.attempt(|slices| stream.try_write_vectored(slices)) {
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

    /// Ends it: nothing more is sent. The deliveries that were taken and not wholly sent.
    pub(crate) fn finish(&self) -> Vec<Arc<Delivery>> {
        let mut write = self.write.lock();
        write.dead = true;
        write.session = None;
        self.wake.notify_one();
        write.pieces.drain(..).flat_map(Piece::deliveries).collect()
    }

    /// Carries nobody from now on. The deliveries that were taken and not sent; of one that is half sent the rest still
    /// goes out, as a frame must be whole.
    pub(crate) fn retract(&self) -> Vec<Arc<Delivery>> {
        let mut write = self.write.lock();
        write.session = None;
        let half = (write.sent > 0).then(|| write.pieces.pop_front()).flatten();
        let mut unsent = Vec::new();
        let pieces = std::mem::take(&mut write.pieces);
        write.pieces.extend(half.iter().map(|piece| Piece::Frame(piece.bytes().clone())));
        unsent.extend(half.into_iter().flat_map(Piece::deliveries)); // its peer may not look at it any more
        for piece in pieces {
            match piece {
                Piece::Frame(frame) => write.pieces.push_back(Piece::Frame(frame)),
                other => unsent.extend(other.deliveries()),
            }
        }
        unsent
    }

    pub(crate) fn control(&self) -> parking_lot::MutexGuard<'_, Control> {
        self.control.lock()
    }

    /// The session that it carries has ended.
    pub(crate) fn session_ended(&self, key: u64, reason: EndReason) {
        self.control.lock().ended = Some((key, reason));
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

impl Write {
    /// Tops the pieces up from the session's queue and the replies. Deliveries come first, as in CometD, but replies
    /// get into every round.
    fn fill(&mut self, outlet: &Outlet) {
        let room = DELIVERIES.saturating_sub(self.pieces.len());
        if room > 0
            && !self.closing
            && let Some(session) = &self.session
            && outlet.per_frame != 1
        {
            let max = if outlet.per_frame == 0 { usize::MAX } else { room * usize::from(outlet.per_frame) };
            let mut waiting = Vec::new();
            session.take_for(outlet, max, |delivery| waiting.push(delivery));
            let frames = waiting.chunks(outlet.per_frame(waiting.len()));
            self.pieces.extend(frames.map(|some| Piece::Bundle(Box::new((some.to_vec(), outlet.bundled(some))))));
        } else if room > 0
            && !self.closing
            && let Some(session) = &self.session
        {
            let (taken, pieces) = (self.pieces.len(), &mut self.pieces);
            session.take_for(outlet, room, |delivery| pieces.push_back(Piece::Delivery(delivery, Bytes::new())));
            // Making a frame may take its time: not while the session is locked.
            for piece in pieces.iter_mut().skip(taken) {
                if let Piece::Delivery(delivery, frame) = piece {
                    *frame = outlet.framed(delivery);
                }
            }
        }
        while self.pieces.len() < BATCH {
            match self.replies.pop_front() {
                Some(frame) => {
                    self.reply_bytes -= frame.len();
                    self.pieces.push_back(Piece::Frame(frame));
                }
                None => break,
            }
        }
    }

    fn attempt(&mut self, write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
        let written = if self.pieces.len() == 1 {
            write(&[IoSlice::new(&self.pieces[0].bytes()[self.sent..])])?
        } else {
            let mut slices = [IoSlice::new(&[]); BATCH];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                let from = if count == 0 { self.sent } else { 0 };
                *slice = IoSlice::new(&piece.bytes()[from..]);
                count += 1;
            }
            write(&slices[..count])?
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.wrote = true;
        self.advance(written);
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front() {
            let left = piece.bytes().len() - self.sent;
            if written < left {
                self.sent += written;
                return;
            }
            written -= left;
            self.sent = 0;
            self.pieces.pop_front();
        }
    }

    /// An idle socket keeps next to no buffers.
    fn rest(&mut self) {
        if self.pieces.capacity() > 4 {
            self.pieces = VecDeque::new();
        }
        if self.replies.capacity() > 4 {
            self.replies = VecDeque::new();
        }
    }
}
