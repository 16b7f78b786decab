//! Making topics, where the settings allow it.

use crate::catalog::Catalog;
use crate::config::CreateTopics;
use bytestring::ByteString;
use connector::PublishError;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

const PATIENCE: Duration = Duration::from_secs(10);

/// Makes topics up to the allowed number.
pub(crate) struct Creator {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    settings: CreateTopics,
    config: ClientConfig,
    /// Connected when first needed: most gateways never make a topic.
    admin: OnceCell<AdminClient<DefaultClientContext>>,
    made: Mutex<Made>,
}

impl Creator {
    pub(crate) fn new(settings: CreateTopics, config: ClientConfig, runtime: Handle) -> Self {
        let shared = Shared { settings, config, admin: OnceCell::new(), made: Mutex::default() };
        Creator { shared: Arc::new(shared), runtime }
    }

    /// Begins to make the topic, and tells `then` how it went. `false`: as many as allowed were made.
    pub(crate) fn make(
        &self,
        topic: ByteString,
        catalog: &Catalog,
        then: impl FnOnce(Result<(), PublishError>) + Send + 'static,
    ) -> bool {
        let max = self.shared.settings.max;
        if !self.shared.made.lock().begin(&topic, max, catalog) {
            tracing::warn!(%topic, max, "not making the topic: create_topics.max is reached");
            return false;
        }
        let shared = self.shared.clone();
        self.runtime.spawn(async move {
            let made = shared.make(&topic).await;
            shared.made.lock().end(&topic, made.as_ref().copied().map_err(|(_, sure)| *sure));
            then(made.map(drop).map_err(|(error, _)| error));
        });
        true
    }
}

/// The topics that count.
#[derive(Default)]
struct Made(HashMap<ByteString, Outcome>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Being made, or made.
    Ours,
    /// Perhaps made: nobody has told by then.
    Unsure(Instant),
}

impl Made {
    fn begin(&mut self, topic: &ByteString, max: u32, catalog: &Catalog) -> bool {
        // What a later catalog does not hold was not made.
        self.0.retain(|topic, outcome| match outcome {
            Outcome::Unsure(at) if catalog.asked.is_some_and(|asked| asked > *at) => {
                catalog.partitions(topic).is_some()
            }
            _ => true,
        });
        let room = u32::try_from(self.0.len()).is_ok_and(|made| made < max);
        if room || self.0.contains_key(topic) {
            self.0.insert(topic.clone(), Outcome::Ours);
            return true;
        }
        false
    }

    /// `Ok`: whether we have made it. `Err`: whether it is sure that it was not made.
    fn end(&mut self, topic: &ByteString, made: Result<bool, bool>) {
        match made {
            Ok(true) => {}
            Ok(false) | Err(true) => drop(self.0.remove(topic)),
            Err(false) => drop(self.0.insert(topic.clone(), Outcome::Unsure(Instant::now()))),
        }
    }
}

impl Shared {
    /// Whether we have made it; `false`: it was there. With an error: whether it is sure that it was not made.
    async fn make(&self, topic: &str) -> Result<bool, (PublishError, bool)> {
        let failed =
            |why: String, sure| (PublishError::Unavailable(format!("topic {topic} could not be made: {why}")), sure);
        let client = || async { self.config.create::<AdminClient<_>>() };
        let admin = self.admin.get_or_try_init(client).await.map_err(|error| failed(error.to_string(), true))?;
        let wanted = NewTopic::new(topic, self.settings.partitions, TopicReplication::Fixed(self.settings.copies));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let results =
            admin.create_topics([&wanted], &options).await.map_err(|error| failed(error.to_string(), false))?;
        match results.into_iter().next() {
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))) => {
                Err((PublishError::Denied(format!("Kafka does not let us make topic {topic}")), true))
            }
            Some(Err((_, code))) => {
                let sure =
                    !matches!(code, Code::RequestTimedOut | Code::OperationTimedOut | Code::BrokerTransportFailure);
                Err(failed(code.to_string(), sure))
            }
            Some(Ok(_)) | None => {
                tracing::info!(topic, "made a topic");
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Made;
    use crate::catalog::Catalog;

    #[test]
    fn only_topics_that_were_made_count() {
        let (mut made, none) = (Made::default(), Catalog::default());
        let [a, b, c] = ["a", "b", "c"].map(bytestring::ByteString::from);
        assert!(made.begin(&a, 1, &none) && !made.begin(&b, 1, &none));
        made.end(&a, Err(true));
        assert!(made.begin(&b, 1, &none), "a was refused");
        made.end(&b, Ok(false));
        assert!(made.begin(&c, 1, &none), "b was there already");
        made.end(&c, Err(false));
        assert!(!made.begin(&a, 1, &none), "c may have been made");
        assert!(made.begin(&c, 1, &none), "to try c again takes no other place");
        made.end(&c, Err(false));
        let mut later = Catalog::default();
        later.asked = Some(std::time::Instant::now());
        assert!(made.begin(&a, 1, &later), "c was not made");
        made.end(&a, Ok(true));
        assert!(!made.begin(&b, 1, &later));
    }
}
