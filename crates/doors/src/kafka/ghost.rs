//! The member that this server was when it was killed: it leaves its group before another one joins.
//!
//! A group keeps the partitions of a member that is silent for `session_timeout`, so that a server that was killed would wait for
//! itself. The data folder belongs to one server at a time: whoever finds the id of a member in it knows that this member is dead,
//! and says so for it.
//!
//! Invariants:
//! - only a member noted in this data folder, by this source, for this group is taken out;
//! - a member that left can commit nothing any more, so that no offset moves behind the next one's back;
//! - nothing depends on it: what fails is passed over, and the group waits.
//!
//! Not here: static members, whose places their group keeps on purpose.
//!
//! The client has no public call for this: its internals are used, and its version is pinned.

use std::path::{Path, PathBuf};
use std::time::Duration;

use krafka::__private::protocol::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, LeaveGroupMember, LeaveGroupRequest,
    LeaveGroupResponse, VersionedDecode as _, VersionedEncode as _, versions,
};
use krafka::__private::{kafka_metadata, kafka_pool};
use krafka::error::ErrorCode;
use krafka::{Kafka, KrafkaError};
use serde::{Deserialize, Serialize};

/// Longest wait for the group at a start.
const WAIT: Duration = Duration::from_secs(5);
/// Pause while the group is loaded by its coordinator.
const PAUSE: Duration = Duration::from_millis(250);
/// Bytes of a noted member; ids are short texts.
const NOTE_BYTES_MAX: usize = 4096;

/// A member of a group, as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    group: String,
    member: String,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ghost {
    file: PathBuf,
    group: String,
    noted: Option<String>,
}

impl Ghost {
    pub(super) fn new(dir: &Path, name: &str, group: &str) -> Ghost {
        Ghost { file: dir.join(format!("{name}.member")), group: group.to_owned(), noted: None }
    }

    /// Takes the member of an earlier run out of its group.
    pub(super) async fn leave(&mut self, kafka: &Kafka) {
        let Some(member) = self.read().await else { return };
        match tokio::time::timeout(WAIT, leave(kafka, &self.group, &member)).await {
            Ok(Ok(ErrorCode::None)) => {
                tracing::info!(
                    group = self.group,
                    "kafka: the member of an earlier run was taken out of the group"
                );
            }
            Ok(Ok(code)) => tracing::debug!(?code, "kafka: the member of an earlier run is not in the group"),
            Ok(Err(error)) => {
                tracing::debug!(%error, "kafka: the member of an earlier run is waited for");
            }
            Err(_) => tracing::debug!("kafka: the member of an earlier run is waited for"),
        }
    }

    /// Notes which member this server is.
    pub(super) async fn note(&mut self, member: &str) {
        if self.noted.as_deref() == Some(member) {
            return;
        }
        let text = serde_json::json!({ "group": self.group, "member": member }).to_string();
        match tokio::fs::write(&self.file, text).await {
            Ok(()) => self.noted = Some(member.to_owned()),
            Err(error) => tracing::debug!(%error, "kafka: the member is not noted"),
        }
    }

    async fn read(&self) -> Option<String> {
        let text = tokio::fs::read(&self.file).await.ok().filter(|text| text.len() <= NOTE_BYTES_MAX)?;
        let noted: Member = serde_json::from_slice(&text).ok()?;
        (noted.group == self.group).then_some(noted.member)
    }
}

async fn leave(kafka: &Kafka, group: &str, member: &str) -> Result<ErrorCode, KrafkaError> {
    loop {
        let code = ask_to_leave(kafka, group, member).await?;
        let may_pass = matches!(
            code,
            ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
        );
        if !may_pass {
            return Ok(code);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask_to_leave(kafka: &Kafka, group: &str, member: &str) -> Result<ErrorCode, KrafkaError> {
    let pool = kafka_pool(kafka);
    let brokers = kafka_metadata(kafka).brokers();
    let Some(broker) = brokers.first() else { return Ok(ErrorCode::CoordinatorNotAvailable) };
    let broker = pool.get_connection(broker.address()).await?;
    let find = FindCoordinatorRequest::for_group(group);
    let (least, most) = (versions::FIND_COORDINATOR_MIN, versions::FIND_COORDINATOR_MAX);
    let Some(version) = broker.negotiate_api_version(ApiKey::FindCoordinator, most, least) else {
        return Ok(ErrorCode::UnsupportedVersion);
    };
    let mut answer = broker
        .send_request(ApiKey::FindCoordinator, version, |buffer| find.encode_versioned(version, buffer))
        .await?;
    let found = FindCoordinatorResponse::decode_versioned(version, &mut answer)?;
    if found.error_code != ErrorCode::None {
        return Ok(found.error_code);
    }
    let coordinator = pool.get_coordinator_connection(&address(&found.host, found.port)).await?;
    let members =
        vec![LeaveGroupMember { member_id: member.to_owned(), group_instance_id: None, reason: None }];
    let request = LeaveGroupRequest { group_id: group.to_owned(), member_id: String::new(), members };
    let (least, most) = (versions::LEAVE_GROUP_MIN, versions::LEAVE_GROUP_MAX);
    let Some(version) = coordinator.negotiate_api_version(ApiKey::LeaveGroup, most, least) else {
        return Ok(ErrorCode::UnsupportedVersion);
    };
    let mut answer = coordinator
        .send_request(ApiKey::LeaveGroup, version, |buffer| request.encode_versioned(version, buffer))
        .await?;
    let left = LeaveGroupResponse::decode_versioned(version, &mut answer)?;
    let of_member = left.members.first().map_or(ErrorCode::None, |member| member.error_code);
    Ok(if left.error_code == ErrorCode::None { of_member } else { left.error_code })
}

fn address(host: &str, port: i32) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_member_of_the_same_group_is_remembered() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut ghost = Ghost::new(dir.path(), "kafka", "a");
        assert_eq!(ghost.read().await, None);
        ghost.note("heimdall-1").await;
        ghost.note("heimdall-2").await;
        assert_eq!(Ghost::new(dir.path(), "kafka", "a").read().await.as_deref(), Some("heimdall-2"));
        assert_eq!(Ghost::new(dir.path(), "kafka", "b").read().await, None, "another group");
        assert_eq!(Ghost::new(dir.path(), "other", "a").read().await, None, "another source");
        for spoilt in [&b""[..], b"{\"group\":\"a\"", b"\xff", &[b' '; NOTE_BYTES_MAX + 1]] {
            std::fs::write(dir.path().join("kafka.member"), spoilt).expect("written");
            assert_eq!(ghost.read().await, None);
        }
    }

    #[test]
    fn addresses_of_ipv6_have_brackets() {
        assert_eq!(address("::1", 9092), "[::1]:9092");
        assert_eq!(address("kafka-1", 9092), "kafka-1:9092");
    }
}
