//! Scores JSON lines from standard input, one answer for each: `{"series","timestamp","value"}` in,
//! `{"series","timestamp","anomaly_score","is_anomaly","severity"}` out. Arguments are methods; none are the default.

use std::io::{stdin, stdout};

use heimdall_detect::univariate::{Method, ScorerConfig, batch_anomaly};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let methods: Vec<Method> =
        std::env::args().skip(1).map(|name| serde_json::from_value(name.into())).collect::<Result<_, _>>()?;
    let mut config = ScorerConfig::default();
    if !methods.is_empty() {
        config.methods = methods;
    }
    batch_anomaly(&config.check()?, stdin().lock(), stdout().lock())?;
    Ok(())
}
