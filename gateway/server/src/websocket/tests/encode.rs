//! The frames that a server sends.

use super::frame::{Opcode, close_code, close_frame, frame_header, message_frame, pong_frame, text_frame};

#[test]
fn the_unmasked_hello_of_the_rfc() {
    assert_eq!(&text_frame(b"Hello")[..], [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
}

#[test]
fn the_pong_of_the_rfc() {
    assert_eq!(&pong_frame(b"Hello")[..], [0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
}

#[test]
fn the_length_takes_the_shortest_of_its_three_forms() {
    let header = |len| {
        let (header, used) = frame_header(Opcode::Binary, len);
        header[..used].to_vec()
    };
    assert_eq!(header(0), [0x82, 0]);
    assert_eq!(header(125), [0x82, 125]);
    assert_eq!(header(126), [0x82, 126, 0, 126]);
    assert_eq!(header(256), [0x82, 126, 1, 0], "the RFC's 256 bytes of binary");
    assert_eq!(header(65_535), [0x82, 126, 0xFF, 0xFF]);
    assert_eq!(header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], "the RFC's 64 KiB of binary");
}

#[test]
fn a_single_message_is_framed_as_an_array_of_one() {
    let json = br#"{"channel":"/a","data":1}"#;
    assert_eq!(message_frame(json), text_frame(br#"[{"channel":"/a","data":1}]"#));
    let long = vec![b'1'; 70_000];
    assert_eq!(message_frame(&long), text_frame(&[b"[", &long[..], b"]"].concat()));
}

#[test]
fn a_close_frame_has_code_and_reason() {
    assert_eq!(&close_frame(close_code::TOO_BIG, "no")[..], [0x88, 4, 0x03, 0xF1, b'n', b'o']);
    assert_eq!(&close_frame(close_code::NORMAL, "")[..], [0x88, 2, 0x03, 0xE8]);
}

#[test]
fn a_long_reason_is_cut_between_characters_so_that_the_frame_is_legal() {
    let frame = close_frame(close_code::POLICY, &"€".repeat(50));
    assert_eq!(frame[1], 125, "41 characters of three bytes, and the code");
    assert_eq!(std::str::from_utf8(&frame[4..]).unwrap(), "€".repeat(41));
    let frame = close_frame(close_code::POLICY, &format!("ab{}", "€".repeat(50)));
    assert_eq!(std::str::from_utf8(&frame[4..]).unwrap(), format!("ab{}", "€".repeat(40)));
}
