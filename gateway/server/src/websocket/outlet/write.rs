//! What stands in line for a socket, and how it is written.

use super::Outlet;
use super::former::Formers;
use crate::session::LiveSession;
use bayeux::delivery::Delivery;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Frames in one vectored write.
const BATCH: usize = 64;
/// Of those, at most so many deliveries before waiting replies get their turn.
pub(super) const DELIVERIES: usize = 48;

/// A frame, and what it delivers.
#[derive(Debug)]
pub(super) enum Piece {
    Delivery(Arc<Delivery>, Bytes),
    /// In a box: few have it, and all pieces are as large as the largest.
    Bundle(Box<Bundle>),
    Frame(Bytes),
}

/// Deliveries in one frame.
#[derive(Debug)]
pub(super) struct Bundle {
    /// The session that was here before the present one, if they are its.
    pub(super) former: Option<Arc<LiveSession>>,
    pub(super) deliveries: Vec<Arc<Delivery>>,
    frame: Bytes,
}

impl Piece {
    pub(super) fn bundle(former: Option<Arc<LiveSession>>, deliveries: &[Arc<Delivery>], frame: Bytes) -> Self {
        Piece::Bundle(Box::new(Bundle { former, deliveries: deliveries.to_vec(), frame }))
    }

    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Piece::Delivery(_, bytes) | Piece::Frame(bytes) => bytes,
            Piece::Bundle(bundle) => &bundle.frame,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Write {
    pub(super) session: Option<Arc<LiveSession>>,
    /// Those that were here before and have not ended: they go on being written, as in CometD.
    pub(super) formers: Option<Box<Formers>>,
    pub(super) replies: VecDeque<Piece>,
    pub(super) reply_bytes: usize,
    pub(super) pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are sent.
    pub(super) sent: usize,
    /// Something was sent since it was last asked.
    pub(super) wrote: bool,
    /// The socket takes no more until it is writable.
    pub(super) blocked: bool,
    /// The close frame is in line: nothing may follow it.
    pub(super) closing: bool,
    pub(super) dead: bool,
}

impl Write {
    /// Tops the pieces up from the session's queue and the replies. Deliveries come first, as in CometD, but replies
    /// get into every round.
    pub(super) fn fill(&mut self, outlet: &Outlet) {
        if self.formers.is_some() && !self.closing {
            self.fill_from_formers(outlet);
        }
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
            self.pieces.extend(frames.map(|some| Piece::bundle(None, some, outlet.bundled(some))));
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
                Some(piece) => {
                    self.reply_bytes -= piece.bytes().len();
                    self.pieces.push_back(piece);
                }
                None => break,
            }
        }
    }

    pub(super) fn attempt(&mut self, write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
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
    pub(super) fn rest(&mut self) {
        if self.pieces.capacity() > 4 {
            self.pieces = VecDeque::new();
        }
        if self.replies.capacity() > 4 {
            self.replies = VecDeque::new();
        }
    }
}
