//! The way out of a reply.

use super::now_millis;
use crate::server::Server;
use crate::session::LiveSession;
use bayeux::reply::Reply;

/// To be called when replies are about to be written: the time is told, and the extensions have their say. A reply that one
/// of them vetoes is not sent.
pub(crate) fn finish_replies(server: &Server, session: Option<&LiveSession>, replies: &mut Vec<Reply>) {
    replies.iter_mut().for_each(|reply| reply.tell_time(now_millis()));
    let apart = session.filter(|session| session.is_apart());
    if !server.extensions().any() && apart.is_none() {
        return;
    }
    let extensions = server.extensions().all();
    replies.retain_mut(|reply| {
        !extensions.iter().rev().any(|(_, extension)| extension.reply(session, reply).vetoed())
            && !apart.is_some_and(|session| session.extend_reply(reply).vetoed())
    });
}
