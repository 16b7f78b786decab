//! Printing for people and scripts: when nobody reads any more (`… | head -1`), that is no reason to fail.

use std::fmt::Display;
use std::io::Write;

/// Prints a line to standard output.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
