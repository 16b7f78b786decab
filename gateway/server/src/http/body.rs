//! Reading a request's body: bounded in size and time.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::time::Duration;

/// How much of a body that is too big is read and thrown away, so that its sender gets to read why: bytes and time.
const DISCARD: (usize, Duration) = (32 << 20, Duration::from_secs(5));

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no body.
pub(super) enum NoBody {
    TooBig,
    TooSlow,
    Broken,
}

/// The whole body, of at most `max` bytes.
pub(super) async fn read(body: Body, max: usize) -> Result<Bytes, NoBody> {
    tokio::time::timeout(BODY_TIMEOUT, read_whole(body, max)).await.unwrap_or(Err(NoBody::TooSlow))
}

async fn read_whole(mut body: Body, max: usize) -> Result<Bytes, NoBody> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(NoBody::Broken) };
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > max {
            discard(body).await;
            return Err(NoBody::TooBig);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

async fn discard(mut body: Body) {
    let (max, time) = DISCARD;
    let reading = async {
        let mut gone = 0;
        while let Some(Ok(frame)) = body.frame().await {
            gone += frame.data_ref().map_or(0, Bytes::len);
            if gone > max {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(time, reading).await;
}
