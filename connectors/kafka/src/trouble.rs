//! What does not work although the cluster answers: it makes the health degraded for as long as somebody holds it.

use crate::link::Link;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One thing that does not work. It is over when this is dropped.
pub(crate) struct Trouble {
    link: Arc<Link>,
    id: u64,
    text: String,
}

impl Trouble {
    pub(crate) fn new(link: &Arc<Link>, text: String) -> Self {
        Trouble { link: link.clone(), id: link.trouble_begins(&text), text }
    }

    /// Says in `slot` what does not work. Saying the same again changes nothing.
    pub(crate) fn tell(slot: &mut Option<Trouble>, link: &Arc<Link>, text: String) {
        if slot.as_ref().is_none_or(|known| known.text != text) {
            // The old one ends after the new one has begun: the health is not up in between.
            *slot = Some(Trouble::new(link, text));
        }
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        self.link.trouble_ends(self.id);
    }
}

/// All that does not work now.
#[derive(Default)]
pub(crate) struct Troubles {
    texts: BTreeMap<u64, String>,
    next: u64,
}

impl Troubles {
    /// Its number, and whether nobody had said the same.
    pub(crate) fn add(&mut self, text: &str) -> (u64, bool) {
        let new = !self.texts.values().any(|known| known == text);
        self.next += 1;
        self.texts.insert(self.next, text.to_owned());
        (self.next, new)
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.texts.remove(&id);
    }

    /// The one that has lasted longest.
    pub(crate) fn first(&self) -> Option<&str> {
        self.texts.values().next().map(String::as_str)
    }
}
