//! Z85: bytes as text that JSON holds without an escape, in the form of CometD's binary extension.
//!
//! ZeroMQ RFC 32 writes four bytes as five characters and takes whole groups only. CometD (`Z85.js`, `Z85.java`) writes
//! a last group of one to three bytes as one character more than it has bytes. Crates either refuse such a length or
//! pad it by a rule of their own.

use thiserror::Error;

const ALPHABET: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// What a byte stands for; 85 and more: nothing.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut i = 0;
    while i < ALPHABET.len() {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

/// Text that is not Z85.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Z85Error {
    /// A character that Z85 does not have.
    #[error("byte {byte:#04x} at {at} is no Z85 character")]
    Character {
        /// Where, counted in bytes from 0.
        at: usize,
        /// Which.
        byte: u8,
    },
    /// One character is left over, which holds no byte.
    #[error("{0} characters are no Z85 text: one is left over after the groups of five")]
    Length(usize),
    /// A group stands for more than four bytes hold.
    #[error("the group at {0} is more than four bytes hold")]
    Group(usize),
}

/// Writes bytes as Z85.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(encoded_len(bytes.len()));
    encode_onto(bytes, &mut text);
    text
}

/// Writes bytes as Z85 behind what `text` holds.
pub fn encode_onto(bytes: &[u8], text: &mut String) {
    text.reserve(encoded_len(bytes.len()));
    for group in bytes.chunks(4) {
        let mut padded = [0; 4];
        padded[..group.len()].copy_from_slice(group);
        let mut rest = u32::from_be_bytes(padded);
        let mut digits = [0; 5];
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[(rest % 85) as usize];
            rest /= 85;
        }
        text.extend(digits[..=group.len()].iter().copied().map(char::from));
    }
}

/// How many characters that many bytes become.
pub fn encoded_len(bytes: usize) -> usize {
    bytes + bytes.div_ceil(4)
}

/// Reads Z85.
///
/// # Errors
/// [`Z85Error`] for text that no encoder writes because of its characters, its length or a group's value.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, Z85Error> {
    if text.len() % 5 == 1 {
        return Err(Z85Error::Length(text.len()));
    }
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4 + 3);
    for (i, group) in text.chunks(5).enumerate() {
        let mut value: u64 = 0;
        for j in 0..5 {
            // What the encoder left away was less than the highest digit, so that this rounds to the same bytes.
            let byte = group.get(j).copied().unwrap_or(b'#');
            let digit = VALUES[usize::from(byte)];
            if digit >= 85 {
                return Err(Z85Error::Character { at: i * 5 + j, byte });
            }
            value = value * 85 + u64::from(digit);
        }
        let value = u32::try_from(value).map_err(|_| Z85Error::Group(i * 5))?;
        bytes.extend_from_slice(&value.to_be_bytes()[..group.len() - 1]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn both_ways(bytes: &[u8], text: &str) {
        assert_eq!(encode(bytes), text);
        assert_eq!(decode(text.as_bytes()).unwrap(), bytes, "{text}");
    }

    #[test]
    fn whole_groups_are_as_zeromq_writes_them() {
        both_ways(&hex("864FD26FB559F75B"), "HelloWorld");
        both_ways(
            &hex("BB88471D65E2659B30C55A5321CEBB5AAB2B70A398645C26DCA2B2FCB43FC518"),
            "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
        );
        both_ways(
            &hex("7BB864B489AFA3671FBE69101F94B38972F24816DFB01B51656B3FEC8DFD0888"),
            "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs",
        );
        both_ways(b"", "");
        both_ways(&[0; 4], "00000");
        both_ways(&[255; 4], "%nSc0");
    }

    #[test]
    fn a_last_group_that_is_not_whole_is_as_cometd_writes_it() {
        for (bytes, text) in [
            ("00", "00"),
            ("01", "0r"),
            ("ff", "@@"),
            ("0000", "000"),
            ("ffff", "%nJ"),
            ("010203", "0rJu"),
            ("ffffff", "%nS9"),
            ("864fd26fb5", "HelloWe"),
            ("864fd26fb559f7", "HelloWork"),
        ] {
            both_ways(&hex(bytes), text);
        }
    }

    #[test]
    fn text_that_no_encoder_writes_is_an_error_and_says_where() {
        assert_eq!(decode(b"Hello\"orld"), Err(Z85Error::Character { at: 5, byte: b'"' }));
        assert_eq!(decode("Helö".as_bytes()), Err(Z85Error::Character { at: 3, byte: 0xc3 }));
        assert_eq!(decode(b"HelloW"), Err(Z85Error::Length(6)));
        assert_eq!(decode(b"0"), Err(Z85Error::Length(1)));
        assert_eq!(decode(b"00000%nSc1"), Err(Z85Error::Group(5)));
        assert_eq!(decode(b"00000##"), Err(Z85Error::Group(5)));
    }

    proptest! {
        #[test]
        fn bytes_come_back_as_they_were(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = encode(&bytes);
            prop_assert_eq!(text.len(), encoded_len(bytes.len()));
            prop_assert_eq!(serde_json::to_string(&text).unwrap().len(), text.len() + 2, "nothing is escaped");
            prop_assert_eq!(decode(text.as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&text);
        }
    }
}
