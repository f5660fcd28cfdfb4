//! `cache.flush`: deletes keys of a Redis cache by pattern, a few at a time.
//!
//! Invariants:
//! - a pattern begins, letter by letter, with one of `prefixes`; a whole database is emptied only where `allow_flush_all` says so;
//! - more than `keys_max` keys are refused before one is deleted;
//! - the server never does more at once than one `SCAN` step or one `UNLINK` of `batch_keys` keys.
//!
//! Source: redis.io, commands `SCAN`, `UNLINK`, `FLUSHDB ASYNC`, `DBSIZE`.

use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisError,
};

use super::config::{ActionSecret, CacheRunnerConfig};
use super::deadline::{Deadline, failed, unreachable};
use super::parameters::{count, effect, invalid, one_line, only};
use super::webhook::secret_of;
use super::{RunnersError, wrong};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress};

const SYSTEM: &str = "redis";
/// Keys counted by `look` at most: it says "at least" beyond.
const LOOK_KEYS_MAX: u64 = 100_000;
/// Keys the server looks at in one step of a scan.
const SCAN_COUNT: usize = 1_000;
/// Longest pattern (bytes).
const PATTERN_BYTES_MAX: usize = 256;

/// Does `cache.flush`: the target is a pattern of keys, as `SCAN MATCH` takes it.
pub(crate) struct CacheRunner {
    config: CacheRunnerConfig,
    address: ConnectionAddr,
    password: Option<ActionSecret>,
}

/// Keys found: how many, and whether that is all.
struct Count {
    keys: u64,
    is_all: bool,
}

impl CacheRunner {
    pub(crate) fn build(config: &CacheRunnerConfig) -> Result<CacheRunner, RunnersError> {
        let address = config.address.rsplit_once(':').and_then(|(host, port)| {
            let host = host.trim_matches(['[', ']']);
            (!host.is_empty()).then_some(ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?))
        });
        let address = address.ok_or_else(|| wrong("cache.address", "must be host:port"))?;
        if config.batch_keys == 0 {
            return Err(wrong("cache.batch_keys", "must be 1 or more"));
        }
        if config.prefixes.iter().any(|prefix| prefix.is_empty() || prefix.contains(GLOB)) {
            return Err(wrong("cache.prefixes", "must be beginnings of keys without `*`, `?`, `[`, `\\`"));
        }
        let password = secret_of(config.password.as_ref(), config.password_file.as_ref())
            .map_err(|reason| wrong("cache.password_file", reason))?;
        Ok(CacheRunner { config: config.clone(), address, password })
    }

    fn database(&self, action: &Action) -> Result<u32, ActionError> {
        let database = count(action, "database")?.unwrap_or(self.config.database);
        let is_known = database == self.config.database || self.config.databases.contains(&database);
        is_known
            .then_some(database)
            .ok_or_else(|| invalid("database", "is not in the allow-list `cache.databases`"))
    }

    fn check(&self, pattern: &str) -> Result<(), ActionError> {
        if pattern == "*" {
            let is_allowed = self.config.allow_flush_all;
            return is_allowed.then_some(()).ok_or_else(|| {
                invalid(
                    "target",
                    "`*` empties the whole database, which `cache.allow_flush_all` does not allow",
                )
            });
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(invalid("target", format!("must have at most {PATTERN_BYTES_MAX} bytes")));
        }
        let is_scoped = self.config.prefixes.iter().any(|prefix| pattern.starts_with(prefix.as_str()));
        is_scoped.then_some(()).ok_or_else(|| invalid("target", "must begin with one of `cache.prefixes`"))
    }

    async fn connect(
        &self,
        action: &Action,
        deadline: Deadline,
    ) -> Result<MultiplexedConnection, ActionError> {
        let database = self.database(action)?;
        let connected = async {
            let settings = self.settings(database).map_err(|error| problem(&error))?;
            let limits = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            let client = Client::open(settings).map_err(|error| problem(&error))?;
            client
                .get_multiplexed_async_connection_with_config(&limits)
                .await
                .map_err(|error| problem(&error))
        };
        deadline.asking(SYSTEM, self.config.timeout, connected).await
    }

    fn settings(&self, database: u32) -> Result<redis::ConnectionInfo, RedisError> {
        let info = self.address.clone().into_connection_info()?;
        let mut settings = info.redis_settings().clone().set_db(i64::from(database)).set_skip_set_lib_name();
        if let Some(user) = &self.config.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.expose());
        }
        Ok(info.set_redis_settings(settings))
    }

    async fn ask<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        deadline: Deadline,
        command: &Cmd,
    ) -> Result<T, ActionError> {
        let answer = async { command.query_async(connection).await.map_err(|error| problem(&error)) };
        deadline.asking(SYSTEM, self.config.timeout, answer).await
    }

    /// One step of a scan: where to go on (0 at the end), and keys, some perhaps twice.
    async fn step(
        &self,
        connection: &mut MultiplexedConnection,
        pattern: &str,
        at: u64,
        deadline: Deadline,
    ) -> Result<(u64, Vec<Vec<u8>>), ActionError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(at).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        self.ask(connection, deadline, &scan).await
    }

    /// Counts the keys, to `max` or until half of the time is over.
    async fn count(
        &self,
        connection: &mut MultiplexedConnection,
        pattern: &str,
        max: u64,
        deadline: Deadline,
    ) -> Result<Count, ActionError> {
        if pattern == "*" {
            let keys = self.ask(connection, deadline, &redis::cmd("DBSIZE")).await?;
            return Ok(Count { keys, is_all: true });
        }
        let reserve = deadline.left() / 2;
        let (mut at, mut keys) = (0, 0_u64);
        loop {
            let (next, found) = self.step(connection, pattern, at, deadline).await?;
            keys += u64::try_from(found.len()).unwrap_or(u64::MAX);
            at = next;
            if at == 0 || keys > max || deadline.left() < reserve {
                return Ok(Count { keys, is_all: at == 0 });
            }
        }
    }

    async fn see(&self, action: &Action, deadline: Deadline) -> Result<Effect, ActionError> {
        let mut effect = self.describe(action)?;
        let mut connection = self.connect(action, deadline).await?;
        let count = self.count(&mut connection, &action.target, LOOK_KEYS_MAX, deadline).await?;
        let at_least = if count.is_all { "" } else { "at least " };
        effect.summary = format!("{}: {at_least}{} keys", effect.summary, count.keys);
        Ok(effect)
    }

    async fn act(&self, action: &Action, deadline: Deadline) -> Result<Outcome, ActionError> {
        self.describe(action)?;
        let mut connection = self.connect(action, deadline).await?;
        let (pattern, max) = (&action.target, self.config.keys_max);
        let count = self.count(&mut connection, pattern, max, deadline).await?;
        if count.keys > max {
            let detail = format!("`{pattern}` has more than {max} keys (`cache.keys_max`): none was deleted");
            return Err(failed(SYSTEM, detail));
        }
        let deleted = if pattern == "*" {
            self.empty(&mut connection, deadline).await?;
            count.keys
        } else {
            self.unlink(&mut connection, pattern, deadline).await?
        };
        let summary = format!("deleted {deleted} keys `{pattern}` of database {}", self.database(action)?);
        Ok(Outcome { summary, inverse: None })
    }

    async fn empty(
        &self,
        connection: &mut MultiplexedConnection,
        deadline: Deadline,
    ) -> Result<(), ActionError> {
        let mut flush = redis::cmd("FLUSHDB");
        flush.arg("ASYNC");
        self.tell::<()>(connection, deadline, &flush).await
    }

    /// Deletes while scanning: what is written meanwhile may stay, as with any cache.
    async fn unlink(
        &self,
        connection: &mut MultiplexedConnection,
        pattern: &str,
        deadline: Deadline,
    ) -> Result<u64, ActionError> {
        let (mut at, mut deleted, mut seen) = (0, 0_u64, 0);
        loop {
            let step = self.step(connection, pattern, at, deadline).await;
            let (next, keys) =
                step.map_err(|error| if deleted > 0 { deadline.midway(error) } else { error })?;
            for batch in keys.chunks(self.config.batch_keys) {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(batch);
                deleted += self.tell::<u64>(connection, deadline, &unlink).await?;
                seen += u64::try_from(batch.len()).unwrap_or(u64::MAX);
            }
            at = next;
            if at == 0 {
                return Ok(deleted);
            }
            if seen > self.config.keys_max {
                return Err(failed(
                    SYSTEM,
                    format!("stopped after {deleted} keys (`cache.keys_max`): more were written meanwhile"),
                ));
            }
        }
    }

    /// A command that changes something: when the connection breaks, nobody knows.
    async fn tell<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        deadline: Deadline,
        command: &Cmd,
    ) -> Result<T, ActionError> {
        let answer = async {
            command.query_async(connection).await.map_err(|error| match problem(&error) {
                ActionError::Unreachable { .. } => deadline.unknown(),
                problem => problem,
            })
        };
        deadline.within(self.config.timeout).doing(answer).await
    }
}

const GLOB: [char; 4] = ['*', '?', '[', '\\'];

/// Not redis' whole error: it may repeat what it was sent.
fn problem(error: &RedisError) -> ActionError {
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        return unreachable(SYSTEM, one_line(error.category()));
    }
    failed(SYSTEM, one_line(&format!("{} {}", error.category(), error.code().unwrap_or_default())))
}

impl ActionRunner for CacheRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["cache.flush"]
    }

    fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        only(action, &["database"])?;
        self.check(&action.target)?;
        let database = self.database(action)?;
        Ok(effect(format!("delete the keys `{}` of database {database}", action.target), None, true))
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
        Box::pin(self.act(action, Deadline::new(deadline)))
    }

    /// No key is there any more: done. With keys nobody can tell, as they may have been written since.
    fn progress<'a>(
        &'a self,
        action: &'a Action,
        _: Timestamp,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        Box::pin(async move {
            let deadline = Deadline::new(deadline);
            let mut connection = self.connect(action, deadline).await?;
            let count = self.count(&mut connection, &action.target, 0, deadline).await?;
            Ok(if count.is_all && count.keys == 0 { Progress::Done } else { Progress::Unknown })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::runners::parameters::action;
    use crate::runners::testing::{Served, black_hole, closed_port, program, skip, wait_for};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn config(address: &str) -> CacheRunnerConfig {
        CacheRunnerConfig {
            enabled: true,
            address: address.to_owned(),
            prefixes: vec!["cache:".to_owned()],
            databases: vec![3],
            ..CacheRunnerConfig::default()
        }
    }

    fn runner(address: &str) -> CacheRunner {
        CacheRunner::build(&config(address)).unwrap()
    }

    fn flush(pattern: &str) -> Action {
        action("cache.flush", pattern, [])
    }

    /// A real server with a password.
    struct Redis {
        address: String,
        _process: Served,
        dir: tempfile::TempDir,
    }

    impl Redis {
        fn start() -> Option<Redis> {
            let server = program("redis-server")?;
            let dir = tempfile::tempdir().unwrap();
            let port = closed_port().port().to_string();
            let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--requirepass", "hidden"];
            let process = Served::start(
                Command::new(server).args(args).current_dir(dir.path()),
                &dir.path().join("log"),
            );
            let redis = Redis { address: format!("127.0.0.1:{port}"), _process: process, dir };
            wait_for("redis", || (redis.cli(&["PING"]) == "PONG").then_some(()));
            Some(redis)
        }

        fn cli(&self, args: &[&str]) -> String {
            let port = self.address.rsplit(':').next().unwrap();
            let mut command = Command::new(program("redis-cli").expect("comes with the server"));
            command
                .args(["-p", port, "-a", "hidden", "--no-auth-warning"])
                .args(args)
                .current_dir(self.dir.path());
            let output = command.stdin(Stdio::null()).output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }

        fn fill(&self, database: &str, prefix: &str, keys: u32) {
            let script = format!("for i=1,{keys} do redis.call('SET','{prefix}'..i,i) end");
            self.cli(&["-n", database, "EVAL", &script, "0"]);
        }

        fn runner(&self, change: impl Fn(&mut CacheRunnerConfig)) -> CacheRunner {
            let mut config = config(&self.address);
            config.password = Some(ActionSecret::new("hidden"));
            change(&mut config);
            CacheRunner::build(&config).unwrap()
        }
    }

    #[test]
    fn only_scoped_patterns_are_taken() {
        let runner = runner("127.0.0.1:6379");
        let check = |pattern: &str, is_taken: bool| {
            assert_eq!(runner.describe(&flush(pattern)).is_ok(), is_taken, "{pattern}");
        };
        check("cache:*", true);
        check("cache:user:42", true);
        check("*", false);
        check("c*", false);
        check("[c]ache:*", false);
        check("session:*", false);
        let other = action("cache.flush", "cache:*", [("database", 2.into())]);
        assert!(runner.describe(&other).is_err(), "only named databases");
        let open = CacheRunnerConfig { prefixes: vec!["a*".to_owned()], ..CacheRunnerConfig::default() };
        assert_eq!(CacheRunner::build(&open).err().unwrap().key, "cache.prefixes");
    }

    #[tokio::test]
    async fn deletes_what_matches_in_the_named_database_and_nothing_else() {
        let Some(redis) = Redis::start() else { skip!("redis-server is not installed") };
        redis.fill("0", "cache:a:", 5_000);
        redis.fill("0", "cache:b:", 7);
        redis.fill("0", "session:", 20);
        redis.fill("3", "cache:a:", 9);
        let runner = redis.runner(|_| ());
        let effect = runner.look(&flush("cache:a:*"), PATIENCE).await.unwrap();
        assert_eq!(effect.summary, "delete the keys `cache:a:*` of database 0: 5000 keys");
        assert_eq!(runner.progress(&flush("cache:a:*"), Timestamp(0), PATIENCE).await, Ok(Progress::Unknown));
        let outcome = runner.run(&flush("cache:a:*"), PATIENCE).await.unwrap();
        assert_eq!(outcome.summary, "deleted 5000 keys `cache:a:*` of database 0");
        assert_eq!(redis.cli(&["DBSIZE"]), "27");
        assert_eq!(redis.cli(&["-n", "3", "DBSIZE"]), "9");
        assert_eq!(runner.progress(&flush("cache:a:*"), Timestamp(0), PATIENCE).await, Ok(Progress::Done));

        let third = action("cache.flush", "cache:*", [("database", 3.into())]);
        runner.run(&third, PATIENCE).await.unwrap();
        assert_eq!(redis.cli(&["-n", "3", "DBSIZE"]), "0");

        let few = redis.runner(|config| config.keys_max = 5);
        let error = few.run(&flush("cache:b:*"), PATIENCE).await.unwrap_err();
        assert!(error.to_string().contains("more than 5 keys"), "{error}");
        assert_eq!(redis.cli(&["DBSIZE"]), "27", "none was deleted");

        let all = redis.runner(|config| config.allow_flush_all = true);
        all.run(&flush("*"), PATIENCE).await.unwrap();
        assert_eq!(redis.cli(&["DBSIZE"]), "0");

        let stranger = redis.runner(|config| config.password = Some(ActionSecret::new("wrong-hidden")));
        let error = stranger.look(&flush("cache:*"), PATIENCE).await.unwrap_err();
        assert!(matches!(error, ActionError::Failed { .. }), "{error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable_in_time() {
        let (hole, closed) = (black_hole(), closed_port());
        for address in [hole.address.to_string(), closed.to_string()] {
            let started = std::time::Instant::now();
            let error =
                runner(&address).run(&flush("cache:*"), Duration::from_millis(400)).await.unwrap_err();
            assert!(matches!(error, ActionError::Unreachable { .. }), "{address}: {error}");
            assert!(started.elapsed() < Duration::from_secs(5), "{address}");
        }
    }
}
