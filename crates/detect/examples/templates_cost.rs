//! Measures what the detector of templates costs a record: `cargo run --release -p heimdall-detect --example
//! templates_cost`.
//!
//! Data: eight services of forty templates each, half of the records of the five commonest; every second record names
//! one of 2,000 users; 200 records a second for eleven hours of event time in batches of 1,000.

use std::io::Write;
use std::time::{Duration, Instant};

use heimdall_detect::templates::Templates;
use heimdall_detect::{DetectConfig, Detector, Findings, Observed};
use heimdall_model::schema::logs;
use heimdall_model::{Batch, BatchBuilder, Dataset, Level, Position, Tenant, Timestamp};

const ROWS: u64 = 1_000;
const PER_SECOND: u64 = 200;
const BATCHES: u64 = 8_000;

fn mix(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn batch(number: u64, services: u64) -> Batch {
    let first = number * ROWS;
    let time =
        |record: u64| 1_770_000_000_000_000_000 + (record * (1_000_000_000 / PER_SECOND)).cast_signed();
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(time(first + ROWS)));
    for record in first..first + ROWS {
        let chance = mix(record.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let service = chance % services;
        let kind = if chance & 256 == 0 { (chance >> 9) % 5 } else { (chance >> 9) % 40 };
        builder.set_int(logs::TIMESTAMP, time(record));
        builder.set_text(logs::SERVICE, &format!("service-{service}"));
        builder.set_level(if kind == 39 { Level::Warn } else { Level::Info });
        let user = (chance >> 20) % 2_000;
        let message = format!(
            "GET /api/v1/kind-{kind}/items/{} status=200 bytes={} took {} ms for user-{user}",
            (chance >> 16) % 10_000,
            (chance >> 32) % 65_536,
            (chance >> 44) % 900
        );
        builder.set_text(logs::MESSAGE, &message);
        if record % 2 == 0 {
            builder.set_text(logs::USER_ID, &format!("user-{user}"));
        }
        builder.set_int(logs::TEMPLATE_ID, (service * 40 + kind + 1).cast_signed());
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(number + 1, 0);
    batch
}

fn main() -> std::io::Result<()> {
    let tenant = Tenant::default();
    for services in [1, 8] {
        let mut detector = Templates::new(&DetectConfig::default());
        let (mut spent, mut verdicts) = (Vec::<Duration>::new(), 0);
        for number in 0..BATCHES {
            let batch = batch(number, services);
            let mut out = Findings::default();
            let began = Instant::now();
            detector.observe(&Observed { tenant: &tenant, batch: &batch }, &mut out);
            spent.push(began.elapsed());
            verdicts += out.verdicts.len();
        }
        // On a machine that does other things too, the median is nearer to the cost than the mean.
        spent.sort_unstable();
        let per_record = |at: usize| spent[at].as_nanos() / u128::from(ROWS);
        let began = Instant::now();
        let state = detector.snapshot();
        writeln!(
            std::io::stdout(),
            "{services} services: {} ns a record in the median batch, {} in the tenth of best; {verdicts} verdicts; \
             snapshot of {} KB in {:?}",
            per_record(spent.len() / 2),
            per_record(spent.len() / 10),
            state.len() / 1_000,
            began.elapsed()
        )?;
    }
    Ok(())
}
