//! Laws over generated streams: what a client sent comes out, however it was cut into fragments and reads.

use super::frame::{Event, Limits};
use super::property::{check, decode_in_pieces};
use super::{masked_frame, text};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

const ROOMY: Limits = Limits { max_message_size: 1 << 20, rsv1_allowed: false };

/// A message with the places where its sender cut it, and pings between the fragments.
#[derive(Clone, Debug)]
struct Sent {
    event: Event,
    cuts: Vec<usize>,
    ping: Option<Vec<u8>>,
    mask: [u8; 4],
}

fn sent() -> impl Strategy<Value = Sent> {
    let event = prop_oneof![
        10 => ".{0,40}".prop_map(|said| text(&said)),
        10 => "[a-zäß€😀]{100,400}".prop_map(|said| text(&said)),
        10 => vec(any::<u8>(), 0..300).prop_map(|bytes| Event::Binary(Bytes::from(bytes))),
        1 => (any::<u8>(), 65_530..65_540usize).prop_map(|(byte, len)| Event::Binary(Bytes::from(vec![byte; len]))),
    ];
    let ping = proptest::option::of(vec(any::<u8>(), 0..=125));
    (event, vec(any::<prop::sample::Index>(), 0..5), ping, any::<[u8; 4]>()).prop_map(|(event, cuts, ping, mask)| {
        let len = payload(&event).1.len();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
        cuts.sort_unstable();
        Sent { event, cuts, ping, mask }
    })
}

fn payload(event: &Event) -> (u8, &[u8]) {
    match event {
        Event::Text(said) => (0x1, said.as_bytes()),
        Event::Binary(bytes) => (0x2, bytes),
        other => unreachable!("not sent: {other:?}"),
    }
}

/// The frames of a message, and the events that they are to give.
fn play(sent: &Sent) -> (Vec<u8>, Vec<Event>) {
    let (mut opcode, payload) = payload(&sent.event);
    let (mut stream, mut events, mut from) = (Vec::new(), Vec::new(), 0);
    for &cut in &sent.cuts {
        stream.extend(masked_frame(opcode, &payload[from..cut], sent.mask));
        (opcode, from) = (0, cut);
        if let Some(ping) = &sent.ping {
            stream.extend(masked_frame(0x89, ping, sent.mask));
            events.push(Event::Ping(Bytes::from(ping.clone())));
        }
    }
    stream.extend(masked_frame(0x80 | opcode, &payload[from..], sent.mask));
    events.push(sent.event.clone());
    (stream, events)
}

proptest! {
    #[test]
    fn what_was_sent_comes_out_whatever_the_fragments_and_reads(
        messages in vec(sent(), 1..6), piece in prop_oneof![Just(1), 1..200usize, Just(usize::MAX)],
    ) {
        let (streams, events): (Vec<_>, Vec<_>) = messages.iter().map(play).unzip();
        prop_assert_eq!(decode_in_pieces(ROOMY, &streams.concat(), piece), (events.concat(), None));
    }

    #[test]
    fn a_message_over_the_limit_is_refused_however_it_is_fragmented(message in sent(), below in 1..100usize) {
        let len = payload(&message.event).1.len();
        prop_assume!(len >= below);
        let limits = Limits { max_message_size: len - below, rsv1_allowed: false };
        let (events, violation) = decode_in_pieces(limits, &play(&message).0, usize::MAX);
        prop_assert!(!events.contains(&message.event));
        prop_assert_eq!(violation.map(|violation| violation.code), Some(1009));
    }

    #[test]
    fn any_bytes_at_all_keep_the_property(input in vec(any::<u8>(), 0..400)) {
        check(&input);
    }

    #[test]
    fn any_bytes_behind_a_good_header_keep_the_property(
        choice: u8, piece: u8, frames in vec((any::<u8>(), vec(any::<u8>(), 0..140)), 1..8),
    ) {
        let frames = frames.iter().flat_map(|(first, payload)| masked_frame(first & 0x8F, payload, [1, 2, 3, 4]));
        check(&[choice, piece].into_iter().chain(frames).collect::<Vec<u8>>());
    }
}
