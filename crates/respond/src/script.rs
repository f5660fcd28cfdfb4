//! From a playbook and an alert to what is to be done: placeholders filled in, times settled.

use heimdall_model::Alert;

use crate::action::Action;
use crate::config::RespondConfig;
use crate::playbook::{Escalate, Playbook, Rollback, Step, Verification};
use crate::ports::{Check, Probe};
use crate::run::{Branch, Script, ScriptRollback, ScriptStep};
use crate::template::{Missing, Place, render, render_json};

/// What this branch of a playbook does about this alert.
///
/// # Errors
/// A placeholder has no value.
pub(crate) fn script(
    playbook: &Playbook,
    branch: Branch,
    alert: &Alert,
    config: &RespondConfig,
) -> Result<Script, Missing> {
    let all = |steps: &[Step]| steps.iter().map(|s| step(s, alert, config)).collect::<Result<Vec<_>, _>>();
    let otherwise = playbook.otherwise.as_ref();
    let on_verification = otherwise.filter(|otherwise| otherwise.on_verification && branch == Branch::Main);
    let otherwise_steps = otherwise.map(|otherwise| otherwise.steps.as_slice()).unwrap_or_default();
    Ok(Script {
        steps: all(if branch == Branch::Main { &playbook.steps } else { otherwise_steps })?,
        otherwise: on_verification.map(|otherwise| all(&otherwise.steps)).transpose()?.unwrap_or_default(),
        verification: playbook.verification.as_ref().map(|v| verification(v, alert)).transpose()?,
        rollback: match &playbook.rollback {
            Rollback::Steps(steps) if branch == Branch::Main => ScriptRollback::Steps(all(steps)?),
            Rollback::None => ScriptRollback::None,
            Rollback::Automatic | Rollback::Steps(_) => ScriptRollback::Automatic,
        },
        escalate: Escalate {
            message: render(&playbook.escalate.message, alert, Place::Value)?,
            ..playbook.escalate.clone()
        },
    })
}

fn step(step: &Step, alert: &Alert, config: &RespondConfig) -> Result<ScriptStep, Missing> {
    let parameter =
        |(key, value): (&String, &serde_json::Value)| Ok((key.clone(), render_json(value, alert)?));
    let action = Action {
        kind: step.action.clone(),
        target: render(&step.target, alert, Place::Value)?,
        with: step.with.iter().map(parameter).collect::<Result<_, _>>()?,
    };
    let timeout = step.timeout.unwrap_or(config.action_timeout).min(config.action_timeout);
    Ok(ScriptStep { action, timeout, retries: step.retries, on_failure: step.on_failure })
}

fn verification(verification: &Verification, alert: &Alert) -> Result<Verification, Missing> {
    let checks = verification.checks.iter().map(|c| check(c, alert)).collect::<Result<_, _>>()?;
    Ok(Verification { checks, ..verification.clone() })
}

fn check(check: &Check, alert: &Alert) -> Result<Check, Missing> {
    let text = |text: &str, place| render(text, alert, place);
    Ok(Check::Probe(match check {
        Check::AlertQuiet { .. } => return Ok(check.clone()),
        Check::Probe(Probe::Http { url, status, contains }) => Probe::Http {
            url: text(url, Place::Syntax)?,
            status: *status,
            contains: contains.as_deref().map(|contains| text(contains, Place::Value)).transpose()?,
        },
        Check::Probe(Probe::Tcp { address }) => Probe::Tcp { address: text(address, Place::Syntax)? },
        Check::Probe(Probe::Container { name }) => Probe::Container { name: text(name, Place::Syntax)? },
        Check::Probe(Probe::Query { query, at_most, at_least }) => {
            Probe::Query { query: text(query, Place::Syntax)?, at_most: *at_most, at_least: *at_least }
        }
    }))
}
