//! What comes from a client: the RFC's examples, and every rule that can be broken.

use super::*;
use bytes::Bytes;

#[test]
fn the_masked_hello_of_the_rfc() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode_all(LIMITS, &hello), (vec![text("Hello")], None));
}

#[test]
fn an_unmasked_hello_is_refused() {
    assert_eq!(violation(b"\x81\x05Hello").reason, "frame from a client is not masked");
}

#[test]
fn a_message_in_one_frame_is_a_piece_of_the_buffer_it_came_in() {
    let mut buf = BytesMut::from(&client_frame(0x81, b"no copy is made of this")[..]);
    let payload = buf[6..].as_ptr();
    let event = Decoder::new(LIMITS).decode(&mut buf).unwrap();
    let Some(Event::Text(said)) = event else { panic!("{event:?}") };
    assert_eq!(said, "no copy is made of this");
    assert_eq!(said.as_bytes().as_ptr(), payload);
}

#[test]
fn an_idle_decoder_is_a_few_words_and_keeps_no_bytes() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
    let mut decoder = Decoder::new(LIMITS);
    let mut buf = BytesMut::from(&[client_frame(0x01, b"in two "), client_frame(0x80, b"pieces")].concat()[..]);
    assert_eq!(decoder.decode(&mut buf), Ok(Some(text("in two pieces"))));
    assert_eq!((decoder.held(), buf.len()), (0, 0));
}

#[test]
fn every_length_form_is_read_even_a_longer_one_than_needed() {
    for len in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let limits = Limits { max_message_size: 70_000, rsv1_allowed: false };
        let read = decode_all(limits, &client_frame(0x82, &payload));
        assert_eq!(read, (vec![Event::Binary(Bytes::from(payload))], None), "{len} bytes");
    }
    let one_byte_with_a_long_length = [0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b'x'];
    assert_eq!(decode_all(LIMITS, &one_byte_with_a_long_length).0, [Event::Binary(Bytes::from_static(b"x"))]);
}

#[test]
fn control_frames_may_come_between_the_fragments_of_a_message() {
    let stream = [
        client_frame(0x01, b"Hel"),
        client_frame(0x89, b"are you there"),
        client_frame(0x00, b""),
        client_frame(0x8A, b"as you asked"),
        client_frame(0x80, b"lo"),
    ]
    .concat();
    let ping = Event::Ping(Bytes::from_static(b"are you there"));
    let pong = Event::Pong(Bytes::from_static(b"as you asked"));
    assert_eq!(decode_all(LIMITS, &stream), (vec![ping, pong, text("Hello")], None));
}

#[test]
fn a_close_between_fragments_ends_it_and_what_follows_is_dropped() {
    let stream = [client_frame(0x01, b"Hel"), client_frame(0x88, b""), client_frame(0x80, b"lo")].concat();
    assert_eq!(decode_all(LIMITS, &stream), (vec![Event::Close(None)], None));
}

#[test]
fn a_close_tells_its_code_and_reason() {
    let close = |code: u16, reason: &str| client_frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat());
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        let said = Event::Close(Some((code, "bye ✋".into())));
        assert_eq!(decode_all(LIMITS, &close(code, "bye ✋")), (vec![said], None));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let broken = violation(&close(code, ""));
        assert_eq!((broken.code, broken.reason), (1002, "close code is not allowed on the wire"), "{code}");
    }
    assert_eq!(violation(&client_frame(0x88, b"\x03")).reason, "close code is cut");
    assert_eq!(violation(&client_frame(0x88, b"\x03\xE8\xFF")).code, 1007);
}

#[test]
fn reserved_opcodes_and_bits_are_refused() {
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        assert_eq!(violation(&client_frame(0x80 | opcode, b"")), Violation { code: 1002, reason: "reserved opcode" });
    }
    for bit in [0x10, 0x20, 0x40] {
        for opcode in [0x1, 0x2, 0x8, 0x9, 0xA] {
            assert_eq!(violation(&client_frame(0x80 | bit | opcode, b"")).reason, "reserved bit is set");
        }
    }
}

#[test]
fn a_compressed_message_is_taken_only_if_that_was_negotiated() {
    let limits = Limits { rsv1_allowed: true, ..LIMITS };
    let deflated = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let compressed = |text| Event::Compressed { text, payload: Bytes::from_static(deflated) };
    assert_eq!(decode_all(limits, &client_frame(0xC1, deflated)), (vec![compressed(true)], None));
    let fragments = [client_frame(0x42, &deflated[..3]), client_frame(0x80, &deflated[3..])].concat();
    assert_eq!(decode_all(limits, &fragments), (vec![compressed(false)], None));
    for first in [0xC8, 0xC9, 0xCA] {
        let (_, broken) = decode_all(limits, &client_frame(first, b""));
        assert_eq!(broken.unwrap().reason, "reserved bit is set", "control frames are never compressed");
    }
    let marked_twice = [client_frame(0x41, &deflated[..3]), client_frame(0xC0, &deflated[3..])].concat();
    assert_eq!(decode_all(limits, &marked_twice).1.unwrap().reason, "reserved bit is set");
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [0x8, 0x9, 0xA] {
        assert_eq!(violation(&client_frame(opcode, b"")).reason, "control frame is fragmented");
        assert_eq!(violation(&client_frame(0x80 | opcode, &[0; 126])).reason, "control frame is too long");
        assert_eq!(violation(&client_frame(0x80 | opcode, &[0; 126])).code, 1002);
    }
    assert_eq!(decode_all(LIMITS, &client_frame(0x89, &[7; 125])).0, [Event::Ping(Bytes::from_static(&[7; 125]))]);
}

#[test]
fn fragments_come_in_order() {
    assert_eq!(violation(&client_frame(0x80, b"x")).reason, "continuation without a message");
    for second in [0x01, 0x81, 0x02, 0x82] {
        let stream = [client_frame(0x01, b"x"), client_frame(second, b"y")].concat();
        let broken = violation(&stream);
        assert_eq!((broken.code, broken.reason), (1002, "new message inside a fragmented one"));
    }
    let (events, broken) = decode_all(LIMITS, &[client_frame(0x81, b"x"), client_frame(0x80, b"y")].concat());
    assert_eq!(events, [text("x")], "what came before a violation counts");
    assert_eq!(broken.unwrap().reason, "continuation without a message");
}

#[test]
fn a_length_with_its_highest_bit_set_is_refused() {
    let frame = [0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(violation(&frame).reason, "frame length has its highest bit set");
}

#[test]
fn a_message_that_is_too_long_is_refused_before_it_has_come() {
    let announced = |len: u16| [&[0x81, 0xFE][..], &len.to_be_bytes()].concat();
    assert_eq!(violation(&announced(1001)), Violation { code: 1009, reason: "message is too long" });
    assert_eq!(decode_all(LIMITS, &announced(1000)), (vec![], None));
    assert_eq!(violation(&[0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]).code, 1009);

    let last = |len: u16| [&[0x80, 0xFE][..], &len.to_be_bytes()].concat();
    let begun = [client_frame(0x01, &[b'x'; 500]), client_frame(0x00, &[b'x'; 300])].concat();
    assert_eq!(violation(&[&begun[..], &last(201)].concat()).code, 1009);
    assert_eq!(
        decode_all(LIMITS, &[&begun[..], &client_frame(0x80, &[b'x'; 200])].concat()).0,
        [text(&"x".repeat(1000))]
    );
}

#[test]
fn a_character_may_be_cut_by_fragments_and_comes_out_whole() {
    let said = "κόσμε 😀";
    for cut in 0..=said.len() {
        for second in cut..=said.len() {
            let bytes = said.as_bytes();
            let stream = [
                client_frame(0x01, &bytes[..cut]),
                client_frame(0x00, &bytes[cut..second]),
                client_frame(0x80, &bytes[second..]),
            ];
            assert_eq!(decode_all(LIMITS, &stream.concat()), (vec![text(said)], None), "cut at {cut} and {second}");
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_with_1007() {
    for wrong in [&b"\xC0\xAF"[..], b"ok \xED\xA0\x80", b"\xF4\x90\x80\x80", b"\xFF", b"cut \xE2\x82"] {
        assert_eq!(violation(&client_frame(0x81, wrong)), Violation { code: 1007, reason: "text is not UTF-8" });
        assert_eq!(decode_all(LIMITS, &client_frame(0x82, wrong)).1, None, "as binary it may be anything");
    }
    let cut_for_good = [client_frame(0x01, b"\xE2\x82"), client_frame(0x80, b"")].concat();
    assert_eq!(violation(&cut_for_good).code, 1007);
    let hopeless_from_the_first_fragment = [client_frame(0x01, b"\xE2\x82"), client_frame(0x00, b"\x20")].concat();
    assert_eq!(violation(&hopeless_from_the_first_fragment).code, 1007, "the last fragment is not waited for");
}

#[test]
fn after_a_violation_everything_that_comes_is_dropped() {
    let mut decoder = Decoder::new(LIMITS);
    let mut buf = BytesMut::from(&client_frame(0x83, b"")[..]);
    assert!(decoder.decode(&mut buf).is_err());
    buf.extend_from_slice(&client_frame(0x81, b"too late"));
    assert_eq!(decoder.decode(&mut buf), Ok(None));
    assert!(buf.is_empty());
}
