//! What waits to be written, frame by frame.

use bayeux::delivery::Delivery;
use bytes::Bytes;
use std::sync::Arc;

/// One frame.
#[derive(Debug)]
pub(super) enum Piece {
    Delivery(Arc<Delivery>, Bytes),
    /// Several in one frame. In a box: few have it, and all pieces are as large as the largest.
    Bundle(Box<(Vec<Arc<Delivery>>, Bytes)>),
    Frame(Bytes),
}

impl Piece {
    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Piece::Delivery(_, bytes) | Piece::Frame(bytes) => bytes,
            Piece::Bundle(bundle) => &bundle.1,
        }
    }

    /// What it delivers.
    pub(super) fn deliveries(self) -> Vec<Arc<Delivery>> {
        match self {
            Piece::Delivery(delivery, _) => vec![delivery],
            Piece::Bundle(bundle) => bundle.0,
            Piece::Frame(_) => Vec::new(),
        }
    }
}
