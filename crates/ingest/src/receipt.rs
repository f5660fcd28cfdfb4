//! Receipts: what was taken from whom, for the sender's answer and for looking up later.
//!
//! Invariant: at most [`RECEIPTS_MAX`] are kept, each with at most [`KEPT_NOTES_MAX`] entries a list; the oldest goes first.
//!
//! Not here: the audit trail, which is durable.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use heimdall_model::{Tenant, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use crate::decoded::{Coerced, Rejected};

/// Receipts kept.
pub const RECEIPTS_MAX: usize = 10_000;
/// Entries of each list that a kept receipt holds; the sender's has more.
pub const KEPT_NOTES_MAX: usize = 10;
/// Receipts on one page at most.
pub const PAGE_MAX: usize = 1_000;

/// What became of one submission. Serialises to the answer of an ingest request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Records made durable.
    pub accepted: u64,
    /// Records not written, because a submission with the same idempotency key was before.
    pub deduplicated: u64,
    /// The first rejected records.
    pub rejected: Vec<Rejected>,
    /// How many were rejected in all.
    pub rejected_total: u64,
    /// Id of this receipt.
    #[serde(rename = "receipt")]
    pub id: Uuid,
    /// The first values kept in another form.
    pub coerced: Vec<Coerced>,
    /// How many there were in all.
    pub coerced_total: u64,
    /// Records given the arrival time.
    pub timestamps_assigned: u64,
    /// Who the records belong to.
    pub tenant: Tenant,
    /// The door they came through.
    pub door: &'static str,
    /// The sender's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// Arrival.
    pub time: Timestamp,
    /// Bytes of the body, unpacked.
    pub bytes: u64,
    /// Journal frame that holds the records; none when nothing was to be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

impl Receipt {
    /// Whether the submission left or had left something behind, or was empty by itself: anything but all of it rejected.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.accepted + self.deduplicated > 0 || self.rejected_total == 0
    }
}

/// Some receipts, newest first.
#[derive(Debug, Clone, Serialize)]
pub struct ReceiptPage {
    /// The receipts.
    pub items: Vec<Arc<Receipt>>,
    /// Where the next page begins; none on the last page.
    pub next: Option<u64>,
}

/// The last receipts of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Number of the receipt at the front; numbers are dense.
    first: u64,
    kept: VecDeque<Arc<Receipt>>,
}

impl Receipts {
    pub(crate) fn keep(&self, receipt: &Receipt) {
        let mut kept = receipt.clone();
        kept.rejected.truncate(KEPT_NOTES_MAX);
        kept.coerced.truncate(KEPT_NOTES_MAX);
        let mut ring = self.ring.lock();
        if ring.kept.len() == RECEIPTS_MAX {
            ring.kept.pop_front();
            ring.first += 1;
        }
        ring.kept.push_back(Arc::new(kept));
    }

    pub(crate) fn get(&self, tenant: &Tenant, id: Uuid) -> Option<Arc<Receipt>> {
        self.ring
            .lock()
            .kept
            .iter()
            .rev()
            .find(|receipt| receipt.id == id && receipt.tenant == *tenant)
            .cloned()
    }

    pub(crate) fn page(&self, tenant: &Tenant, limit: usize, before: Option<u64>) -> ReceiptPage {
        let ring = self.ring.lock();
        let end = ring.first + ring.kept.len() as u64;
        let numbered = (ring.first..end).rev().zip(ring.kept.iter().rev());
        let mut found = numbered
            .skip_while(|(number, _)| before.is_some_and(|before| *number >= before))
            .filter(|(_, receipt)| receipt.tenant == *tenant);
        let limit = limit.clamp(1, PAGE_MAX);
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let last = page.last().map(|(number, _)| *number);
        let next = found.next().and(last);
        ReceiptPage { items: page.into_iter().map(|(_, receipt)| Arc::clone(receipt)).collect(), next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(tenant: &str, n: u128) -> Receipt {
        Receipt {
            accepted: 1,
            deduplicated: 0,
            rejected: vec![],
            rejected_total: 0,
            id: Uuid::from_u128(n),
            coerced: vec![],
            coerced_total: 0,
            timestamps_assigned: 0,
            tenant: Tenant::new(tenant).expect("a name"),
            door: "test",
            peer: None,
            time: Timestamp(0),
            bytes: 1,
            seq: Some(1),
        }
    }

    #[test]
    fn pages_are_newest_first_of_one_tenant_and_the_oldest_goes() {
        let receipts = Receipts::default();
        for n in 0..RECEIPTS_MAX as u128 + 10 {
            receipts.keep(&receipt(if n % 2 == 0 { "even" } else { "odd" }, n));
        }
        let even = Tenant::new("even").expect("a name");
        assert_eq!(receipts.get(&even, Uuid::from_u128(8)), None);
        assert!(receipts.get(&even, Uuid::from_u128(10)).is_some());
        assert_eq!(receipts.get(&even, Uuid::from_u128(11)), None, "another tenant's");
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = receipts.page(&even, 999, before);
            seen.extend(page.items.iter().map(|receipt| receipt.id.as_u128()));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let all: Vec<u128> = (10..RECEIPTS_MAX as u128 + 10).filter(|n| n % 2 == 0).rev().collect();
        assert_eq!(seen, all);
    }
}
