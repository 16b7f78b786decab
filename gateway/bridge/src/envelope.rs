//! What deliveries are wrapped in.

use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Data in the form of Salesforce's platform events: `{event: {replayId, createdDate}, payload}`. `position` is JSON;
/// `created` in milliseconds since 1970 UTC.
pub(crate) fn salesforce(data: &Bytes, position: &str, created: Option<i64>) -> Bytes {
    let created = created
        .and_then(|millis| OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .map_or_else(|| "null".to_owned(), |time| format!("\"{time}\""));
    let mut out =
        format!("{{\"event\":{{\"replayId\":{position},\"createdDate\":{created}}},\"payload\":").into_bytes();
    out.extend_from_slice(data);
    out.push(b'}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_verbatim_beside_its_position_and_time() {
        let wrapped = salesforce(&Bytes::from_static(b"{\"x\" : 1.0}"), "55", Some(1_459_278_568_305));
        assert_eq!(
            wrapped,
            r#"{"event":{"replayId":55,"createdDate":"2016-03-29T19:09:28.305Z"},"payload":{"x" : 1.0}}"#
        );
        assert_eq!(salesforce(&"1".into(), "1", None), r#"{"event":{"replayId":1,"createdDate":null},"payload":1}"#);
    }
}
