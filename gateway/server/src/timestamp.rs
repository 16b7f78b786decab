//! The timestamp extension (CometD's `TimestampExtension`).

use crate::hooks::{Extension, Flow};
use crate::session::LiveSession;
use bayeux::message::Message;
use bayeux::reply::Reply;
use bytes::Bytes;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Puts the time into everything that is sent, as a top-level `timestamp` in the form of CometD's server:
/// `Tue Nov 24 14:33:10 UTC 2026`. The specification would have ISO 8601, which no server sends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timestamp;

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("\"[weekday repr:short] [month repr:short] [day] [hour]:[minute]:[second] UTC [year]\"");

fn now() -> Option<Bytes> {
    OffsetDateTime::now_utc().format(FORMAT).ok().map(Bytes::from)
}

impl Extension for Timestamp {
    fn outgoing(&self, _: Option<&Arc<LiveSession>>, _: Option<&LiveSession>, message: &mut Message) -> Flow {
        if let Some(now) = now() {
            message.set_raw_field("timestamp", now);
        }
        Flow::Pass
    }

    fn reply(&self, _: Option<&LiveSession>, reply: &mut Reply) -> Flow {
        if let Some(now) = now() {
            reply.set_field("timestamp", now);
        }
        Flow::Pass
    }
}
