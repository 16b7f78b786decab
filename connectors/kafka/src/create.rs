//! Making topics, where the settings allow it.

use crate::config::CreateTopics;
use bytestring::ByteString;
use connector::PublishError;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
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
    begun: AtomicU32,
}

impl Creator {
    pub(crate) fn new(settings: CreateTopics, config: ClientConfig, runtime: Handle) -> Self {
        let shared = Shared { settings, config, admin: OnceCell::new(), begun: AtomicU32::new(0) };
        Creator { shared: Arc::new(shared), runtime }
    }

    /// Begins to make the topic, and tells `then` how it went. `false`: as many as allowed were made.
    pub(crate) fn make(&self, topic: ByteString, then: impl FnOnce(Result<(), PublishError>) + Send + 'static) -> bool {
        let max = self.shared.settings.max;
        let one_more = |begun: u32| (begun < max).then_some(begun + 1);
        if self.shared.begun.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_err() {
            tracing::warn!(%topic, max, "not making the topic: create_topics.max is reached");
            return false;
        }
        let shared = self.shared.clone();
        self.runtime.spawn(async move { then(shared.make(&topic).await) });
        true
    }
}

impl Shared {
    async fn make(&self, topic: &str) -> Result<(), PublishError> {
        let failed = |why: String| PublishError::Unavailable(format!("topic {topic} could not be made: {why}"));
        let client = || async { self.config.create::<AdminClient<_>>() };
        let admin = self.admin.get_or_try_init(client).await.map_err(|error| failed(error.to_string()))?;
        let wanted = NewTopic::new(topic, self.settings.partitions, TopicReplication::Fixed(self.settings.copies));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let results = admin.create_topics([&wanted], &options).await.map_err(|error| failed(error.to_string()))?;
        match results.into_iter().next() {
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))) => {
                Err(PublishError::Denied(format!("Kafka does not let us make topic {topic}")))
            }
            Some(Err((_, code))) => Err(failed(code.to_string())),
            Some(Ok(_)) | None => {
                tracing::info!(topic, "made a topic");
                Ok(())
            }
        }
    }
}
