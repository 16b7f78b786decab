use crate::connector::Shared;
use crate::link::supervise;
use connector::{Outbound, PublishError, State};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_fault_in_the_link_is_reported_as_down_and_a_new_link_takes_over() {
    let shared = Arc::new(Shared::new(10, 10_000, 10));
    let mut health = shared.health.subscribe();
    let record = Outbound {
        topic: "a".into(),
        key: None,
        partition: None,
        payload: None,
        headers: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(600),
    };
    let taken = shared.line.push(record.clone()).unwrap_or_else(|e| panic!("{e:?}"));
    let mut runs = 0;
    let supervised = Arc::clone(&shared);
    let ended = tokio::spawn(async move {
        let run = || {
            runs += 1;
            let (first, shared) = (runs == 1, Arc::clone(&supervised));
            async move {
                shared.health.up();
                if first {
                    let _taken = shared.line.next(usize::MAX);
                    panic!("a wheel came off");
                }
                shared.nothing_to_wait_for().await;
            }
        };
        supervise(&supervised, run).await;
    });
    let down = health.wait_for(|health| health.state == State::Down).await.unwrap().clone();
    assert!(down.reason.contains("a wheel came off"), "{down:?}");
    let answer = shared.line.answer(taken).await;
    assert!(matches!(answer, Err(PublishError::OutcomeUnknown(_))), "{answer:?}");
    health.wait_for(|health| health.state == State::Up).await.unwrap();
    shared.close_by(Instant::now());
    ended.await.unwrap();
    assert_eq!(health.borrow().reason, "the connector is closed");
    assert!(matches!(shared.line.push(record), Err(PublishError::Unavailable(_))));
}
