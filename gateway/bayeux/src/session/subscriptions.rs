//! What a session is subscribed to.

use super::Session;
use crate::channel::ChannelName;
use crate::error;
use crate::reply::Refusal;
use std::collections::HashSet;

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
        Ok(self.subscriptions.insert(channel.clone()))
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
