//! What the lint finds in mappings.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// It works, but hardly as meant.
    Warning,
}

/// One mistake, or one doubt, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which mapping, from 0, in file order.
    pub index: usize,
    /// The key within the mapping, dotted: `topic`, `headers.user`.
    pub key: String,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where one thing can be said.
    pub help: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: mappings[{}].{}: {}", self.index, self.key, self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}
