//! What a session is subscribed to.

use super::Session;
use crate::channel::ChannelName;
use crate::error;
use crate::reply::Refusal;
use std::collections::HashSet;

/// A channel's name is seldom longer than this, in bytes.
const USUAL_NAME: usize = 256;
/// All names that one session is subscribed to, if there are longer ones among them.
const MAX_NAMES: usize = 4 << 20;

impl Session {
    /// Records a subscription: whether it is new. The driver keeps the registry of channels.
    ///
    /// # Errors
    /// When the session has too many.
    pub fn subscribe(&mut self, channel: &ChannelName) -> Result<bool, Refusal> {
        if self.ended() {
            return Err(Refusal::new(error::SESSION_UNKNOWN));
        }
        if self.subscriptions.len() >= self.options.max_subscriptions && !self.subscriptions.contains(channel) {
            return Err(Refusal::new(error::error(403, channel.as_str(), "too_many_subscriptions")));
        }
        // Names of usual length are bounded by their number; of long ones the bytes count.
        let bytes = || self.subscriptions.iter().map(|name| name.as_str().len()).sum::<usize>();
        let length = channel.as_str().len();
        if length > USUAL_NAME && !self.subscriptions.contains(channel) && bytes() + length > MAX_NAMES {
            return Err(Refusal::new(error::error(403, "", "too_many_subscriptions")));
        }
        Ok(self.subscriptions.insert(channel.detached()))
    }

    /// Forgets a subscription: whether there was one.
    pub fn unsubscribe(&mut self, channel: &ChannelName) -> bool {
        let there = self.subscriptions.remove(channel);
        if self.subscriptions.is_empty() {
            self.subscriptions = HashSet::new();
        }
        there
    }

    /// Whether it is subscribed to exactly this channel or pattern.
    pub fn is_subscribed(&self, channel: &ChannelName) -> bool {
        self.subscriptions.contains(channel)
    }

    /// What it is subscribed to.
    pub fn subscriptions(&self) -> impl Iterator<Item = &ChannelName> {
        self.subscriptions.iter()
    }
}
