//! `command`: runs a program of the configuration, without a shell.
//!
//! Invariants:
//! - program, number of arguments, environment and folder come from the configuration alone; a parameter is (part of) one
//!   argument, matches its expression whole, and does not begin with `-`;
//! - nothing the program started in its process group outlives the deadline, nor its own end when it holds our pipes;
//! - at most `output_bytes_max` of each stream is kept, however much is written.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::Timestamp;
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::config::CommandRunnerConfig;
use super::deadline::{Deadline, failed};
use super::parameters::{effect, invalid, one_line, only};
use super::{RunnersError, wrong};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress};

const SYSTEM: &str = "command";
/// Commands there may be.
const COMMANDS_MAX: usize = 100;
/// Longest value of a parameter (bytes).
const VALUE_BYTES_MAX: usize = 1_024;
/// Time the output may still come after the program's end before what holds it open is killed.
const DRAIN: Duration = Duration::from_millis(200);

struct Allowed {
    config: CommandRunnerConfig,
    parameters: BTreeMap<String, Regex>,
}

/// Every program that may be run, by name.
pub(crate) struct Commands(BTreeMap<String, Allowed>);

/// How a program ended.
struct Ended {
    status: ExitStatus,
    output: String,
}

impl Commands {
    pub(crate) fn build(config: &BTreeMap<String, CommandRunnerConfig>) -> Result<Commands, RunnersError> {
        if config.len() > COMMANDS_MAX {
            return Err(wrong("commands", format!("{} are more than {COMMANDS_MAX}", config.len())));
        }
        let built = config.iter().map(|(name, command)| {
            let allowed = Allowed::build(command, config)
                .map_err(|(key, reason)| wrong(format!("commands.{name}.{key}"), reason));
            Ok((name.clone(), allowed?))
        });
        Ok(Commands(built.collect::<Result<_, _>>()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A name of the configuration, checked to be one of a command.
    pub(crate) fn named(&self, key: &str, name: Option<&String>) -> Result<Option<String>, RunnersError> {
        match name {
            Some(name) if !self.0.contains_key(name) => {
                Err(wrong(key, format!("there is no command `{name}` in `commands`")))
            }
            name => Ok(name.cloned()),
        }
    }

    fn get(&self, name: &str) -> Result<&Allowed, ActionError> {
        self.0.get(name).ok_or_else(|| invalid("target", format!("there is no command `{name}`")))
    }

    /// Checks the parameters and says what would run.
    pub(crate) fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        let allowed = self.get(&action.target)?;
        let arguments = allowed.arguments(action)?;
        let program = allowed.config.program.display();
        let inverse =
            allowed.config.undo.as_ref().map(|undo| Action { target: undo.clone(), ..action.clone() });
        let summary = format!("run `{program} {}`", one_line(&arguments.join(" ")));
        Ok(effect(summary, inverse, allowed.config.is_idempotent))
    }

    /// Whether the program is there and can be executed.
    pub(crate) async fn look(&self, action: &Action) -> Result<Effect, ActionError> {
        use std::os::unix::fs::PermissionsExt as _;
        let effect = self.describe(action)?;
        let program = &self.get(&action.target)?.config.program;
        let found = tokio::fs::metadata(program).await;
        let is_executable =
            found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        let absent = || ActionError::NotFound { target: program.display().to_string() };
        is_executable.then_some(effect).ok_or_else(absent)
    }

    /// Runs it; the end of its output is part of the outcome.
    pub(crate) async fn run(&self, action: &Action, deadline: Deadline) -> Result<Outcome, ActionError> {
        let effect = self.describe(action)?;
        let ended = self.ended(action, deadline).await?;
        let output = if ended.output.is_empty() { String::new() } else { format!(": {}", ended.output) };
        if !ended.status.success() {
            return Err(failed(SYSTEM, format!("`{}` ended with {}{output}", action.target, ended.status)));
        }
        Ok(Outcome { summary: format!("ran `{}`{output}", action.target), inverse: effect.inverse })
    }

    /// Asks the command's check whether it took effect.
    pub(crate) async fn progress(
        &self,
        action: &Action,
        deadline: Deadline,
    ) -> Result<Progress, ActionError> {
        let Some(check) = &self.get(&action.target)?.config.check else { return Ok(Progress::Unknown) };
        let ended = self.ended(&Action { target: check.clone(), ..action.clone() }, deadline).await?;
        Ok(match ended.status.code() {
            Some(0) => Progress::Done,
            Some(1) => Progress::NotDone,
            _ => Progress::Unknown,
        })
    }

    async fn ended(&self, action: &Action, deadline: Deadline) -> Result<Ended, ActionError> {
        let allowed = self.get(&action.target)?;
        let deadline = deadline.within(allowed.config.timeout);
        let mut group = Group(Some(allowed.start(action)?));
        deadline.doing(group.end(allowed.config.output_bytes_max)).await
    }
}

impl Allowed {
    fn build(
        config: &CommandRunnerConfig,
        all: &BTreeMap<String, CommandRunnerConfig>,
    ) -> Result<Allowed, (String, String)> {
        let fault = |key: &str, reason: String| Err((key.to_owned(), reason));
        if !config.program.is_absolute() {
            return fault("program", "must be an absolute path".to_owned());
        }
        if !config.working_dir.is_absolute() {
            return fault("working_dir", "must be an absolute path".to_owned());
        }
        for (key, named) in [("undo", &config.undo), ("check", &config.check)] {
            if let Some(named) = named.as_ref().filter(|named| !all.contains_key(*named)) {
                return fault(key, format!("there is no command `{named}` in `commands`"));
            }
        }
        let compiled = config.parameters.iter().map(|(name, pattern)| {
            let regex = Regex::new(&format!("^(?:{pattern})$"));
            regex
                .map(|regex| (name.clone(), regex))
                .map_err(|error| (format!("parameters.{name}"), error.to_string()))
        });
        let parameters = compiled.collect::<Result<BTreeMap<String, Regex>, _>>()?;
        if let Some(unknown) =
            config.args.iter().flat_map(|arg| placeholders(arg)).find(|name| !parameters.contains_key(*name))
        {
            return fault("args", format!("`{{{unknown}}}` is no parameter in `parameters`"));
        }
        Ok(Allowed { config: config.clone(), parameters })
    }

    /// The arguments with the action's parameters in them.
    fn arguments(&self, action: &Action) -> Result<Vec<String>, ActionError> {
        let known: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
        only(action, &known)?;
        let values: BTreeMap<&str, String> = self
            .parameters
            .iter()
            .map(|(name, regex)| Ok((name.as_str(), value(action, name, regex)?)))
            .collect::<Result<_, ActionError>>()?;
        Ok(self.config.args.iter().map(|arg| fill(arg, &values)).collect())
    }

    fn start(&self, action: &Action) -> Result<Child, ActionError> {
        let mut command = Command::new(&self.config.program);
        command
            .args(self.arguments(action)?)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(&self.config.env)
            .current_dir(&self.config.working_dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
            .spawn()
            .map_err(|error| failed(SYSTEM, format!("could not start `{}`: {error}", action.target)))
    }
}

/// A parameter's value, as a number or text.
fn value(action: &Action, name: &str, regex: &Regex) -> Result<String, ActionError> {
    let value = action.with.get(name).ok_or_else(|| invalid(name, "is missing"))?;
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return Err(invalid(name, "must be a text or a number")),
    };
    if text.len() > VALUE_BYTES_MAX || text.starts_with('-') || text.contains('\0') || !regex.is_match(&text)
    {
        return Err(invalid(name, format!("must match `{}`, and not begin with `-`", regex.as_str())));
    }
    Ok(text)
}

/// Names in braces.
fn placeholders(arg: &str) -> impl Iterator<Item = &str> {
    arg.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// One pass from left to right: a value is never looked at for placeholders.
fn fill(arg: &str, values: &BTreeMap<&str, String>) -> String {
    let mut parts = arg.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            Some((name, rest)) => {
                filled.push_str(values.get(name).map_or("", String::as_str));
                filled.push_str(rest);
            }
            None => {
                filled.push('{');
                filled.push_str(part);
            }
        }
    }
    filled
}

/// A program and all it started in its process group, which are killed when this goes before they ended.
struct Group(Option<Child>);

impl Group {
    /// Awaits the end, keeping the beginning of what it writes.
    async fn end(&mut self, output_bytes_max: usize) -> Result<Ended, ActionError> {
        let Some(child) = &mut self.0 else { return Err(failed(SYSTEM, "was awaited twice")) };
        let group = group_of(child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reading =
            async { tokio::join!(beginning(stdout, output_bytes_max), beginning(stderr, output_bytes_max)) };
        tokio::pin!(reading);
        let mut read = None;
        let status = loop {
            tokio::select! {
                both = &mut reading, if read.is_none() => read = Some(both),
                status = child.wait() => break status,
            }
        };
        self.0 = None;
        let status = status.map_err(|error| failed(SYSTEM, format!("could not be waited for: {error}")))?;
        let (stdout, stderr) = match read {
            Some(both) => both,
            None => match tokio::time::timeout(DRAIN, &mut reading).await {
                Ok(both) => both,
                Err(_) => {
                    // Something it left behind holds the pipes: the group still lives, so its id is nobody else's.
                    kill(group);
                    reading.await
                }
            },
        };
        let joined = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        let output = joined.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
        Ok(Ended { status, output })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Not waited for yet, so its id is its own.
        if let Some(child) = &self.0 {
            kill(group_of(child));
        }
    }
}

fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended meanwhile.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Reads to the end, keeping the first bytes.
async fn beginning(stream: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> Vec<u8> {
    let (mut kept, mut chunk) = (Vec::new(), [0; 4_096]);
    let Some(mut stream) = stream else { return kept };
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        let room = bytes_max.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&chunk[..room]);
    }
    kept
}

/// Does `command`: the target is the name of one.
pub(crate) struct CommandRunner {
    commands: Arc<Commands>,
}

impl CommandRunner {
    pub(crate) fn new(commands: Arc<Commands>) -> CommandRunner {
        CommandRunner { commands }
    }
}

impl ActionRunner for CommandRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["command"]
    }

    fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        self.commands.describe(action)
    }

    fn look<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Effect, ActionError>> {
        Box::pin(
            async move { Deadline::new(deadline).asking(SYSTEM, deadline, self.commands.look(action)).await },
        )
    }

    fn run<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Outcome, ActionError>> {
        Box::pin(self.commands.run(action, Deadline::new(deadline)))
    }

    fn progress<'a>(
        &'a self,
        action: &'a Action,
        _: Timestamp,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        Box::pin(self.commands.progress(action, Deadline::new(deadline)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runners::parameters::action;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn config(text: &str) -> BTreeMap<String, CommandRunnerConfig> {
        serde_json::from_str(text).unwrap()
    }

    fn runner(text: &str) -> CommandRunner {
        CommandRunner::new(Arc::new(Commands::build(&config(text)).unwrap()))
    }

    #[track_caller]
    fn check_refused(text: &str, key: &str) {
        assert_eq!(Commands::build(&config(text)).err().unwrap().key, key);
    }

    #[test]
    fn what_could_not_run_is_refused_at_start() {
        check_refused(r#"{"a": {"program": "ls"}}"#, "commands.a.program");
        check_refused(r#"{"a": {"program": "/bin/ls", "args": ["{dir}"]}}"#, "commands.a.args");
        check_refused(
            r#"{"a": {"program": "/bin/ls", "parameters": {"x": "("}}}"#,
            "commands.a.parameters.x",
        );
        check_refused(r#"{"a": {"program": "/bin/ls", "undo": "b"}}"#, "commands.a.undo");
    }

    #[tokio::test]
    async fn values_are_one_argument_each_and_never_seen_by_a_shell() {
        let runner = runner(
            r#"{"say": {"program": "/bin/echo", "args": ["[{what}]", "{n}"], "parameters": {"what": "[^x]*", "n": "[0-9]+"}}}"#,
        );
        let say = |what: &str| action("command", "say", [("what", what.into()), ("n", 7.into())]);
        let outcome = runner.run(&say("$(id); {n} `id`"), PATIENCE).await.unwrap();
        assert_eq!(outcome.summary, "ran `say`: [$(id); {n} `id`] 7");
        for bad in ["ax", "-rf", "a\0"] {
            let error = runner.describe(&say(bad)).unwrap_err();
            assert!(
                matches!(error, ActionError::Invalid { ref parameter, .. } if parameter == "what"),
                "{error}"
            );
        }
        let unknown = action("command", "say", [("what", "a".into()), ("n", 1.into()), ("more", 1.into())]);
        assert!(runner.describe(&unknown).is_err());
        assert!(runner.describe(&action("command", "rm", [])).is_err());
    }

    #[tokio::test]
    async fn the_environment_is_ours_and_output_and_exit_code_come_back() {
        let runner = runner(
            r#"{"env": {"program": "/usr/bin/env", "env": {"A": "1"}},
                "fail": {"program": "/bin/sh", "args": ["-c", "echo sorry >&2; exit 3"]},
                "much": {"program": "/bin/sh", "args": ["-c", "head -c 1000000 /dev/zero | tr '\\0' y"], "output_bytes_max": 10}}"#,
        );
        let run = async |name: &str| runner.run(&action("command", name, []), PATIENCE).await;
        let summary = run("env").await.unwrap().summary;
        assert_eq!(summary.lines().count(), 2, "PATH and A: {summary}");
        let error = run("fail").await.unwrap_err().to_string();
        assert_eq!(error, "command: `fail` ended with exit status: 3: sorry");
        assert_eq!(run("much").await.unwrap().summary, "ran `much`: yyyyyyyyyy");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
        let text = serde_json::json!({"hang": {"program": "/bin/sh", "args": ["-c", script], "timeout": "500ms"},
            "leave": {"program": "/bin/sh", "args": ["-c", "sleep 600 & echo left"]}});
        let runner = runner(&text.to_string());
        let error = runner.run(&action("command", "hang", []), PATIENCE).await.unwrap_err();
        assert_eq!(error, ActionError::TimedOut { after: Duration::from_millis(500) });
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        crate::runners::testing::wait_for("the grandchild to be gone", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
        let outcome = runner.run(&action("command", "leave", []), PATIENCE).await.unwrap();
        assert_eq!(outcome.summary, "ran `leave`: left", "what holds the pipe does not hold us");
    }

    #[tokio::test]
    async fn a_check_tells_whether_it_took_effect() {
        let runner = runner(
            r#"{"yes": {"program": "/bin/true", "check": "yes"}, "no": {"program": "/bin/false"},
                "tried": {"program": "/bin/true", "check": "no", "undo": "no"}}"#,
        );
        let progress =
            async |name: &str| runner.progress(&action("command", name, []), Timestamp(0), PATIENCE).await;
        assert_eq!(progress("yes").await, Ok(Progress::Done));
        assert_eq!(progress("tried").await, Ok(Progress::NotDone));
        assert_eq!(progress("no").await, Ok(Progress::Unknown));
        assert_eq!(runner.describe(&action("command", "tried", [])).unwrap().inverse.unwrap().target, "no");
        assert!(runner.look(&action("command", "yes", []), PATIENCE).await.is_ok());
    }
}
