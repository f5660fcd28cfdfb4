//! Sends messages to a topic: for trying a cluster and the door at its other end.
//!
//! Invariant: a message counts as sent only after every in-sync replica has it; sent again after a lost answer, it is there once.

use futures::{StreamExt, TryStreamExt};
use krafka::Record;
use krafka::producer::Acks;

use super::{KafkaConfig, builder};

/// Messages under way at once.
const UNDER_WAY_MAX: usize = 256;

/// Why messages were not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// The cluster did not take them.
    #[error("after {sent} messages")]
    Kafka {
        /// Sent before.
        sent: u64,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Sends messages to a topic with the brokers, the login and the encryption of a configuration; how many there were. A topic that is
/// not there is made where the cluster allows it.
///
/// # Errors
/// [`ProduceError`].
pub async fn produce(
    config: &KafkaConfig,
    topic: &str,
    messages: impl Iterator<Item = Vec<u8>>,
) -> Result<u64, ProduceError> {
    let failed = |sent| move |error: krafka::KrafkaError| ProduceError::Kafka { sent, source: error.into() };
    config.check().map_err(ProduceError::Config)?;
    let builder = builder(config).map_err(ProduceError::Config)?;
    let kafka = builder.allow_auto_create_topics(true).connect().await.map_err(failed(0))?;
    let producer = kafka
        .producer()
        .acks(Acks::All)
        .idempotent(true)
        .metrics_push(false)
        .build()
        .await
        .map_err(failed(0))?;
    let mut sent = 0;
    let sending = futures::stream::iter(messages)
        .map(|message| producer.send(Record::new(topic, message)))
        .buffered(UNDER_WAY_MAX)
        .try_for_each(|_| {
            sent += 1;
            std::future::ready(Ok(()))
        })
        .await;
    let closed = producer.close().await;
    sending.and(closed).map_err(failed(sent))?;
    Ok(sent)
}
