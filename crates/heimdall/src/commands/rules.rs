//! `heimdall rules`: check rule files and run the samples they carry.

use std::path::PathBuf;

use anyhow::{Result, bail};
use heimdall_detect::RuleSet;

use super::say;
use crate::args::RulesCommand;
use crate::rule_files;

pub(crate) fn run(command: &RulesCommand) -> Result<()> {
    match command {
        RulesCommand::Check { paths } => {
            let rules = load(paths)?;
            say(&format!("{} rules load", rules.rules().len()));
            Ok(())
        }
        RulesCommand::Test { paths } => {
            let rules = load(paths)?;
            let failures = rules.check_samples();
            for failure in &failures {
                say(&failure.to_string());
            }
            if !failures.is_empty() {
                bail!("{} samples failed", failures.len());
            }
            say(&format!("the samples of {} rules pass", rules.rules().len()));
            Ok(())
        }
    }
}

fn load(paths: &[PathBuf]) -> Result<RuleSet> {
    let files = if paths.is_empty() { rule_files::built_in() } else { rule_files::read(paths)? };
    let (rules, errors) = rule_files::parse(&files);
    for error in &errors {
        say(&error.to_string());
    }
    if !errors.is_empty() {
        bail!("{} rules do not load; {} do", errors.len(), rules.rules().len());
    }
    Ok(rules)
}
