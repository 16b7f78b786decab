use crate::inflow::{Arrival, Inflow, Ticket};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use std::sync::Arc;

fn message(pkid: u16, payload: &str, dup: bool) -> Publish {
    let mut publish = Publish::new("a/b", QoS::AtLeastOnce, payload.to_owned(), None);
    publish.pkid = pkid;
    publish.dup = dup;
    publish
}

fn connected() -> Inflow {
    let mut inflow = Inflow::new(8, Arc::default());
    inflow.connected(false);
    inflow
}

fn handed_out(arrival: Arrival) -> Arc<Ticket> {
    match arrival {
        Arrival::New(ticket) => ticket,
        Arrival::Again => panic!("taken for a resend"),
    }
}

#[test]
fn a_message_is_acknowledged_when_its_last_reader_has_it() {
    let mut inflow = connected();
    let ticket = handed_out(inflow.arrived(&message(1, "x", false)));
    let other = Arc::clone(&ticket);
    drop(ticket);
    assert_eq!(inflow.next(), None);
    drop(other);
    assert_eq!(inflow.next(), Some(1));
    assert_eq!(inflow.next(), None);
}

#[test]
fn a_resend_of_what_a_slow_reader_still_waits_for_is_not_handed_out_again() {
    let mut inflow = connected();
    let ticket = handed_out(inflow.arrived(&message(1, "x", false)));
    inflow.connected(true);
    assert!(matches!(inflow.arrived(&message(1, "x", true)), Arrival::Again));
    assert_eq!(inflow.next(), None);
    drop(ticket);
    assert_eq!(inflow.next(), Some(1));
}

#[test]
fn an_acknowledgement_waits_until_the_new_connection_has_carried_its_message() {
    let mut inflow = connected();
    let ticket = handed_out(inflow.arrived(&message(1, "x", false)));
    inflow.connected(true);
    drop(ticket);
    assert_eq!(inflow.next(), None);
    assert!(matches!(inflow.arrived(&message(1, "x", true)), Arrival::Again));
    assert_eq!(inflow.next(), Some(1));
}

#[test]
fn a_resend_whose_acknowledgement_got_lost_is_acknowledged_again_and_not_handed_out() {
    let mut inflow = connected();
    drop(handed_out(inflow.arrived(&message(1, "x", false))));
    assert_eq!(inflow.next(), Some(1));
    inflow.written(1);
    inflow.connected(true);
    assert!(matches!(inflow.arrived(&message(1, "x", true)), Arrival::Again));
    assert_eq!(inflow.next(), Some(1));
}

#[test]
fn another_message_under_a_used_id_is_new() {
    let mut inflow = connected();
    drop(handed_out(inflow.arrived(&message(1, "x", false))));
    assert_eq!(inflow.next(), Some(1));
    inflow.written(1);
    inflow.connected(true);
    drop(handed_out(inflow.arrived(&message(1, "y", true))));
    assert_eq!(inflow.next(), Some(1));
}

#[test]
fn what_a_ping_proves_to_have_arrived_is_no_resend() {
    let mut inflow = connected();
    for id in [1, 2] {
        drop(handed_out(inflow.arrived(&message(id, "x", false))));
        assert_eq!(inflow.next(), Some(id));
        inflow.written(id);
        if id == 1 {
            inflow.pinged();
        }
    }
    inflow.ponged();
    inflow.connected(true);
    handed_out(inflow.arrived(&message(1, "x", true)));
    assert!(matches!(inflow.arrived(&message(2, "x", true)), Arrival::Again));
}

#[test]
fn a_lost_session_voids_its_ids() {
    let mut inflow = connected();
    let old = handed_out(inflow.arrived(&message(1, "x", false)));
    inflow.connected(false);
    let new = handed_out(inflow.arrived(&message(1, "x", false)));
    drop(old);
    assert_eq!(inflow.next(), None, "the old message has nothing to do with the new one of that id");
    drop(new);
    assert_eq!(inflow.next(), Some(1));
}
