//! Compression: the RFC's own examples, offers and answers, and what a client may do to be a nuisance.

use super as deflate;
use super::{FREE_SIZE, KEPT, MAX_STREAMS, answer, frame, inflate, message_frame, text_frame};
use crate::websocket::outlet::Outlet;
use bayeux::delivery::{Delivery, DeliveryParts};
use flate2::{Compress, Compression, FlushCompress};
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::Path;

#[path = "deflate_property.rs"]
mod property;

use property::{check, check_text, opened};

const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn answered(lines: &[&str]) -> Option<String> {
    let lines = lines.iter().map(|line| (SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(line).unwrap()));
    let mut headers = HeaderMap::new();
    headers.extend(lines);
    answer(&headers).map(|answer| answer.to_str().unwrap().to_owned())
}

/// A message as zlib's users send it: level 9, flushed, without the tail.
fn sent(text: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(text.len() + 1024);
    let mut state = Compress::new(Compression::best(), false);
    state.compress_vec(text, &mut payload, FlushCompress::Sync).unwrap();
    assert_eq!(state.total_in(), text.len() as u64);
    payload.strip_suffix(&[0, 0, 0xFF, 0xFF]).unwrap().to_vec()
}

/// A JSON message of about that size, as an application would publish it.
fn json(size: usize) -> String {
    let mut text = String::from(r#"{"channel":"/stock/GOOG","data":["#);
    for i in 0.. {
        let (price, volume) = (10_000 + i * 7919 % 1_301, i * 104_729 % 50_021);
        text += &format!(r#"{{"symbol":"S{i}","price":{}.{:02},"volume":{volume}}}"#, price / 100, price % 100);
        if text.len() >= size {
            return text + "]}";
        }
        text.push(',');
    }
    unreachable!()
}

#[test]
fn what_browsers_and_libraries_offer_is_taken() {
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=15",
        "permessage-deflate; client_max_window_bits=\"8\" ; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    ] {
        assert_eq!(answered(&[offer]).as_deref(), Some(ANSWER), "{offer}");
    }
}

#[test]
fn an_offer_that_names_the_full_window_is_answered_with_it() {
    let named = format!("{ANSWER}; server_max_window_bits=15");
    assert_eq!(answered(&["permessage-deflate; server_max_window_bits=15"]), Some(named.clone()));
    assert_eq!(answered(&["permessage-deflate; server_max_window_bits=\"15\""]), Some(named));
}

#[test]
fn an_offer_that_cannot_be_kept_or_is_malformed_is_declined() {
    for offer in [
        "",
        "x-webkit-deflate-frame",
        "permessage-deflate; server_max_window_bits=14",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=015",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=\"",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate; server_no_context_takeover=true",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; mystery",
        "permessage-deflate;",
        "permessage-deflate client_max_window_bits",
    ] {
        assert_eq!(answered(&[offer]), None, "{offer}");
    }
    assert_eq!(answered(&[]), None);
}

#[test]
fn the_first_offer_that_can_be_kept_wins_over_all_lines() {
    let full = "permessage-deflate; server_max_window_bits=15";
    assert_eq!(answered(&["permessage-deflate; server_max_window_bits=10, permessage-deflate"]).unwrap(), ANSWER);
    assert_eq!(answered(&["foo, bar; x=\"a,b;c\\\"\"", "permessage-deflate"]).unwrap(), ANSWER);
    assert_eq!(answered(&["foo; x=\", permessage-deflate"]), None, "within an open quote is no offer");
    assert!(answered(&[full, "permessage-deflate"]).unwrap().ends_with("=15"));
    assert_eq!(answered(&["permessage-deflate", full]).unwrap(), ANSWER);
}

#[test]
fn the_messages_of_the_rfc_are_inflated() {
    // RFC 7692, 7.2.3.1 to 7.2.3.5: one block, a stored block, a last block, two blocks.
    for payload in [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        assert_eq!(inflate(payload, 5).unwrap(), "Hello", "{payload:x?}");
        assert_eq!(inflate(payload, 4).unwrap_err().code, 1009);
    }
    assert_eq!(inflate(&[0x00], 0).unwrap(), "", "an empty message");
}

#[test]
fn a_message_refers_to_no_other() {
    // With the context of a first "Hello" this would be a second one (RFC 7692, 7.2.3.2).
    assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100).unwrap(), "Hello");
    let second = inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], 100);
    assert!(second.as_ref().map_or(true, |text| !text.contains("ello")), "{second:?}");
}

#[test]
fn a_message_that_was_cut_or_damaged_is_told_so() {
    let whole = sent(json(2_000).as_bytes());
    for end in 0..whole.len() {
        let violation = inflate(&whole[..end], 1 << 20).unwrap_err();
        assert_eq!((violation.code, violation.reason), (1007, "compressed message is damaged"), "cut at {end}");
    }
    assert_eq!(inflate(&[0x07], 100).unwrap_err().code, 1007, "a reserved kind of block");
    assert_eq!(inflate(&sent(&[b'a', 0xC3]), 100).unwrap_err().reason, "text is not UTF-8");
}

#[test]
fn many_streams_in_one_message_are_a_nuisance() {
    let empty = [0x03, 0x00]; // one DEFLATE stream of nothing
    assert_eq!(inflate(&empty.repeat(MAX_STREAMS), 100).unwrap(), "");
    assert_eq!(inflate(&empty.repeat(MAX_STREAMS + 1), 100).unwrap_err().code, 1007);
}

#[test]
fn a_bomb_is_not_inflated_beyond_the_bound() {
    let bomb = sent(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 80_000, "64 MiB in {} bytes", bomb.len());
    let before = capacity();
    let violation = inflate(&bomb, 64 * 1024).unwrap_err();
    assert_eq!((violation.code, violation.reason), (1009, "message is too long"));
    let violation = inflate(&bomb, 1 << 30).unwrap_err();
    assert_eq!((violation.code, violation.reason), (1009, "message grows too much when inflated"));
    assert!(before.is_none() && capacity().is_none(), "no buffer of that size is kept");
}

/// The largest pooled buffer, if one is larger than what is to be kept.
fn capacity() -> Option<usize> {
    let inflaters = deflate::INFLATERS.kept.lock();
    inflaters.iter().map(|kept| kept.buffer.capacity()).filter(|&capacity| capacity > deflate::KEPT_BUFFER).max()
}

#[test]
fn a_small_message_may_repeat_itself() {
    let monotonous = format!("[\"{}\"]", "a".repeat(FREE_SIZE - 4));
    let payload = sent(monotonous.as_bytes());
    assert!(payload.len() * deflate::MAX_RATIO < monotonous.len());
    assert_eq!(inflate(&payload, FREE_SIZE).unwrap(), monotonous);
}

#[test]
fn short_messages_and_noise_go_uncompressed() {
    assert_eq!(message_frame(&vec![b'a'; 253]), None);
    assert!(message_frame(&vec![b'a'; 254]).is_some(), "256 bytes with its brackets");
    assert_eq!(text_frame(b"[]"), frame::text_frame(b"[]"));
    let noise: Vec<u8> =
        (0..1000u32).map(|i| (i.wrapping_mul(2_654_435_761) ^ i.wrapping_pow(3)).to_be_bytes()[1]).collect();
    assert_eq!(message_frame(&noise), None);
}

#[test]
fn an_envelope_of_one_message_is_compressed_as_a_whole() {
    for size in [300, 1_000, 10_000, 100_000] {
        let json = json(size);
        let frame = message_frame(json.as_bytes()).unwrap();
        let (payload, compressed) = opened(&frame);
        assert!(compressed && payload.len() * 10 < json.len() * 9, "{} of {}", payload.len(), json.len());
        assert_eq!(inflate(payload, 1 << 20).unwrap(), format!("[{json}]"));
    }
}

#[test]
fn a_delivery_is_compressed_once_for_all_who_agreed_to_it() {
    let [one, other, plain] = [true, true, false].map(|compresses| Outlet::new(None, 0, compresses, 1));
    let long = Delivery::new("/a".into(), &DeliveryParts { data: json(2_000).as_bytes(), ..Default::default() });
    assert_eq!(one.framed(&long).as_ptr(), other.framed(&long).as_ptr());
    assert!(one.framed(&long).len() * 2 < plain.framed(&long).len());
    let short = Delivery::new("/a".into(), &DeliveryParts { data: b"1", ..Default::default() });
    assert_eq!(one.framed(&short).as_ptr(), plain.framed(&short).as_ptr(), "too short: the same for everybody");
}

#[test]
fn state_is_shared_by_all_and_bounded() {
    let text = json(5_000);
    std::thread::scope(|scope| {
        for _ in 0..4 * KEPT {
            scope.spawn(|| (0..20).for_each(|_| check_text(&text)));
        }
    });
    assert!(deflate::DEFLATERS.kept.lock().len() <= KEPT && deflate::INFLATERS.kept.lock().len() <= KEPT);
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/websocket_deflate");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn the_property_holds_for_the_corpus_its_beginnings_and_any_flipped_bit() {
    let corpus = corpus();
    assert!(corpus.len() >= 10, "the corpus has {} files", corpus.len());
    for input in corpus {
        (0..=input.len()).for_each(|end| check(&input[..end]));
        for bit in 0..input.len().min(300) * 8 {
            let mut flipped = input.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            check(&flipped);
        }
    }
}

proptest! {
    #[test]
    fn what_was_compressed_comes_out(texts in vec(prop_oneof![".{0,600}", "[a-c]{200,5000}", "[a-zäß€😀 {}:,\"]{200,3000}"], 1..4)) {
        texts.iter().for_each(|text| check_text(text));
    }

    #[test]
    fn what_a_client_compressed_comes_out(text in "[a-zäß€😀 {}:,\"]{0,3000}", limit in 0..9000usize) {
        match inflate(&sent(text.as_bytes()), limit) {
            Ok(inflated) => prop_assert!(text.len() <= limit && inflated == text),
            Err(violation) => prop_assert!(text.len() > limit && violation.code == 1009),
        }
    }

    #[test]
    fn any_bytes_at_all_keep_the_property(input in vec(any::<u8>(), 0..600)) {
        check(&input);
    }

    #[test]
    fn a_good_message_with_wrong_bytes_keeps_the_property(
        text in "[a-zäß€ {}:,\"]{0,2000}", choice: u8, wrong in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut input = [vec![choice], sent(text.as_bytes())].concat();
        for (at, byte) in wrong {
            let at = at.index(input.len());
            input[at] = byte;
        }
        check(&input);
    }

    #[test]
    fn any_offer_is_taken_or_declined(
        parts in vec(prop_oneof![
            Just("permessage-deflate"), Just(";"), Just(","), Just("="), Just("\""), Just("\\"), Just(" "), Just("15"),
            Just("client_max_window_bits"), Just("server_max_window_bits"), Just("client_no_context_takeover"),
        ], 0..20),
    ) {
        let answer = answered(&[&parts.concat()]);
        prop_assert!(answer.is_none_or(|answer| answer.starts_with(ANSWER)));
    }
}
