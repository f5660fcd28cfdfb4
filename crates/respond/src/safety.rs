//! Whether an action may be done, given what was done lately and what people allow. Pure.
//!
//! Invariants (tested with random sequences of requests):
//! - a history to which only allowed actions were added never exceeds a limit, whatever was asked in which order;
//! - a kill switch, a never-touch entry and a kind that is switched off hold for rollbacks, too; the other limits do not: what was
//!   done must be undone.
//!
//! `annotate` and `page` tell and touch nothing: limits of targets and rates do not count them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use heimdall_model::Timestamp;
use heimdall_model::time::NS_PER_HOUR;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Effect};
use crate::config::{RespondConfig, RespondConfigError, span};
use crate::pattern::Pattern;
use crate::playbook::Mode;
use crate::run::{Attempt, Run, RunId, StepRun};

/// Most actions remembered; beyond, nothing is allowed until old ones pass out of every window.
pub const HISTORY_MAX: usize = 100_000;

/// What stops an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Responding is switched off.
    Disabled,
    /// The kill switch is on.
    KillSwitch,
    /// Kinds of this system are switched off.
    KindDisabled,
    /// The target is on the never-touch list.
    NeverTouch,
    /// The mode allows no action.
    Mode,
    /// As many actions as allowed are under way.
    Concurrent,
    /// Another run acted on the target, or the same alert started the same playbook, not long ago.
    Cooldown,
    /// The target was acted on often enough within an hour.
    TargetPerHour,
    /// The playbook acted often enough within an hour.
    PlaybookPerHour,
    /// Enough was done within an hour.
    PerHour,
    /// Too many instances of the service were touched.
    BlastRadius,
    /// The system does not answer and is left alone for a while.
    Outage,
    /// The same alert and playbook is under way.
    Duplicate,
    /// There are as many runs as allowed.
    Runs,
    /// Alerts come faster than they can be looked at.
    Queue,
    /// A placeholder has no value in this alert.
    Placeholder,
    /// The audit trail cannot be written.
    Ledger,
    /// The alert is resolved, suppressed, silenced or taken by a person.
    NotLive,
}

impl Limit {
    /// Its name in answers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Limit::Disabled => "disabled",
            Limit::KillSwitch => "kill_switch",
            Limit::KindDisabled => "kind_disabled",
            Limit::NeverTouch => "never_touch",
            Limit::Mode => "mode",
            Limit::Concurrent => "concurrent",
            Limit::Cooldown => "cooldown",
            Limit::TargetPerHour => "target_per_hour",
            Limit::PlaybookPerHour => "playbook_per_hour",
            Limit::PerHour => "per_hour",
            Limit::BlastRadius => "blast_radius",
            Limit::Outage => "outage",
            Limit::Duplicate => "duplicate",
            Limit::Runs => "runs",
            Limit::Queue => "queue",
            Limit::Placeholder => "placeholder",
            Limit::Ledger => "ledger",
            Limit::NotLive => "not_live",
        }
    }
}

/// A refusal, with what to do about it in its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What stops it.
    pub limit: Limit,
    /// In words, with numbers.
    pub reason: String,
    /// When it may pass; none: not by waiting alone.
    pub until: Option<Timestamp>,
}

impl Refusal {
    /// A refusal that waiting does not lift.
    #[must_use]
    pub fn new(limit: Limit, reason: impl Into<String>) -> Refusal {
        Refusal { limit, reason: reason.into(), until: None }
    }
}

/// Whether an action may be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Judgement {
    /// It may.
    Allow,
    /// It may not.
    Refuse(Refusal),
    /// It may once a person agreed.
    NeedApproval {
        /// Why.
        reason: String,
    },
}

/// An action somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The run it belongs to.
    pub run: RunId,
    /// Its playbook.
    pub playbook: &'a str,
    /// The action.
    pub action: &'a Action,
    /// What it would do.
    pub effect: &'a Effect,
    /// How far the run may go by itself; never `earn`: that is `approve` or `auto` by then.
    pub mode: Mode,
    /// Whether a person agreed.
    pub is_approved: bool,
    /// Whether it undoes an action of the same run.
    pub is_rollback: bool,
    /// Whether nobody means to do it: mode, approval and what is under way do not count then.
    pub is_rehearsal: bool,
}

/// An action that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its run.
    pub run: RunId,
    /// Its playbook.
    pub playbook: String,
    /// Its kind.
    pub kind: String,
    /// Its target, in lower case.
    pub target: String,
    /// Service touched.
    pub service: Option<String>,
    /// Instances touched, at least 1.
    pub touched: u32,
    /// When it was begun.
    pub began: Timestamp,
    /// When it ended; none: it is under way.
    pub ended: Option<Timestamp>,
    /// Whether it undid another.
    pub is_rollback: bool,
}

/// What was done lately.
#[derive(Debug, Clone, Default)]
pub struct History {
    // INVARIANT: in the order they were begun.
    past: VecDeque<Past>,
}

/// What people allow, ready to be asked.
#[derive(Debug, Clone)]
pub struct Limits {
    config: RespondConfig,
    never_touch: Vec<Pattern>,
    always_approve: Vec<Pattern>,
}

/// How much of one limit is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Which.
    pub limit: Limit,
    /// Of what: a target, playbook or service; empty for all together.
    pub of: String,
    /// So much.
    pub used: u64,
    /// Of so much.
    pub most: u64,
}

impl Past {
    /// The action of this request, begun now.
    #[must_use]
    pub fn begun(request: &Request<'_>, now: Timestamp) -> Past {
        Past {
            run: request.run,
            playbook: request.playbook.to_owned(),
            kind: request.action.kind.clone(),
            target: target_key(&request.action.target),
            service: request.effect.reach.service.clone(),
            touched: request.effect.reach.touched.max(1),
            began: now,
            ended: None,
            is_rollback: request.is_rollback,
        }
    }

    /// What a run as stored did.
    fn of(run: &Run) -> Vec<Past> {
        let steps = run.legs.iter().flat_map(|leg| {
            let undo = leg.undo.iter().flat_map(|undo| &undo.steps).map(|step| (step, true));
            leg.steps.iter().map(|step| (step, false)).chain(undo)
        });
        let of_step = |(step, is_rollback): (&StepRun, bool)| {
            let of_attempt = |attempt: &Attempt| {
                let request = Request {
                    run: run.id,
                    playbook: &run.playbook,
                    action: &step.step.action,
                    effect: attempt.effect.as_ref()?,
                    mode: run.mode,
                    is_approved: false,
                    is_rollback,
                    is_rehearsal: false,
                };
                Some(Past { ended: attempt.ended_at, ..Past::begun(&request, attempt.begun_at) })
            };
            step.attempts.iter().filter_map(of_attempt).collect::<Vec<_>>()
        };
        steps.flat_map(of_step).collect()
    }

    fn counts(&self) -> bool {
        !is_note(&self.kind)
    }

    fn is_target(&self, target: &str) -> bool {
        self.counts() && self.target == target
    }

    /// Under way, or ended after this time.
    fn is_within(&self, since: Timestamp) -> bool {
        self.ended.is_none_or(|ended| ended > since)
    }
}

impl History {
    /// Adds an action that was begun.
    pub fn begin(&mut self, past: Past) {
        self.past.push_back(past);
    }

    /// Notes the end of the action this run has under way.
    pub fn end(&mut self, run: RunId, now: Timestamp) {
        let open = |past: &&mut Past| past.run == run && past.ended.is_none();
        if let Some(past) = self.past.iter_mut().rev().find(open) {
            past.ended = Some(now);
        }
    }

    /// Takes back the action this run was about to begin.
    pub fn withdraw(&mut self, run: RunId) {
        if let Some(index) = self.past.iter().rposition(|past| past.run == run && past.ended.is_none()) {
            self.past.remove(index);
        }
    }

    /// What runs as stored did.
    #[must_use]
    pub fn of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> History {
        let mut past: Vec<Past> = runs.into_iter().flat_map(Past::of).collect();
        past.sort_by_key(|past| past.began);
        History { past: past.into() }
    }

    /// Forgets what is out of every window.
    pub fn prune(&mut self, limits: &Limits, now: Timestamp) {
        let oldest = now.saturating_add_ns(-limits.window_ns());
        self.past.retain(|past| past.is_within(oldest) || past.began > oldest);
    }

    /// Actions under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.past.iter().filter(|past| past.ended.is_none()).count()
    }

    /// Every action remembered, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Past> {
        self.past.iter()
    }

    fn begun_within(&self, since: Timestamp, is_so: impl Fn(&Past) -> bool) -> impl Iterator<Item = &Past> {
        let counts =
            move |past: &&Past| past.counts() && !past.is_rollback && past.began > since && is_so(past);
        self.past.iter().filter(counts)
    }

    /// Instances of a service touched since, by target; repeated actions on a target touch the same instances.
    fn touched(&self, service: &str, since: Timestamp) -> BTreeMap<&str, u32> {
        let of_service =
            |past: &&Past| past.counts() && past.service.as_deref() == Some(service) && past.is_within(since);
        let mut touched = BTreeMap::new();
        for past in self.past.iter().filter(of_service) {
            let of_target: &mut u32 = touched.entry(past.target.as_str()).or_default();
            *of_target = (*of_target).max(past.touched);
        }
        touched
    }
}

impl Limits {
    /// Of this configuration.
    ///
    /// # Errors
    /// A value does not suit its key.
    pub fn new(config: RespondConfig) -> Result<Limits, RespondConfigError> {
        config.check()?;
        let compile = |patterns: &[String]| patterns.iter().filter_map(|p| Pattern::parse(p).ok()).collect();
        let (never_touch, always_approve) = (compile(&config.never_touch), compile(&config.always_approve));
        Ok(Limits { config, never_touch, always_approve })
    }

    /// What they were made of.
    #[must_use]
    pub const fn config(&self) -> &RespondConfig {
        &self.config
    }

    /// The longest window any of them looks back (ns).
    #[must_use]
    pub fn window_ns(&self) -> i64 {
        NS_PER_HOUR.max(span::ns(self.config.cooldown)).max(span::ns(self.config.blast_window))
    }

    /// The less daring of two modes.
    #[must_use]
    pub fn cap(&self, mode: Mode) -> Mode {
        match (self.config.mode, mode) {
            (Mode::DryRun, _) | (_, Mode::DryRun) => Mode::DryRun,
            (Mode::Approve | Mode::Earn, _) | (_, Mode::Approve) => Mode::Approve,
            (Mode::Auto, mode) => mode,
        }
    }

    /// Whether this action may be done now.
    #[must_use]
    pub fn judge(
        &self,
        history: &History,
        request: &Request<'_>,
        kill_switch: bool,
        now: Timestamp,
    ) -> Judgement {
        let refusal = self
            .never(request, kill_switch)
            .or_else(|| if request.is_rehearsal { None } else { self.concurrent(history) })
            .or_else(|| if request.is_rollback { None } else { self.often(history, request, now) });
        if let Some(refusal) = refusal {
            return Judgement::Refuse(refusal);
        }
        match self
            .approval(request)
            .filter(|_| !request.is_approved && !request.is_rollback && !request.is_rehearsal)
        {
            Some(reason) => Judgement::NeedApproval { reason },
            None => Judgement::Allow,
        }
    }

    /// What forbids it whatever was done before.
    fn never(&self, request: &Request<'_>, kill_switch: bool) -> Option<Refusal> {
        let refuse = |limit, reason: String| Some(Refusal::new(limit, reason));
        if kill_switch {
            return refuse(Limit::KillSwitch, "the kill switch is on".to_owned());
        }
        if !self.config.enabled {
            return refuse(Limit::Disabled, "`enabled` is off".to_owned());
        }
        let kind = &request.action.kind;
        if let Some(key) = self.switched_off(kind) {
            return refuse(Limit::KindDisabled, format!("`{kind}` is switched off by `{key}`"));
        }
        if let Some((pattern, name)) = self.untouchable(request) {
            return refuse(Limit::NeverTouch, format!("`{name}` is on the never-touch list: `{pattern}`"));
        }
        if !request.is_rollback && !request.is_rehearsal && self.cap(request.mode) == Mode::DryRun {
            return refuse(Limit::Mode, "the mode is `dry_run`".to_owned());
        }
        None
    }

    /// The key that switches this kind off, if it is off.
    #[must_use]
    pub fn switched_off(&self, kind: &str) -> Option<&'static str> {
        let config = &self.config;
        let (key, is_on) = match kind.split('.').next() {
            Some("docker") => ("enable_docker_recovery", config.enable_docker_recovery),
            Some("cache") => ("enable_cache_recovery", config.enable_cache_recovery),
            Some("service") => ("enable_service_recovery", config.enable_service_recovery),
            _ => return None,
        };
        (!is_on).then_some(key)
    }

    fn untouchable<'a>(&self, request: &Request<'a>) -> Option<(&Pattern, &'a str)> {
        let names = [Some(request.action.target.as_str()), request.effect.reach.service.as_deref()];
        let names: Vec<&str> = names.into_iter().flatten().collect();
        let touches = |pattern: &Pattern| names.iter().copied().find(|name| pattern.is_match(name));
        self.never_touch.iter().find_map(|pattern| Some((pattern, touches(pattern)?)))
    }

    fn concurrent(&self, history: &History) -> Option<Refusal> {
        let most = self.config.max_concurrent_actions;
        let is_full = history.under_way() >= most || history.past.len() >= HISTORY_MAX;
        is_full.then(|| Refusal::new(Limit::Concurrent, format!("{most} actions are under way")))
    }

    /// What forbids it because of what was done.
    fn often(&self, history: &History, request: &Request<'_>, now: Timestamp) -> Option<Refusal> {
        if is_note(&request.action.kind) {
            return None;
        }
        let target = target_key(&request.action.target);
        self.cooldown(history, request, &target, now)
            .or_else(|| self.per_hour(history, request, &target, now))
            .or_else(|| self.blast_radius(history, request, &target, now))
    }

    fn cooldown(
        &self,
        history: &History,
        request: &Request<'_>,
        target: &str,
        now: Timestamp,
    ) -> Option<Refusal> {
        let cooldown = span::ns(self.config.cooldown);
        let since = now.saturating_add_ns(-cooldown);
        let recent =
            |past: &&Past| past.run != request.run && past.is_target(target) && past.is_within(since);
        let last = history.past.iter().filter(recent).max_by_key(|past| past.ended.unwrap_or(now))?;
        let until = last.ended.unwrap_or(now).saturating_add_ns(cooldown);
        let reason =
            format!("`{}` was acted on by {} ({}) not long ago", last.target, last.playbook, last.kind);
        Some(Refusal { limit: Limit::Cooldown, reason, until: Some(until) })
    }

    fn per_hour(
        &self,
        history: &History,
        request: &Request<'_>,
        target: &str,
        now: Timestamp,
    ) -> Option<Refusal> {
        let config = &self.config;
        let since = now.saturating_add_ns(-NS_PER_HOUR);
        let of = |limit, most: u32, what: String, is_so: &dyn Fn(&Past) -> bool| {
            let begun: Vec<Timestamp> = history.begun_within(since, is_so).map(|past| past.began).collect();
            let is_over = begun.len() >= most as usize;
            let until = begun.first().map(|first| first.saturating_add_ns(NS_PER_HOUR));
            let reason = format!("{what}: {} of {most} actions within an hour", begun.len());
            is_over.then_some(Refusal { limit, reason, until })
        };
        of(Limit::TargetPerHour, config.target_actions_per_hour, format!("target `{target}`"), &|past| {
            past.target == target
        })
        .or_else(|| {
            let what = format!("playbook `{}`", request.playbook);
            of(Limit::PlaybookPerHour, config.playbook_actions_per_hour, what, &|past| {
                past.playbook == request.playbook
            })
        })
        .or_else(|| of(Limit::PerHour, config.actions_per_hour, "all together".to_owned(), &|_| true))
    }

    fn blast_radius(
        &self,
        history: &History,
        request: &Request<'_>,
        target: &str,
        now: Timestamp,
    ) -> Option<Refusal> {
        let reach = &request.effect.reach;
        let service = reach.service.as_deref()?;
        let mut touched =
            history.touched(service, now.saturating_add_ns(-span::ns(self.config.blast_window)));
        let of_target = touched.remove(target).unwrap_or(0).max(reach.touched.max(1));
        let all = touched.values().fold(of_target, |sum, touched| sum.saturating_add(*touched));
        let most = self.instances_max(reach.instances);
        let reason = || {
            format!(
                "{all} of {} instances of `{service}` would be touched within {}, {most} may be",
                if reach.instances == 0 {
                    "an unknown number of".to_owned()
                } else {
                    reach.instances.to_string()
                },
                span::show(self.config.blast_window)
            )
        };
        (all > most).then(|| Refusal::new(Limit::BlastRadius, reason()))
    }

    /// Instances of a service with so many that may be touched within the window: the percentage, at least one.
    #[must_use]
    pub fn instances_max(&self, instances: u32) -> u32 {
        let share = u64::from(instances) * u64::from(self.config.blast_radius_percent) / 100;
        u32::try_from(share).unwrap_or(u32::MAX).max(1)
    }

    /// Why a person must agree, if one must.
    #[must_use]
    fn approval(&self, request: &Request<'_>) -> Option<String> {
        self.must_ask(request.mode, [request.action.kind.as_str()])
    }

    /// Why a person must agree to actions of these kinds in this mode, if one must.
    pub fn must_ask<'a>(&self, mode: Mode, kinds: impl IntoIterator<Item = &'a str>) -> Option<String> {
        if self.cap(mode) != Mode::Auto {
            return Some(format!("the mode is `{}`", self.cap(mode).as_str()));
        }
        let asked = |kind: &str| self.always_approve.iter().any(|pattern| pattern.is_match(kind));
        let kind = kinds.into_iter().find(|kind| asked(kind))?;
        Some(format!("`{kind}` always needs approval"))
    }

    /// How much of each limit is used.
    #[must_use]
    pub fn used(&self, history: &History, now: Timestamp) -> Vec<Used> {
        let since = now.saturating_add_ns(-NS_PER_HOUR);
        let begun: Vec<&Past> = history.begun_within(since, |_| true).collect();
        let config = &self.config;
        let used = |limit, of: &str, used: usize, most: usize| Used {
            limit,
            of: of.to_owned(),
            used: used as u64,
            most: most as u64,
        };
        let mut all = vec![
            used(Limit::Concurrent, "", history.under_way(), config.max_concurrent_actions),
            used(Limit::PerHour, "", begun.len(), config.actions_per_hour as usize),
        ];
        let by = |limit, most: u32, name: &dyn Fn(&Past) -> String| -> Vec<Used> {
            let mut counts: HashMap<String, usize> = HashMap::new();
            begun.iter().for_each(|past| *counts.entry(name(past)).or_default() += 1);
            let mut rows: Vec<Used> =
                counts.iter().map(|(of, count)| used(limit, of, *count, most as usize)).collect();
            rows.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.of.cmp(&b.of)));
            rows
        };
        all.extend(by(Limit::PlaybookPerHour, config.playbook_actions_per_hour, &|past| {
            past.playbook.clone()
        }));
        all.extend(by(Limit::TargetPerHour, config.target_actions_per_hour, &|past| past.target.clone()));
        all
    }
}

/// Whether actions of this kind touch nothing.
#[must_use]
pub fn is_note(kind: &str) -> bool {
    matches!(kind, "annotate" | "page")
}

/// A target as limits compare it: container and host names do not tell upper and lower case apart.
fn target_key(target: &str) -> String {
    target.to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use heimdall_model::{Clock, ManualClock};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::action::Reach;
    use crate::testing::START;

    /// One thing that happens: time passes, an action is asked for, the oldest under way ends.
    #[derive(Debug, Clone)]
    struct Event {
        seconds: u32,
        run: u128,
        playbook: u8,
        kind: usize,
        target: u8,
        service: Option<u8>,
        touched: u32,
        is_approved: bool,
        ends_oldest: bool,
    }

    const KINDS: [&str; 5] = ["docker.restart", "cache.flush", "command", "annotate", "block.ip"];
    const INSTANCES: u32 = 10;

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event =
            (0_u32..600, 0_u128..6, 0_u8..3, 0_usize..5, 0_u8..8, proptest::option::of(0_u8..2), 0_u32..4);
        let event =
            (event, any::<bool>(), any::<bool>()).prop_map(
                |((seconds, run, playbook, kind, target, service, touched), is_approved, ends_oldest)| {
                    Event { seconds, run, playbook, kind, target, service, touched, is_approved, ends_oldest }
                },
            );
        proptest::collection::vec(event, 0..200)
    }

    fn action(event: &Event) -> Action {
        Action {
            kind: KINDS[event.kind].to_owned(),
            target: format!("T{}", event.target),
            with: BTreeMap::new(),
        }
    }

    fn effect(event: &Event) -> Effect {
        let service = event.service.map(|service| format!("s{service}"));
        Effect {
            summary: String::new(),
            inverse: None,
            reach: Reach { service, touched: event.touched, instances: INSTANCES },
            is_idempotent: true,
        }
    }

    fn config() -> RespondConfig {
        RespondConfig {
            mode: Mode::Auto,
            cooldown: Duration::from_secs(200),
            blast_radius_percent: 30,
            actions_per_hour: 9,
            playbook_actions_per_hour: 5,
            never_touch: vec!["t7".to_owned()],
            ..RespondConfig::default()
        }
    }

    /// Counts again, without the code under test, whether what was allowed stayed within every limit.
    fn assert_within(past: &[Past], config: &RespondConfig, last: usize) {
        let now = &past[last];
        let counted = |p: &&Past| p.kind != "annotate";
        let hour = now.began.saturating_add_ns(-NS_PER_HOUR);
        let within = || past[..=last].iter().filter(counted).filter(|p| p.began > hour);
        assert!(within().count() <= config.actions_per_hour as usize);
        assert!(
            now.kind == "annotate"
                || within().filter(|p| p.target == now.target).count()
                    <= config.target_actions_per_hour as usize
        );
        assert!(
            now.kind == "annotate"
                || within().filter(|p| p.playbook == now.playbook).count()
                    <= config.playbook_actions_per_hour as usize
        );
        let under_way =
            past[..=last].iter().filter(|p| p.ended.is_none_or(|ended| ended > now.began)).count();
        assert!(under_way <= config.max_concurrent_actions);
        assert_ne!(now.target, "t7");
        if now.kind == "annotate" {
            return;
        }
        let cooldown = now.began.saturating_add_ns(-span::ns(config.cooldown));
        let close = |p: &&Past| {
            p.run != now.run && p.target == now.target && p.ended.is_none_or(|ended| ended > cooldown)
        };
        assert_eq!(past[..last].iter().filter(counted).filter(close).count(), 0);
        if let Some(service) = &now.service {
            let window = now.began.saturating_add_ns(-span::ns(config.blast_window));
            let mut touched: HashMap<&str, u32> = HashMap::new();
            let of = past[..=last].iter().filter(counted).filter(|p| p.service.as_ref() == Some(service));
            for p in of.filter(|p| p.ended.is_none_or(|ended| ended > window)) {
                let of_target = touched.entry(&p.target).or_default();
                *of_target = p.touched.max(*of_target);
            }
            assert!(touched.values().sum::<u32>() <= 3, "{touched:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn no_sequence_of_requests_exceeds_a_limit(events in events()) {
            let (limits, clock) = (Limits::new(config()).unwrap(), ManualClock::new(START));
            let (mut history, mut all) = (History::default(), Vec::<Past>::new());
            for event in &events {
                let now = clock.advance(Duration::from_secs(u64::from(event.seconds)));
                let oldest = history.iter().find(|past| past.ended.is_none()).map(|past| past.run);
                if let Some(run) = oldest.filter(|_| event.ends_oldest) {
                    history.end(run, now);
                    let open = all.iter_mut().rev().find(|past| past.run == run && past.ended.is_none());
                    open.unwrap().ended = Some(now);
                }
                history.prune(&limits, now);
                let (action, effect, playbook) = (action(event), effect(event), format!("p{}", event.playbook));
                let request = Request {
                    run: Uuid::from_u128(event.run),
                    playbook: &playbook,
                    action: &action,
                    effect: &effect,
                    mode: Mode::Auto,
                    is_approved: event.is_approved,
                    is_rollback: false,
                    is_rehearsal: false,
                };
                let judgement = limits.judge(&history, &request, false, clock.now());
                prop_assert!(!matches!(limits.judge(&history, &request, true, now), Judgement::Allow));
                if judgement == Judgement::Allow {
                    prop_assert!(event.kind != 2 || event.is_approved, "a command without approval");
                    history.begin(Past::begun(&request, now));
                    all.push(Past::begun(&request, now));
                    assert_within(&all, limits.config(), all.len() - 1);
                }
            }
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut RespondConfig), kind: &str, is_rollback: bool, expected: &str) {
        let mut config = RespondConfig { mode: Mode::Auto, ..RespondConfig::default() };
        change(&mut config);
        let limits = Limits::new(config).unwrap();
        let action = Action { kind: kind.to_owned(), target: "db-1".to_owned(), with: BTreeMap::new() };
        let reach = Reach { service: Some("db".to_owned()), touched: 1, instances: 4 };
        let effect = Effect { summary: String::new(), inverse: None, reach, is_idempotent: true };
        let request = Request {
            run: Uuid::nil(),
            playbook: "p",
            action: &action,
            effect: &effect,
            mode: Mode::Auto,
            is_approved: false,
            is_rollback,
            is_rehearsal: false,
        };
        let judged = match limits.judge(&History::default(), &request, false, START) {
            Judgement::Allow => "allow".to_owned(),
            Judgement::Refuse(refusal) => refusal.limit.as_str().to_owned(),
            Judgement::NeedApproval { reason } => reason,
        };
        assert_eq!(judged, expected);
    }

    #[test]
    fn each_limit_by_itself() {
        check(|_| {}, "docker.restart", false, "allow");
        check(|c| c.mode = Mode::DryRun, "docker.restart", false, "mode");
        check(|c| c.mode = Mode::DryRun, "docker.restart", true, "allow"); // what was done must be undone
        check(|c| c.mode = Mode::Approve, "docker.restart", false, "the mode is `approve`");
        check(|c| c.enabled = false, "docker.restart", false, "disabled");
        check(|c| c.enable_docker_recovery = false, "docker.restart", false, "kind_disabled");
        check(|c| c.enable_cache_recovery = false, "cache.flush", true, "kind_disabled");
        check(|c| c.enable_service_recovery = false, "service.restart", false, "kind_disabled");
        check(|c| c.never_touch = vec!["db".to_owned()], "docker.restart", true, "never_touch");
        check(|c| c.never_touch = vec!["/^DB-[0-9]$/".to_owned()], "docker.restart", false, "never_touch");
        check(|c| c.actions_per_hour = 0, "docker.restart", false, "per_hour");
        check(|c| c.actions_per_hour = 0, "annotate", false, "allow");
        check(|_| {}, "command", false, "`command` always needs approval");
        check(|c| c.blast_radius_percent = 0, "docker.restart", false, "allow"); // one instance always may
    }
}
