//! What does not work although NATS is there, told by the tasks that notice it, shown as the connector's health.

use super::Link;
use std::collections::BTreeMap;

/// All that does not work now, by who says so.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    next: u64,
    reasons: BTreeMap<u64, String>,
}

impl Troubles {
    /// One sentence, or none when all works. The oldest is named, the others are counted.
    pub(crate) fn reason(&self) -> Option<String> {
        let first = self.reasons.values().next()?;
        Some(match self.reasons.len() - 1 {
            0 => first.clone(),
            others => format!("{first} (and {others} more)"),
        })
    }
}

/// What one task says. Taken back when dropped.
pub(crate) struct Trouble {
    link: Link,
    key: Option<u64>,
}

impl Trouble {
    pub(super) fn new(link: Link) -> Self {
        Trouble { link, key: None }
    }

    /// It does not work.
    pub(crate) fn tell(&mut self, reason: String) {
        let key = &mut self.key;
        self.link.0.troubles.send_if_modified(|troubles| {
            let id = *key.get_or_insert_with(|| {
                troubles.next += 1;
                troubles.next
            });
            troubles.reasons.insert(id, reason.clone()).as_ref() != Some(&reason)
        });
    }

    /// It works. Whether it did not before.
    pub(crate) fn clear(&mut self) -> bool {
        let Some(key) = self.key.take() else { return false };
        self.link.0.troubles.send_modify(|troubles| {
            troubles.reasons.remove(&key);
        });
        true
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        self.clear();
    }
}
