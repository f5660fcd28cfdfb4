//! Access tokens: issued once, verified in memory, revoked with effect on live sessions.
//!
//! A token is `hmd_<id>_<secret>`: 16 hex digits that name it, 64 that prove it (256 random bits).
//!
//! Invariants:
//! - the secret exists in the answer to its issue and nowhere else: stored is its SHA-256, and nothing here logs it;
//! - a revoked token is refused from the moment `revoke` returns, and [`Revocations`] of it end then;
//! - verifying never touches the disk.
//!
//! Not here: revoking from another process (it asks this one, over REST).

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use heimdall_metastore::{Metastore, MetastoreError, TokenRow};
use heimdall_model::time::NS_PER_MINUTE;
use heimdall_model::{Clock, Tenant, Timestamp};
use parking_lot::{Mutex, RwLock};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use tokio::sync::watch;

use crate::hex;
use crate::principal::{Denied, Principal, PrincipalKind, Scope, ScopeError, Scopes, TenantAccess};

/// Tokens that may be valid at once; beyond, issuing is refused.
pub const TOKENS_MAX: usize = 10_000;
/// Longest name of a token (bytes).
pub const NAME_BYTES_MAX: usize = 100;

const PREFIX: &str = "hmd_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const TOKEN_TEXT_BYTES: usize = PREFIX.len() + 2 * ID_BYTES + 1 + 2 * SECRET_BYTES;
/// The last use of a token reaches the metastore at most this often (ns).
const NOTE_INTERVAL_NS: i64 = NS_PER_MINUTE;
/// Name of the token written at first start.
const FIRST_TOKEN_NAME: &str = "first start";

/// What a new token shall be.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// For people: who or what will use it.
    pub name: String,
    /// Tenants it may speak for.
    pub tenants: TenantAccess,
    /// What it may do.
    pub scopes: Scopes,
    /// No longer valid from this time on; never expires when absent.
    pub expires_at: Option<Timestamp>,
}

/// A token as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    /// Public half: names the token in lists and when it is revoked.
    pub id: String,
    /// Name given at issue.
    pub name: String,
    /// Tenant it is bound to; none when it may choose.
    pub tenant: Option<Tenant>,
    /// What it may do.
    pub scopes: Scopes,
    /// Issued at.
    pub created_at: Timestamp,
    /// Principal that issued it.
    pub created_by: String,
    /// No longer valid from this time on.
    pub expires_at: Option<Timestamp>,
    /// Latest use.
    pub last_used_at: Option<Timestamp>,
    /// Revoked at.
    pub revoked_at: Option<Timestamp>,
}

/// The whole token, to be shown once. It does not appear in `Debug`.
pub struct TokenSecret(String);

impl TokenSecret {
    /// The text to send as `Authorization: Bearer`.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

/// Why a token could not be issued, listed or revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// No such token.
    #[error("token `{id}` not found")]
    NotFound {
        /// The id asked for.
        id: String,
    },
    /// The name is empty, longer than [`NAME_BYTES_MAX`], or has control characters.
    #[error("a token name has 1 to 100 bytes and no control characters")]
    Name,
    /// No scope is granted.
    #[error("a token needs at least one scope")]
    NoScope,
    /// The expiry is not in the future.
    #[error("the token would expire at once")]
    ExpiryPassed,
    /// [`TOKENS_MAX`] are valid.
    #[error("too many tokens: revoke some first")]
    TooMany,
    /// The system gives no random bytes.
    #[error("no random bytes from the system")]
    Random,
    /// A stored token has scopes this release does not know.
    #[error("stored token `{id}` is not readable")]
    Unreadable {
        /// Its id.
        id: String,
        /// The scope.
        source: ScopeError,
    },
    /// The file for the first token cannot be written.
    #[error("could not write the admin token file")]
    File(#[from] std::io::Error),
    /// The metastore failed; nothing changed.
    #[error(transparent)]
    Store(#[from] MetastoreError),
}

/// A token that has not been revoked; it may have expired.
struct Live {
    row: TokenRow,
    scopes: Scopes,
    /// Latest use (ns), 0 when never; and the part of it the metastore knows.
    used_at: AtomicI64,
    noted_at: AtomicI64,
}

impl Live {
    fn new(row: TokenRow) -> Result<Live, TokenError> {
        let scopes = Scopes::parse(&row.scopes)
            .map_err(|source| TokenError::Unreadable { id: row.id.clone(), source })?;
        let used = row.last_used_at.map_or(0, |at| at.0);
        Ok(Live { row, scopes, used_at: AtomicI64::new(used), noted_at: AtomicI64::new(used) })
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.row.expires_at.is_some_and(|at| at <= now)
    }

    fn principal(&self) -> Principal {
        Principal {
            name: self.row.name.clone(),
            tenants: self.row.tenant.clone().map_or(TenantAccess::Any, TenantAccess::One),
            scopes: self.scopes,
            kind: PrincipalKind::Token(self.row.id.clone()),
        }
    }
}

/// All tokens of this server.
pub struct Tokens {
    store: Arc<dyn Metastore>,
    clock: Arc<dyn Clock>,
    random: SystemRandom,
    // INVARIANT: exactly the stored tokens without `revoked_at`.
    live: RwLock<HashMap<String, Arc<Live>>>,
    /// Held while a token is added or taken away, so that memory and metastore change in the same order.
    change: Mutex<()>,
    revocations: watch::Sender<u64>,
    ticked_at: AtomicI64,
}

impl Tokens {
    /// Loads the tokens of the metastore.
    ///
    /// # Errors
    /// [`TokenError::Store`] or [`TokenError::Unreadable`].
    pub fn open(store: Arc<dyn Metastore>, clock: Arc<dyn Clock>) -> Result<Tokens, TokenError> {
        let rows = store.tokens().list()?;
        let live = rows
            .into_iter()
            .filter(|row| row.revoked_at.is_none())
            .map(|row| Ok((row.id.clone(), Arc::new(Live::new(row)?))))
            .collect::<Result<_, TokenError>>()?;
        let ticked_at = AtomicI64::new(clock.now().0);
        let revocations = watch::Sender::new(0);
        let (live, change, random) = (RwLock::new(live), Mutex::new(()), SystemRandom::new());
        Ok(Tokens { store, clock, random, live, change, revocations, ticked_at })
    }

    /// Issues a token in the name of `by`. The secret is returned once and cannot be had again.
    ///
    /// # Errors
    /// The request is not acceptable, or nothing could be stored.
    pub fn issue(&self, new: &NewToken, by: &str) -> Result<(TokenInfo, TokenSecret), TokenError> {
        let (row, secret) = self.mint(new, by)?;
        let info = self.admit(row)?;
        Ok((info, secret))
    }

    /// Makes a token that is valid nowhere yet.
    fn mint(&self, new: &NewToken, by: &str) -> Result<(TokenRow, TokenSecret), TokenError> {
        let now = self.clock.now();
        check_new(new, now)?;
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        self.random.fill(&mut random).map_err(|_| TokenError::Random)?;
        let (id, secret) = random.split_at(ID_BYTES);
        let (id, secret) = (hex::encode(id), hex::encode(secret));
        let text = format!("{PREFIX}{id}_{secret}");
        let row = TokenRow {
            id,
            name: new.name.clone(),
            tenant: match &new.tenants {
                TenantAccess::One(tenant) => Some(tenant.clone()),
                TenantAccess::Any => None,
            },
            scopes: new.scopes.to_string(),
            secret_hash: sha256(secret.as_bytes()),
            created_at: now,
            created_by: by.to_owned(),
            expires_at: new.expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        Ok((row, TokenSecret(text)))
    }

    /// Stores a minted token and lets it in.
    fn admit(&self, row: TokenRow) -> Result<TokenInfo, TokenError> {
        let _change = self.change.lock();
        let now = self.clock.now();
        let valid = self.live.read().values().filter(|live| !live.is_expired(now)).count();
        if valid >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let live = Live::new(row)?;
        self.store.tokens().insert(&live.row)?;
        let info = info(&live.row, live.scopes);
        self.live.write().insert(live.row.id.clone(), Arc::new(live));
        Ok(info)
    }

    /// Returns the principal of a token presented as text (without `Bearer`).
    ///
    /// Takes the same time whether the id or the secret is wrong, up to the lookup in a hash map.
    ///
    /// # Errors
    /// [`Denied::BadToken`] or [`Denied::Expired`].
    pub fn verify(&self, presented: &str) -> Result<Principal, Denied> {
        let (id, secret) = split(presented).ok_or(Denied::BadToken)?;
        let hash = sha256(secret.as_bytes());
        let live = self.live.read().get(id).cloned().ok_or(Denied::BadToken)?;
        if !equal_in_constant_time(&hash, &live.row.secret_hash) {
            return Err(Denied::BadToken);
        }
        let now = self.clock.now();
        if live.is_expired(now) {
            return Err(Denied::Expired);
        }
        live.used_at.fetch_max(now.0, Ordering::Relaxed);
        Ok(live.principal())
    }

    /// Revokes a token: it is refused, and its live sessions are told, before this returns.
    ///
    /// # Errors
    /// [`TokenError::NotFound`], or [`TokenError::Store`] and the token is still valid.
    pub fn revoke(&self, id: &str) -> Result<(), TokenError> {
        let _change = self.change.lock();
        if !self.store.tokens().revoke(id, self.clock.now())? {
            return Err(TokenError::NotFound { id: id.chars().take(2 * ID_BYTES).collect() });
        }
        self.live.write().remove(id);
        self.revocations.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Returns every token ever issued, in order of issue.
    ///
    /// # Errors
    /// [`TokenError::Store`] or [`TokenError::Unreadable`].
    pub fn list(&self) -> Result<Vec<TokenInfo>, TokenError> {
        let rows = self.store.tokens().list()?;
        let live = self.live.read();
        rows.into_iter()
            .map(|row| {
                let scopes = Scopes::parse(&row.scopes)
                    .map_err(|source| TokenError::Unreadable { id: row.id.clone(), source })?;
                let used = live.get(&row.id).map_or(0, |live| live.used_at.load(Ordering::Relaxed));
                let mut info = info(&row, scopes);
                info.last_used_at = info.last_used_at.max((used > 0).then_some(Timestamp(used)));
                Ok(info)
            })
            .collect()
    }

    /// Watches the validity of one principal, for a session that lives longer than a request.
    #[must_use]
    pub fn subscribe_revocations(self: &Arc<Self>, principal: &Principal) -> Revocations {
        Revocations {
            tokens: Arc::clone(self),
            changes: self.revocations.subscribe(),
            id: match &principal.kind {
                PrincipalKind::Token(id) => Some(id.clone()),
                PrincipalKind::Loopback => None,
            },
        }
    }

    /// Housekeeping, to be called about once a second: ends the sessions of tokens that expired since the last call,
    /// and stores latest uses once a minute.
    ///
    /// # Errors
    /// [`TokenError::Store`]: uses are stored by a later call.
    pub fn tick(&self) -> Result<(), TokenError> {
        let now = self.clock.now();
        let before = Timestamp(self.ticked_at.swap(now.0, Ordering::Relaxed));
        let live: Vec<_> = self.live.read().values().cloned().collect();
        if live.iter().any(|live| live.is_expired(now) && !live.is_expired(before)) {
            self.revocations.send_modify(|generation| *generation += 1);
        }
        self.note_uses(&live)
    }

    fn note_uses(&self, live: &[Arc<Live>]) -> Result<(), TokenError> {
        let due = |live: &&Arc<Live>| {
            let (used, noted) = (live.used_at.load(Ordering::Relaxed), live.noted_at.load(Ordering::Relaxed));
            used > noted && (noted == 0 || used - noted >= NOTE_INTERVAL_NS)
        };
        let uses: Vec<_> = live
            .iter()
            .filter(due)
            .map(|live| (live, Timestamp(live.used_at.load(Ordering::Relaxed))))
            .collect();
        if uses.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = uses.iter().map(|(live, at)| (live.row.id.clone(), *at)).collect();
        self.store.tokens().note_used(&rows)?;
        for (live, at) in uses {
            live.noted_at.store(at.0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes sure somebody can administer the server: when no valid admin token for all tenants exists, issues one and
    /// writes it to `path` with mode 0600, replacing what is there. Returns whether it did.
    ///
    /// The file is complete before the token becomes valid, so a crash in between leaves a useless file, not a lost token.
    ///
    /// # Errors
    /// [`TokenError::File`], [`TokenError::Random`] or [`TokenError::Store`].
    pub fn ensure_admin_token(&self, path: &Path) -> Result<bool, TokenError> {
        let now = self.clock.now();
        let is_admin = |live: &Arc<Live>| {
            live.scopes.allow(Scope::Admin) && live.row.tenant.is_none() && !live.is_expired(now)
        };
        if self.live.read().values().any(is_admin) {
            return Ok(false);
        }
        let new = NewToken {
            name: FIRST_TOKEN_NAME.to_owned(),
            tenants: TenantAccess::Any,
            scopes: Scopes::from_iter([Scope::Admin]),
            expires_at: None,
        };
        let (row, secret) = self.mint(&new, "heimdall")?;
        write_private(path, secret.expose())?;
        self.admit(row)?;
        Ok(true)
    }

    fn is_valid(&self, id: &str) -> bool {
        let now = self.clock.now();
        self.live.read().get(id).is_some_and(|live| !live.is_expired(now))
    }
}

/// The validity of one principal over time.
pub struct Revocations {
    tokens: Arc<Tokens>,
    changes: watch::Receiver<u64>,
    id: Option<String>,
}

impl Revocations {
    /// Returns when the token is revoked or has expired: at once when it already is, never for loopback. Cancel safe.
    pub async fn ended(&mut self) {
        let Some(id) = &self.id else { return std::future::pending().await };
        loop {
            self.changes.mark_unchanged();
            if !self.tokens.is_valid(id) || self.changes.changed().await.is_err() {
                return;
            }
        }
    }
}

fn check_new(new: &NewToken, now: Timestamp) -> Result<(), TokenError> {
    let name_fits = !new.name.trim().is_empty()
        && new.name.len() <= NAME_BYTES_MAX
        && !new.name.chars().any(char::is_control);
    if !name_fits {
        return Err(TokenError::Name);
    }
    if new.scopes.is_empty() {
        return Err(TokenError::NoScope);
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(TokenError::ExpiryPassed);
    }
    Ok(())
}

fn info(row: &TokenRow, scopes: Scopes) -> TokenInfo {
    TokenInfo {
        id: row.id.clone(),
        name: row.name.clone(),
        tenant: row.tenant.clone(),
        scopes,
        created_at: row.created_at,
        created_by: row.created_by.clone(),
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
    }
}

/// Id and secret of a text that has the form of a token.
fn split(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix(PREFIX)?;
    let (id, secret) = body.split_once('_')?;
    let is_hex = body.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'_'));
    (text.len() == TOKEN_TEXT_BYTES && id.len() == 2 * ID_BYTES && is_hex).then_some((id, secret))
}

/// Hides the secret half of every token in a text meant for people or files.
pub(crate) fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find(PREFIX) {
        let (before, token) = rest.split_at(found);
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = token.find(|c| !is_part(c)).unwrap_or(token.len());
        let id_end = (PREFIX.len() + 2 * ID_BYTES).min(end);
        clean.push_str(before);
        clean.push_str(&token[..id_end]);
        clean.push_str(if end > id_end { "_…" } else { "" });
        rest = &token[end..];
    }
    clean.push_str(rest);
    clean
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// Compares every byte whatever the earlier ones say.
fn equal_in_constant_time(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    difference == 0
}

/// Writes a file only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("token.new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use heimdall_model::ManualClock;
    use std::time::Duration;

    pub(crate) struct Bench {
        pub(crate) dir: tempfile::TempDir,
        pub(crate) clock: Arc<ManualClock>,
        pub(crate) store: Arc<dyn Metastore>,
    }

    impl Bench {
        pub(crate) fn new() -> Bench {
            let dir = tempfile::tempdir().unwrap();
            let store = Arc::new(heimdall_metastore::open(&dir.path().join("meta.db")).unwrap());
            let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T12:00:00Z").unwrap()));
            Bench { dir, clock, store }
        }

        pub(crate) fn tokens(&self) -> Arc<Tokens> {
            Arc::new(Tokens::open(self.store.clone(), self.clock.clone()).unwrap())
        }
    }

    pub(crate) fn watcher(expires_at: Option<Timestamp>) -> NewToken {
        NewToken {
            name: "night shift".to_owned(),
            tenants: TenantAccess::One(Tenant::new("acme").unwrap()),
            scopes: Scopes::from_iter([Scope::Watch]),
            expires_at,
        }
    }

    #[test]
    fn a_token_names_its_principal_and_survives_a_restart() {
        let bench = Bench::new();
        let (info, secret) = bench.tokens().issue(&watcher(None), "loopback").unwrap();
        let tokens = bench.tokens();
        let principal = tokens.verify(secret.expose()).unwrap();
        assert_eq!((principal.name.as_str(), principal.kind), ("night shift", PrincipalKind::Token(info.id)));
        assert_eq!(tokens.list().unwrap()[0].last_used_at, Some(bench.clock.now()));
        assert!(!format!("{secret:?}").contains("hmd_"));
    }

    #[test]
    fn everything_but_the_exact_token_is_refused() {
        let bench = Bench::new();
        let tokens = bench.tokens();
        let (_, secret) = tokens.issue(&watcher(None), "loopback").unwrap();
        let good = secret.expose();
        let flip = |at: usize| {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            String::from_utf8(bytes).unwrap()
        };
        let bad = [
            flip(5),
            flip(30),
            flip(good.len() - 1),
            String::new(),
            "hmd__".into(),
            format!("{good} "),
            good.to_uppercase(),
        ];
        for text in bad {
            assert_eq!(tokens.verify(&text), Err(Denied::BadToken), "{text}");
        }
    }

    #[tokio::test]
    async fn revoking_ends_live_sessions_of_that_token_only() {
        let bench = Bench::new();
        let tokens = bench.tokens();
        let (info, secret) = tokens.issue(&watcher(None), "loopback").unwrap();
        let (_, other) = tokens.issue(&watcher(None), "loopback").unwrap();
        let watch =
            |secret: &TokenSecret| tokens.subscribe_revocations(&tokens.verify(secret.expose()).unwrap());
        let (mut mine, mut others) = (watch(&secret), watch(&other));
        let mut loopback = tokens.subscribe_revocations(&Principal::loopback());
        let session = tokio::spawn(async move { mine.ended().await });
        tokio::task::yield_now().await;
        tokens.revoke(&info.id).unwrap();
        tokio::time::timeout(Duration::from_secs(1), session).await.expect("cut within a second").unwrap();
        assert_eq!(tokens.verify(secret.expose()), Err(Denied::BadToken));
        assert!(bench.tokens().verify(secret.expose()).is_err(), "and after a restart");
        assert!(futures_pending(others.ended()).await && futures_pending(loopback.ended()).await);
        assert!(matches!(tokens.revoke("nope"), Err(TokenError::NotFound { .. })));
    }

    async fn futures_pending(future: impl Future<Output = ()>) -> bool {
        tokio::select! { biased; () = future => false, () = tokio::task::yield_now() => true }
    }

    #[tokio::test]
    async fn expiry_refuses_and_ends_sessions_at_the_next_tick() {
        let bench = Bench::new();
        let tokens = bench.tokens();
        let expiry = bench.clock.now().saturating_add_ns(NS_PER_MINUTE);
        let (_, secret) = tokens.issue(&watcher(Some(expiry)), "loopback").unwrap();
        let mut session = tokens.subscribe_revocations(&tokens.verify(secret.expose()).unwrap());
        let session = tokio::spawn(async move { session.ended().await });
        tokio::task::yield_now().await;
        bench.clock.set(expiry);
        assert_eq!(tokens.verify(secret.expose()), Err(Denied::Expired));
        tokens.tick().unwrap();
        tokio::time::timeout(Duration::from_secs(1), session).await.expect("cut").unwrap();
        assert!(matches!(tokens.issue(&watcher(Some(expiry)), "x"), Err(TokenError::ExpiryPassed)));
        assert_eq!(
            bench.store.tokens().list().unwrap()[0].last_used_at,
            Some(Timestamp(expiry.0 - NS_PER_MINUTE))
        );
    }

    #[test]
    fn the_first_admin_token_is_written_once_and_privately() {
        let bench = Bench::new();
        let path = bench.dir.path().join("admin.token");
        std::fs::write(&path, "left over from a crash").unwrap();
        assert!(bench.tokens().ensure_admin_token(&path).unwrap());
        assert!(!bench.tokens().ensure_admin_token(&path).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(bench.tokens().verify(text.trim()).unwrap().scopes.allow(Scope::Admin));
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn redaction_keeps_the_id_and_hides_the_secret() {
        let token = format!("hmd_{}_{}", "a".repeat(16), "b".repeat(64));
        assert_eq!(
            redact(&format!("used {token}, twice {token}")),
            "used hmd_aaaaaaaaaaaaaaaa_…, twice hmd_aaaaaaaaaaaaaaaa_…"
        );
        assert_eq!(redact("hmd_ and é"), "hmd_ and é");
    }
}
