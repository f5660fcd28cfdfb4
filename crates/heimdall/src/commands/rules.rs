//! `heimdall rules`: check rule files, run the samples they carry, and run rules over what a server keeps.

use std::path::PathBuf;

use anyhow::{Result, bail};
use heimdall_detect::RuleSet;

use super::{backtest, say};
use crate::args::RulesCommand;
use crate::rule_files;

pub(crate) async fn run(command: RulesCommand) -> Result<()> {
    match command {
        RulesCommand::Check { paths } => {
            let rules = load(&paths)?;
            say(&format!("{} rules load{}", rules.rules().len(), sigma_too(&rules)));
            Ok(())
        }
        RulesCommand::Test { paths } => {
            let rules = load(&paths)?;
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
        RulesCommand::Backtest(args) => backtest::run(&args, load(&args.paths)?).await,
    }
}

fn sigma_too(rules: &RuleSet) -> String {
    let (sigma, correlations) = (rules.sigma().len(), rules.sigma().correlations().len());
    match (sigma, correlations) {
        (0, 0) => String::new(),
        (sigma, 0) => format!(", and {sigma} Sigma rules"),
        (sigma, correlations) => format!(", and {sigma} Sigma rules with {correlations} correlations"),
    }
}

fn load(paths: &[PathBuf]) -> Result<RuleSet> {
    let files = if paths.is_empty() { rule_files::built_in() } else { rule_files::read(paths)? };
    let (rules, errors) = rule_files::parse(&files);
    for error in &errors {
        say(&error.to_string());
    }
    if !errors.is_empty() {
        let loaded = rules.rules().len() + rules.sigma().len();
        bail!("{} rules do not load; {loaded} do", errors.len());
    }
    Ok(rules)
}
