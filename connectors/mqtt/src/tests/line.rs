use crate::publish::{Entry, Line, Place};
use bytes::Bytes;
use connector::{Outbound, PublishError};
use std::time::{Duration, Instant};

fn record(topic: &str, within: Duration) -> Outbound {
    Outbound {
        topic: topic.into(),
        key: None,
        partition: None,
        payload: Some(Bytes::from_static(b"{}")),
        headers: Vec::new(),
        deadline: Instant::now() + within,
    }
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(20);

fn push(line: &Line, topic: &str, within: Duration) -> Place {
    line.push(record(topic, within)).unwrap_or_else(|e| panic!("{e:?}"))
}

fn topics(line: &Line) -> Vec<String> {
    std::iter::from_fn(|| line.next(usize::MAX)).map(|entry| entry.topic.to_string()).collect()
}

#[tokio::test]
async fn what_was_never_sent_is_surely_not_stored_and_what_was_sent_is_unknown() {
    let line = Line::new(10, 10_000);
    let waits = push(&line, "waits", SHORT);
    let answer = line.answer(waits).await;
    assert!(matches!(answer, Err(PublishError::Unavailable(_))), "{answer:?}");
    assert!(line.next(usize::MAX).is_none(), "a withdrawn record would still be sent");

    let sent = push(&line, "sent", SHORT);
    let taken = line.next(usize::MAX);
    let answer = line.answer(sent).await;
    assert!(matches!(answer, Err(PublishError::OutcomeUnknown(_))), "{answer:?}");
    drop(taken);

    let broke = push(&line, "broke", SHORT);
    line.put_back(line.next(usize::MAX).into_iter().collect());
    let answer = line.answer(broke).await;
    assert!(matches!(answer, Err(PublishError::OutcomeUnknown(_))), "{answer:?}");
    assert!(line.is_empty());
}

#[tokio::test]
async fn after_a_broken_connection_records_go_out_again_first_and_in_order() {
    let line = Line::new(10, 10_000);
    let places: Vec<_> = ["1", "2", "3", "4", "5"].map(|t| push(&line, t, LONG)).into_iter().collect();
    let mut taken: Vec<Entry> = (0..3).filter_map(|_| line.next(usize::MAX)).collect();
    taken.reverse(); // whatever order the link keeps them in
    line.put_back(taken);
    assert_eq!(topics(&line), ["1", "2", "3", "4", "5"]);
    drop(places);
}

#[tokio::test]
async fn the_line_is_bounded_in_records_and_bytes_and_a_finished_record_makes_room() {
    let line = Line::new(2, 10_000);
    let _first = push(&line, "a", LONG);
    let _second = push(&line, "b", LONG);
    assert!(matches!(line.push(record("c", LONG)), Err(PublishError::Overloaded(_))));
    line.next(usize::MAX).into_iter().for_each(|entry| entry.finish(Ok(None)));
    let _third = push(&line, "c", LONG);

    let line = Line::new(1000, 100);
    let mut large = record("a", LONG);
    large.payload = Some(Bytes::from(vec![b'x'; 90]));
    let _one = line.push(large.clone());
    assert!(matches!(line.push(large.clone()), Err(PublishError::Overloaded(_))));
    drop(line.next(usize::MAX));
    large.payload = Some(Bytes::from(vec![b'x'; 500]));
    assert!(line.push(large).is_ok(), "one large record may pass alone");
}

#[tokio::test]
async fn records_whose_publishers_left_do_not_fill_the_line_for_ever() {
    let line = Line::new(2, 10_000);
    drop(push(&line, "a", SHORT));
    drop(push(&line, "b", SHORT));
    // Refused while they last, and also right after: that search goes through the whole line and has its pace.
    let begun = Instant::now();
    let _third = loop {
        match line.push(record("c", LONG)) {
            Ok(place) => break place,
            Err(error) => assert!(matches!(error, PublishError::Overloaded(_)), "{error:?}"),
        }
        assert!(begun.elapsed() < LONG / 10, "no room was ever made");
        tokio::time::sleep(SHORT).await;
    };
    assert_eq!(topics(&line), ["c"]);
}

#[tokio::test]
async fn a_record_larger_than_the_broker_takes_is_refused_and_the_next_one_goes() {
    let line = Line::new(10, 100_000);
    let mut large = record("large", LONG);
    large.payload = Some(Bytes::from(vec![b'x'; 5_000]));
    let large = line.push(large).unwrap_or_else(|e| panic!("{e:?}"));
    let _small = push(&line, "small", LONG);
    assert_eq!(line.next(1_000).map(|entry| entry.topic.to_string()).as_deref(), Some("small"));
    let answer = line.answer(large).await;
    assert!(matches!(answer, Err(PublishError::TooLarge(_))), "{answer:?}");
}

#[tokio::test]
async fn a_closed_line_takes_nothing_and_answers_all() {
    let line = Line::new(10, 10_000);
    let waits = push(&line, "a", LONG);
    line.close();
    assert!(matches!(line.push(record("b", LONG)), Err(PublishError::Unavailable(_))));
    line.clear("the connector is closed");
    assert!(matches!(line.answer(waits).await, Err(PublishError::Unavailable(_))));
}

#[test]
fn headers_that_are_no_mqtt_strings_are_refused() {
    let line = Line::new(10, 10_000);
    for value in [&b"\xff"[..], b"a\0", b"a\nb", "\u{85}".as_bytes(), &[b'x'; 65_536]] {
        let mut with_header = record("a", LONG);
        with_header.headers.push(("h".into(), Bytes::copy_from_slice(value)));
        let refused = line.push(with_header).err();
        assert!(matches!(refused, Some(PublishError::Rejected(_))), "{value:?}: {refused:?}");
    }
    let mut topic = record("a/+", LONG);
    topic.headers.push(("h".into(), Bytes::from_static("grüße ☃".as_bytes())));
    assert!(matches!(line.push(topic.clone()), Err(PublishError::TopicInvalid(_))));
    topic.topic = "a/b".into();
    assert!(line.push(topic).is_ok());
}
