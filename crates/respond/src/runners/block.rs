//! `block.ip`, `unblock.ip`: source addresses kept out, always for a limited time.
//!
//! Where they are kept out: a set of nftables, a file of `deny` lines for nginx, a webhook; any of them, together.
//!
//! Invariants:
//! - every block has an end, at most `ttl_max` away, after which it is lifted by [`Blocks::tick`] (and by nftables itself);
//! - never blocked: loopback, multicast and unspecified addresses, this machine's own, the networks in `never`, and private ones
//!   unless `allow_private`;
//! - a block is on disk before it holds, and put back after a restart; when it cannot be made to hold, it is not kept.

mod nft;
mod own;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_metastore::{Document, DocumentCursor, DocumentFilter, Metastore, PAGE_ROWS_MAX};
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Clock, Tenant, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use self::nft::Nft;
use super::config::{BlockRunnerConfig, Network};
use super::deadline::{Deadline, failed};
use super::parameters::{action, effect, invalid, only, text, ttl, verb};
use super::webhook::Webhooks;
use super::{RunnerPorts, RunnersError, files, wrong};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress};

const KIND: &str = "block";
const SYSTEM: &str = "block";
/// Longest reason kept (bytes).
const REASON_BYTES_MAX: usize = 500;
/// Time given to what is done without an action: lifting and putting back.
const UPKEEP_DEADLINE: Duration = Duration::from_secs(30);

/// An address that is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The address.
    pub address: IpAddr,
    /// Blocked since.
    pub since: Timestamp,
    /// Blocked until.
    pub until: Timestamp,
    /// Why; may be empty.
    pub reason: String,
}

struct Inner {
    config: BlockRunnerConfig,
    never: Vec<Network>,
    nft: Option<Nft>,
    store: Arc<dyn Metastore>,
    clock: Arc<dyn Clock>,
    webhook: Option<String>,
    webhooks: Arc<Webhooks>,
    by_address: Mutex<BTreeMap<IpAddr, Block>>,
    /// Whether blocks of before the restart have not been put back yet.
    is_stale: AtomicBool,
    /// Held while one change is made durable and made to hold.
    turn: tokio::sync::Mutex<()>,
}

/// The blocked addresses: what the API shows and lifts. Cheap to clone.
#[derive(Clone)]
pub struct Blocks(Arc<Inner>);

impl Blocks {
    pub(crate) fn build(
        config: &BlockRunnerConfig,
        ports: &RunnerPorts,
        webhooks: &Arc<Webhooks>,
    ) -> Result<Blocks, RunnersError> {
        let webhook = webhooks.named("block.webhook", config.webhook.as_ref())?;
        if !config.nftables && config.file.is_none() && webhook.is_none() {
            return Err(wrong("block.enabled", "needs `nftables`, `file` or `webhook`"));
        }
        let network = |text: &String| {
            Network::parse(text).ok_or_else(|| wrong("block.never", format!("`{text}` is not a network")))
        };
        let never = config.never.iter().map(network).collect::<Result<_, _>>()?;
        let nft = config.nftables.then(|| Nft::build(config)).transpose()?;
        let blocks = load(&*ports.store, config.addresses_max);
        let blocks =
            blocks.map_err(|reason| wrong("block", format!("the stored ones are not readable: {reason}")))?;
        Ok(Blocks(Arc::new(Inner {
            config: config.clone(),
            never,
            nft,
            store: ports.store.clone(),
            clock: ports.clock.clone(),
            webhook,
            webhooks: webhooks.clone(),
            is_stale: AtomicBool::new(true),
            by_address: Mutex::new(blocks),
            turn: tokio::sync::Mutex::new(()),
        })))
    }

    /// Every blocked address, in order.
    #[must_use]
    pub fn list(&self) -> Vec<Block> {
        self.0.by_address.lock().values().cloned().collect()
    }

    /// The block of an address, where there is one.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<Block> {
        self.0.by_address.lock().get(&address.to_canonical()).cloned()
    }

    /// Blocks an address, or sets the end of its block anew; returns the block before, where there was one.
    ///
    /// # Errors
    /// Nothing has changed on this machine: the address must not be blocked, there are too many, or something failed.
    pub async fn block(
        &self,
        address: IpAddr,
        ttl: Duration,
        reason: &str,
        deadline: Duration,
    ) -> Result<Option<Block>, ActionError> {
        let address = address.to_canonical();
        self.0.check(address)?;
        self.0.check_own(address).await?;
        let _turn = self.0.turn.lock().await;
        let before = self.get(address);
        if before.is_none() && self.0.by_address.lock().len() >= self.0.config.addresses_max {
            return Err(failed(SYSTEM, "`block.addresses_max` addresses are blocked already"));
        }
        let block = self.0.new_block(address, ttl, reason);
        self.change(address, before, Some(block), Deadline::new(deadline)).await
    }

    /// Lifts a block; returns it, where there was one.
    ///
    /// # Errors
    /// The block stays.
    pub async fn unblock(&self, address: IpAddr, deadline: Duration) -> Result<Option<Block>, ActionError> {
        let address = address.to_canonical();
        let _turn = self.0.turn.lock().await;
        let before = self.get(address);
        self.change(address, before, None, Deadline::new(deadline)).await
    }

    async fn change(
        &self,
        address: IpAddr,
        before: Option<Block>,
        after: Option<Block>,
        deadline: Deadline,
    ) -> Result<Option<Block>, ActionError> {
        self.put(address, after.as_ref()).await?;
        let Err(error) = self.enforce(address, after.as_ref(), deadline).await else { return Ok(before) };
        self.put(address, before.as_ref()).await?;
        if let Err(again) = self.hold(address, before.as_ref(), Deadline::new(UPKEEP_DEADLINE)).await {
            tracing::error!(%address, error = %again, "what was before could not be put back");
            self.0.is_stale.store(true, Ordering::Relaxed);
        }
        Err(error)
    }

    /// Makes it durable, then visible.
    async fn put(&self, address: IpAddr, block: Option<&Block>) -> Result<(), ActionError> {
        let (inner, stored) = (self.0.clone(), block.cloned());
        let written = tokio::task::spawn_blocking(move || inner.store_one(address, stored.as_ref())).await;
        written.map_err(|_| failed(SYSTEM, "the store panicked"))?.map_err(|error| failed(SYSTEM, error))?;
        let mut by_address = self.0.by_address.lock();
        match block {
            Some(block) => by_address.insert(address, block.clone()),
            None => by_address.remove(&address),
        };
        Ok(())
    }

    /// Makes it hold on this machine and elsewhere.
    async fn enforce(
        &self,
        address: IpAddr,
        block: Option<&Block>,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        self.hold(address, block, deadline).await?;
        let Some(webhook) = &self.0.webhook else { return Ok(()) };
        let told = match block {
            Some(block) => {
                let with = [
                    ("ttl", seconds_left(block, block.since).into()),
                    ("reason", block.reason.as_str().into()),
                ];
                action("block.ip", &address.to_string(), with)
            }
            None => action("unblock.ip", &address.to_string(), []),
        };
        self.0.webhooks.call(webhook, &told, deadline).await.map(drop)
    }

    /// Makes it hold on this machine.
    async fn hold(
        &self,
        address: IpAddr,
        block: Option<&Block>,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        if let Some(nft) = &self.0.nft {
            match block {
                Some(block) => {
                    nft.block(&[(address, seconds_left(block, self.0.clock.now()))], deadline).await?
                }
                None => nft.unblock(address, deadline).await?,
            }
        }
        self.write_file().await
    }

    async fn write_file(&self) -> Result<(), ActionError> {
        let Some(path) = self.0.config.file.clone() else { return Ok(()) };
        let text = deny_lines(&self.list());
        let written = tokio::task::spawn_blocking(move || {
            files::replace(&path, &text)
                .map_err(|error| format!("cannot write `{}`: {error}", path.display()))
        });
        written
            .await
            .unwrap_or_else(|_| Err("the file was not written".to_owned()))
            .map_err(|error| failed(SYSTEM, error))
    }

    /// Puts back what a restart of this machine took away.
    ///
    /// # Errors
    /// It is tried again at the next tick.
    pub async fn resume(&self) -> Result<(), ActionError> {
        let _turn = self.0.turn.lock().await;
        let now = self.0.clock.now();
        let alive = self.list().into_iter().filter(|block| block.until > now);
        let alive: Vec<(IpAddr, i64)> =
            alive.map(|block| (block.address, seconds_left(&block, now))).collect();
        if let Some(nft) = &self.0.nft {
            nft.block(&alive, Deadline::new(UPKEEP_DEADLINE)).await?;
        }
        self.write_file().await?;
        self.0.is_stale.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Lifts blocks whose time is over, whether or not it can be told.
    ///
    /// # Errors
    /// This machine's rules could not be changed, and it is tried again at the next tick; or a webhook was not told, which is not
    /// tried again.
    pub async fn tick(&self) -> Result<(), ActionError> {
        let mut result = Ok(());
        if self.0.is_stale.load(Ordering::Relaxed) {
            result = self.resume().await;
        }
        let now = self.0.clock.now();
        for block in self.list().into_iter().filter(|block| block.until <= now) {
            result = self.lift(block.address, now).await.and(result);
        }
        result
    }

    async fn lift(&self, address: IpAddr, now: Timestamp) -> Result<(), ActionError> {
        let _turn = self.0.turn.lock().await;
        // It may have been blocked anew since.
        if self.get(address).is_none_or(|block| block.until > now) {
            return Ok(());
        }
        self.put(address, None).await?;
        self.enforce(address, None, Deadline::new(UPKEEP_DEADLINE)).await.inspect_err(|_| {
            self.0.is_stale.store(true, Ordering::Relaxed);
        })
    }

    /// Whether it holds now.
    async fn holds(&self, address: IpAddr, deadline: Deadline) -> Result<bool, ActionError> {
        let is_kept = self.get(address).is_some_and(|block| block.until > self.0.clock.now());
        match &self.0.nft {
            Some(nft) => Ok(nft.has(address, deadline).await? && is_kept),
            None => Ok(is_kept),
        }
    }
}

impl Inner {
    /// Refuses addresses that must never be blocked, as far as they themselves tell.
    fn check(&self, address: IpAddr) -> Result<(), ActionError> {
        let refuse =
            |reason: &str| Err(invalid("target", format!("`{address}` must not be blocked: {reason}")));
        if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
            return refuse("it is no address of a host elsewhere");
        }
        if matches!(address, IpAddr::V4(address) if address.is_broadcast()) {
            return refuse("it is the broadcast address");
        }
        if is_private(address) && !self.config.allow_private {
            return refuse("it is private (`block.allow_private`)");
        }
        if self.never.iter().any(|network| network.contains(address)) {
            return refuse("it is in `block.never`");
        }
        Ok(())
    }

    async fn check_own(&self, address: IpAddr) -> Result<(), ActionError> {
        let own = tokio::task::spawn_blocking(own::addresses).await.unwrap_or_default();
        let is_own = own.contains(&address);
        if is_own {
            Err(failed(SYSTEM, format!("`{address}` is an address of this machine")))
        } else {
            Ok(())
        }
    }

    fn new_block(&self, address: IpAddr, ttl: Duration, reason: &str) -> Block {
        let ttl = ttl.clamp(Duration::from_secs(1), self.config.ttl_max);
        let since = self.clock.now();
        let until = since.saturating_add_ns(i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX));
        let end = (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(|end| reason.is_char_boundary(*end));
        Block { address, since, until, reason: reason[..end.unwrap_or_default()].to_owned() }
    }

    fn store_one(&self, address: IpAddr, block: Option<&Block>) -> Result<(), String> {
        let documents = self.store.documents();
        let Some(block) = block else {
            return documents.delete(KIND, &address.to_string()).map(drop).map_err(|error| error.to_string());
        };
        let document = Document {
            id: address.to_string(),
            tenant: Tenant::default(),
            at: block.since,
            state: "blocked".to_owned(),
            key: String::new(),
            body: serde_json::to_string(block).map_err(|error| error.to_string())?,
        };
        documents.put(KIND, &[document]).map_err(|error| error.to_string())
    }
}

fn load(store: &dyn Metastore, max: usize) -> Result<BTreeMap<IpAddr, Block>, String> {
    let mut blocks = BTreeMap::new();
    let mut after: Option<DocumentCursor> = None;
    loop {
        let page = store.documents().list(KIND, &DocumentFilter::default(), after.as_ref(), PAGE_ROWS_MAX);
        let page = page.map_err(|error| error.to_string())?;
        for document in &page {
            match serde_json::from_str::<Block>(&document.body) {
                Ok(block) => drop(blocks.insert(block.address, block)),
                Err(error) => tracing::warn!(address = document.id, %error, "stored block left out"),
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE_ROWS_MAX && blocks.len() < max => {
                after = Some(DocumentCursor { at: last.at, id: last.id.clone() });
            }
            _ => return Ok(blocks),
        }
    }
}

/// Whole seconds, at least one.
fn seconds_left(block: &Block, now: Timestamp) -> i64 {
    (block.until.0.saturating_sub(now.0) / NS_PER_SECOND).max(1)
}

fn deny_lines(blocks: &[Block]) -> String {
    let head = "# Blocked addresses; written by Heimdall, changes are lost.\n".to_owned();
    blocks.iter().fold(head, |mut text, block| {
        let _ = writeln!(text, "deny {};", block.address);
        text
    })
}

/// Addresses of networks of one's own: private, link-local, shared by carriers (RFC 1918, 3927, 4193, 4291, 6598).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private() || address.is_link_local() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Does `block.ip` and `unblock.ip`: the target is an IPv4 or IPv6 address.
pub(crate) struct BlockRunner {
    blocks: Blocks,
}

impl BlockRunner {
    pub(crate) fn new(blocks: Blocks) -> BlockRunner {
        BlockRunner { blocks }
    }

    async fn see(&self, action: &Action, deadline: Deadline) -> Result<Effect, ActionError> {
        let (effect, address) = (self.describe(action)?, address(action)?);
        if verb_is_block(action) {
            self.blocks.0.check_own(address).await?;
        }
        if let Some(nft) = &self.blocks.0.nft {
            nft.look(deadline).await?;
        }
        let before = self.blocks.get(address);
        let now = before
            .as_ref()
            .map_or("it is not blocked".to_owned(), |block| format!("it is blocked until {}", block.until));
        let inverse = self.back(action, before.as_ref());
        Ok(Effect { summary: format!("{}; {now}", effect.summary), inverse, ..effect })
    }

    async fn act(&self, action: &Action, deadline: Duration) -> Result<Outcome, ActionError> {
        self.describe(action)?;
        let (address, config) = (address(action)?, &self.blocks.0.config);
        let (before, summary) = if verb_is_block(action) {
            let ttl = ttl(action, config.ttl, config.ttl_max)?;
            let reason = text(action, "reason")?.unwrap_or_default();
            let before = self.blocks.block(address, ttl, reason, deadline).await?;
            (before, format!("blocked {address} for {}s", ttl.as_secs()))
        } else {
            (self.blocks.unblock(address, deadline).await?, format!("unblocked {address}"))
        };
        Ok(Outcome { summary, inverse: self.back(action, before.as_ref()) })
    }

    /// What leads back: to no block, or to the one before for as long as it would have lasted.
    fn back(&self, of: &Action, before: Option<&Block>) -> Option<Action> {
        match before {
            None => verb_is_block(of).then(|| action("unblock.ip", &of.target, [])),
            Some(before) => {
                let left = seconds_left(before, self.blocks.0.clock.now());
                let with = [("ttl", left.into()), ("reason", before.reason.as_str().into())];
                Some(action("block.ip", &of.target, with))
            }
        }
    }
}

fn verb_is_block(action: &Action) -> bool {
    !action.kind.starts_with("unblock")
}

fn address(action: &Action) -> Result<IpAddr, ActionError> {
    let address = action.target.parse::<IpAddr>();
    address
        .map(|address| address.to_canonical())
        .map_err(|_| invalid("target", "must be an IPv4 or IPv6 address"))
}

impl ActionRunner for BlockRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["block.ip", "unblock.ip"]
    }

    fn describe(&self, of: &Action) -> Result<Effect, ActionError> {
        debug_assert_eq!(verb(of), "ip", "kinds of this runner");
        let address = address(of)?;
        if !verb_is_block(of) {
            only(of, &["reason"])?;
            return Ok(effect(format!("unblock {address}"), None, true));
        }
        only(of, &["ttl", "reason"])?;
        text(of, "reason")?;
        self.blocks.0.check(address)?;
        let config = &self.blocks.0.config;
        let ttl = ttl(of, config.ttl, config.ttl_max)?;
        let inverse = action("unblock.ip", &of.target, []);
        Ok(effect(format!("block {address} for {}s", ttl.as_secs()), Some(inverse), true))
    }

    fn look<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Effect, ActionError>> {
        Box::pin(self.see(action, Deadline::new(deadline)))
    }

    fn run<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Outcome, ActionError>> {
        Box::pin(self.act(action, deadline))
    }

    fn progress<'a>(
        &'a self,
        action: &'a Action,
        _: Timestamp,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        Box::pin(async move {
            let holds = self.blocks.holds(address(action)?, Deadline::new(deadline)).await?;
            Ok(if holds == verb_is_block(action) { Progress::Done } else { Progress::NotDone })
        })
    }
}

#[cfg(test)]
mod tests;
