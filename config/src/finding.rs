//! What is wrong, or doubtful, in a config.

use crate::suggest;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The gateway does not start with it.
    Error,
    /// It works, but somebody should look.
    Warning,
}

/// Something wrong, or doubtful, at one place of the config. The place is a path; the loader knows which file, line and
/// column that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// Keys and indexes from the root, such as `["mappings", "0", "topic"]`. What is not there (a missing key) is
    /// shown at what would hold it.
    pub path: Vec<String>,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Points at the last key rather than at its value.
    pub(crate) at_key: bool,
}

impl Finding {
    /// An error at `path`.
    pub fn error<S: Into<String>>(path: impl IntoIterator<Item = S>, message: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Error,
            path: path.into_iter().map(Into::into).collect(),
            message: message.into(),
            help: None,
            at_key: false,
        }
    }

    /// A warning at `path`.
    pub fn warning<S: Into<String>>(path: impl IntoIterator<Item = S>, message: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, ..Finding::error(path, message) }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the nearest of `possible` to `given` as what to do, or the list of them if none is near.
    #[must_use]
    pub fn suggesting<'a>(mut self, given: &str, possible: impl IntoIterator<Item = &'a str>) -> Self {
        let possible: Vec<&str> = possible.into_iter().collect();
        self.help = suggest::help(given, &possible);
        self
    }

    /// Points at the last key of the path rather than at its value.
    #[must_use]
    pub fn on_key(mut self) -> Self {
        self.at_key = true;
        self
    }

    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// A path as people write it: `mappings[0].topic`.
pub(crate) fn show(path: &[String]) -> String {
    let mut out = String::new();
    for segment in path {
        if !out.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) {
            out.push('[');
            out.push_str(segment);
            out.push(']');
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(segment);
        }
    }
    out
}
