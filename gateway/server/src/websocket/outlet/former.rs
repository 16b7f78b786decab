//! The sessions that a socket had before the one it has now. A client that handshakes again on its socket leaves one
//! behind, with its subscriptions; CometD goes on writing its messages to the socket until it expires.

use super::Outlet;
use super::write::{DELIVERIES, Piece, Write};
use crate::session::LiveSession;
use bayeux::delivery::Delivery;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many there may be: an older one is written to no more.
const MAX: usize = 8;

/// Sessions, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Formers(VecDeque<Arc<LiveSession>>);

impl Outlet {
    /// The session that it carries is to give its place to another, and is written to until it ends. The one that had to
    /// go, if there were too many.
    pub(crate) fn keep_former(&self, session: Arc<LiveSession>) -> Option<Arc<LiveSession>> {
        let mut write = self.write.lock();
        let Write { pieces, replies, formers, .. } = &mut *write;
        for piece in pieces.iter_mut().chain(replies) {
            match piece {
                Piece::Delivery(delivery, frame) => {
                    *piece = Piece::bundle(Some(Arc::clone(&session)), &[Arc::clone(delivery)], std::mem::take(frame));
                }
                Piece::Bundle(bundle) => {
                    bundle.former.get_or_insert_with(|| Arc::clone(&session));
                }
                Piece::Frame(_) => {}
            }
        }
        let Formers(formers) = &mut **formers.get_or_insert_default();
        formers.push_back(session);
        if formers.len() > MAX { formers.pop_front() } else { None }
    }

    /// That session is written to here no more. What was taken from it and not sent; `None` when it was none of the
    /// former ones.
    pub(crate) fn forget_former(&self, key: u64) -> Option<Vec<Arc<Delivery>>> {
        let mut write = self.write.lock();
        let Formers(formers) = &mut **write.formers.as_mut()?;
        let at = formers.iter().position(|former| former.key() == key)?;
        formers.remove(at);
        if formers.is_empty() {
            write.formers = None;
        }
        Some(write.take_back(key))
    }

    /// The same of one that had to go ([`Outlet::keep_former`]).
    pub(crate) fn take_back(&self, key: u64) -> Vec<Arc<Delivery>> {
        self.write.lock().take_back(key)
    }
}

impl Write {
    /// Takes a former session's messages out of the line; of one that is half sent the rest still goes out.
    fn take_back(&mut self, key: u64) -> Vec<Arc<Delivery>> {
        let mut unsent = Vec::new();
        let mut half = self.sent > 0;
        for line in [&mut self.pieces, &mut self.replies] {
            for piece in std::mem::take(line) {
                match piece {
                    Piece::Bundle(bundle) if bundle.former.as_ref().is_some_and(|of| of.key() == key) => {
                        unsent.extend(bundle.deliveries.iter().cloned());
                        if half {
                            line.push_back(Piece::Frame(Piece::Bundle(bundle).bytes().clone()));
                        }
                    }
                    other => line.push_back(other),
                }
                half = false;
            }
            half = false;
        }
        self.reply_bytes = self.replies.iter().map(|piece| piece.bytes().len()).sum();
        unsent
    }

    /// Takes what waits for the former sessions.
    pub(super) fn fill_from_formers(&mut self, outlet: &Outlet) {
        for session in self.formers.iter().flat_map(|formers| formers.0.iter()) {
            let room = DELIVERIES.saturating_sub(self.pieces.len());
            let mut taken = Vec::new();
            session.take_for(outlet, room, |delivery| taken.push(delivery));
            for some in taken.chunks(outlet.per_frame(taken.len())) {
                self.pieces.push_back(Piece::bundle(Some(Arc::clone(session)), some, outlet.bundled(some)));
            }
        }
    }

    /// No session is carried any more. Of what was not sent the former ones get back what is theirs, the present one's is
    /// returned.
    pub(super) fn leave(&mut self, outlet: &Outlet, unsent: impl Iterator<Item = Piece>) -> Vec<Arc<Delivery>> {
        self.session = None;
        let mut present = Vec::new();
        let mut theirs: Vec<(u64, Vec<Arc<Delivery>>)> = Vec::new();
        for piece in unsent {
            match piece {
                Piece::Delivery(delivery, _) => present.push(delivery),
                Piece::Bundle(bundle) => match bundle.former {
                    None => present.extend(bundle.deliveries),
                    Some(of) => theirs.push((of.key(), bundle.deliveries)),
                },
                Piece::Frame(_) => {}
            }
        }
        for session in self.formers.take().into_iter().flat_map(|formers| formers.0) {
            let own = theirs.iter().filter(|(key, _)| *key == session.key());
            session.detach(outlet, None, own.flat_map(|(_, deliveries)| deliveries.iter().cloned()).collect());
        }
        present
    }
}
