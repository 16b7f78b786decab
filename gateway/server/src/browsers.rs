//! Browsers, by their cookie: how many of their sessions hold a poll (CometD `maxSessionsPerBrowser`).
//!
//! A browser opens few connections to one host; if every tab held one, nothing else would get through. The two polling
//! transports count apart, as in CometD.

use bayeux::session::Carrier;
use bytestring::ByteString;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// A transport's name, and a cookie.
type Place = (&'static str, ByteString);

/// Sessions that hold a poll, per transport and cookie.
#[derive(Debug, Default, Clone)]
pub(crate) struct Browsers(Arc<Mutex<HashMap<Place, Vec<u64>>>>);

/// One held poll of a browser; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Seat {
    browsers: Browsers,
    place: Place,
    session: u64,
}

impl Browsers {
    /// A place for one more held poll of this browser; `None` when `max` other sessions of it have one (negative: no
    /// bound). A session does not stand in its own way: its newer poll ends the older.
    pub(crate) fn sit(&self, carrier: Carrier, cookie: &ByteString, session: u64, max: i32) -> Option<Seat> {
        let place = (carrier.as_str(), cookie.clone());
        let mut held = self.0.lock();
        let others = held.get(&place).map_or(0, |sessions| sessions.iter().filter(|s| **s != session).count());
        if usize::try_from(max).is_ok_and(|max| others >= max) {
            return None;
        }
        held.entry(place.clone()).or_default().push(session);
        Some(Seat { browsers: self.clone(), place, session })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.browsers.0.lock();
        if let Some(sessions) = held.get_mut(&self.place) {
            if let Some(at) = sessions.iter().position(|s| *s == self.session) {
                sessions.swap_remove(at);
            }
            if sessions.is_empty() {
                held.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_holds_as_many_polls_as_allowed_and_none_is_forgotten() {
        let browsers = Browsers::default();
        let cookie = ByteString::from("b");
        let sit = |session, max| browsers.sit(Carrier::LongPolling, &cookie, session, max);
        let seat = sit(1, 1);
        assert!(seat.is_some() && sit(2, 1).is_none());
        assert!(sit(1, 1).is_some(), "a session is not in its own way");
        assert!(browsers.sit(Carrier::LongPolling, &"other".into(), 3, 1).is_some());
        assert!(browsers.sit(Carrier::CallbackPolling, &cookie, 4, 1).is_some(), "the other transport counts apart");
        drop(seat);
        assert!(sit(2, 1).is_some());
        assert!(sit(2, 0).is_none());
        assert!(sit(2, -1).is_some());
        assert!(browsers.0.lock().is_empty());
    }
}
