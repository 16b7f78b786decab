//! Ids that are numbers, as CometD reads them and writes them back: Jetty's JSON parser makes them Java's numbers.

use bytestring::ByteString;

/// A JSON number as Java has it written after it was read: a `long` that overflows, or a `double` where there is a point
/// or an exponent. `None`: it is no number. What Java's parser gives up on stays as it was written.
pub(super) fn as_java_writes(json: &str) -> Option<ByteString> {
    let digits = json.strip_prefix('-').unwrap_or(json);
    if !digits.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let end = digits.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    if end < 19 && end == digits.len() && digits == json {
        return Some(json.into()); // the usual: nothing to overflow
    }
    let long = digits[..end].bytes().fold(0i64, |n, b| n.wrapping_mul(10).wrapping_add(i64::from(b - b'0')));
    let sign = if digits == json { "" } else { "-" };
    if end == digits.len() {
        let long = if sign.is_empty() { long } else { long.wrapping_neg() };
        return Some(long.to_string().into());
    }
    // The digits before the point are a `long` here, too.
    Some(format!("{sign}{long}{}", &digits[end..]).parse().map_or_else(|_| json.into(), double))
}

/// `Double.toString`: the shortest digits that name the number, with an exponent from 10⁷ upward and below 10⁻³.
fn double(value: f64) -> ByteString {
    let size = value.abs();
    if size.is_infinite() {
        return if value < 0.0 { "-Infinity" } else { "Infinity" }.into();
    }
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}").into();
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}").into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_java_writes_them() {
        for (json, java) in [
            ("7", "7"),
            ("-7", "-7"),
            ("-0", "0"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "-9223372036854775808"),
            ("123456789012345678901234567890", "-4362896299872285998"),
            ("1e3", "1000.0"),
            ("-1.50", "-1.5"),
            ("0.001", "0.001"),
            ("0.0001", "1.0E-4"),
            ("9999999.5", "9999999.5"),
            ("1E7", "1.0E7"),
            ("12345678.9", "1.23456789E7"),
            ("1e400", "Infinity"),
            ("0e5", "0.0"),
            ("-0.0", "-0.0"),
        ] {
            assert_eq!(as_java_writes(json).as_deref(), Some(java), "{json}");
        }
        for other in ["true", "{}", "[1]", "\"7\"", "-", ""] {
            assert_eq!(as_java_writes(other), None, "{other}");
        }
    }
}
