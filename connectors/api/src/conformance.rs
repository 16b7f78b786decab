//! The suite that proves a connector by the capabilities that it declares: see [`crate::Connector`] for each promise.
//!
//! A connector's tests implement [`Fixture`] over the real broker and call [`run`]; each case can be called alone as
//! well, and fails by a panic with a sentence. What a connector does not declare is not asked of it, but for the
//! refusals that the contract fixes (such as [`crate::SubscribeError::NoLog`]).

mod delivery;
mod family;
mod kit;
mod life;
mod log;
mod pressure;

pub use delivery::{
    a_live_subscription_gets_what_comes_after_ready_and_nothing_older, a_missing_value_is_stored_as_declared,
    a_publish_whose_future_is_dropped_is_stored, payload_key_and_headers_arrive_as_they_were,
    pipelined_publishes_keep_their_order, two_subscriptions_both_get_everything,
};
pub use family::{
    a_family_gets_each_topic_that_fits, a_family_gets_topics_that_appear_later, a_rest_filter_gets_all_that_is_below,
    a_value_of_odd_characters_makes_one_topic, the_syntax_writes_each_value_as_one_token,
};
pub use life::{
    a_dropped_subscription_ends_its_receiver, a_reader_that_left_disturbs_no_other,
    a_topic_that_is_missing_is_refused_and_not_made, closing_finishes_publishes_and_ends_subscriptions,
    health_is_up_and_the_probe_says_so,
};
pub use log::{
    a_cursor_of_another_log_is_refused, a_live_subscription_tells_where_it_begins, a_position_that_is_gone_is_told,
    a_reader_with_nothing_to_read_is_told, earliest_gives_all_that_is_kept,
    logs_that_a_cursor_does_not_name_begin_where_is_said, positions_of_many_partitions_lose_nothing,
    publish_positions_read_back, starting_at_a_time_skips_what_is_older, the_end_of_a_log_is_told,
    without_a_log_old_records_are_refused,
};
pub use pressure::{a_deadline_is_kept, a_slow_reader_loses_nothing};

use crate::Connector;
use std::future::Future;
use std::sync::Arc;

/// A broker as the suite needs it.
///
/// The suite names its topics itself: every name is fresh, begins with the token `conformance` and is written in the
/// connector's syntax, such as `conformance.order-1a2b3c.a`.
pub trait Fixture: Sync {
    /// A new connector to the broker; each case asks for one, and closes it.
    fn connector(&self) -> Arc<dyn Connector>;

    /// Makes the topic by the broker's own tools, with that many partitions where it has any. Does nothing where
    /// topics need no making.
    fn create(&self, topic: &str, partitions: u32) -> impl Future<Output = ()> + Send;

    /// A topic that does not exist and that the broker refuses, if this broker refuses any.
    fn missing_topic(&self) -> Option<String> {
        None
    }

    /// Whether a running family subscription is promised topics that are created later.
    fn topics_appear(&self) -> bool {
        true
    }

    /// Removes at least the older half of what `topic` holds by the broker's own tools. `false`: cannot.
    fn trim(&self, topic: &str) -> impl Future<Output = bool> + Send {
        let _ = topic;
        async { false }
    }
}

/// Proves the connector by all cases, one after the other. The name of each is printed before it begins.
///
/// # Panics
/// When a promise is not kept, with a sentence that says which.
pub async fn run(fixture: &impl Fixture) {
    macro_rules! cases {
        ($($case:ident)*) => {$(
            println!("conformance: {}", stringify!($case));
            Box::pin($case(fixture)).await;
        )*};
    }
    cases! {
        health_is_up_and_the_probe_says_so
        the_syntax_writes_each_value_as_one_token
        payload_key_and_headers_arrive_as_they_were
        a_missing_value_is_stored_as_declared
        pipelined_publishes_keep_their_order
        a_live_subscription_gets_what_comes_after_ready_and_nothing_older
        two_subscriptions_both_get_everything
        a_publish_whose_future_is_dropped_is_stored
        a_value_of_odd_characters_makes_one_topic
        a_family_gets_each_topic_that_fits
        a_family_gets_topics_that_appear_later
        a_rest_filter_gets_all_that_is_below
        without_a_log_old_records_are_refused
        publish_positions_read_back
        earliest_gives_all_that_is_kept
        starting_at_a_time_skips_what_is_older
        positions_of_many_partitions_lose_nothing
        logs_that_a_cursor_does_not_name_begin_where_is_said
        a_live_subscription_tells_where_it_begins
        the_end_of_a_log_is_told
        a_reader_with_nothing_to_read_is_told
        a_cursor_of_another_log_is_refused
        a_position_that_is_gone_is_told
        a_topic_that_is_missing_is_refused_and_not_made
        a_slow_reader_loses_nothing
        a_deadline_is_kept
        a_dropped_subscription_ends_its_receiver
        a_reader_that_left_disturbs_no_other
        closing_finishes_publishes_and_ends_subscriptions
    }
}
