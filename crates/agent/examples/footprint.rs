//! What an agent with the default collectors costs: `cargo run --release -p heimdall-agent --example footprint [SECONDS] [URL]`.
//!
//! Prints memory (`VmRSS`) and CPU every ten seconds. Without a URL the agent works alone, as it does without a server.

use std::time::{Duration, Instant};

use heimdall_agent::config::ShipConfig;
use heimdall_agent::{Agent, AgentConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().map_or(Ok(120), |text| text.parse())?;
    let url = args.next();
    // As `heimdall agent` runs it: two threads are enough for anything an agent waits for.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(seconds, url))
}

#[expect(clippy::print_stdout, reason = "it is what an example is for")]
async fn run(seconds: u64, url: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let config = AgentConfig {
        data_dir: dir.path().join("data"),
        log_file: dir.path().join("aegis_sentinel.log"),
        server: ShipConfig { url, ..ShipConfig::default() },
        ..AgentConfig::default()
    };
    let agent = Agent::new(config)?;
    agent.start().await?;
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    while begin.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let passed = begin.elapsed().as_secs_f64();
        let used = cpu_seconds() - cpu;
        println!(
            "{passed:5.0} s  RSS {} (most {})  CPU {used:.2} s = {:.2} % of a core  records {}",
            memory("VmRSS"),
            memory("VmHWM"),
            100.0 * used / passed,
            agent.status().records_taken,
        );
    }
    println!("{}", serde_json::to_string_pretty(&agent.status())?);
    agent.stop().await?;
    Ok(())
}

fn memory(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or("?").trim().to_owned()
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
