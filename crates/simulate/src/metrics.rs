//! Metric samples of every instance, at a fixed pace.
//!
//! Values wander within 2.2 standard deviations of their mean (see `dice::noise`), so that nothing but an incident looks
//! like one.

use rand_chacha::ChaCha8Rng;

use crate::company::{Instance, Profile};
use crate::dice::{noise, stream};
use crate::event::{Event, SampleEvent};
use crate::rhythm::load;
use crate::scenario::IncidentKind;
use crate::world::{Queue, Stage};

const ERROR_RATE_USUAL: f64 = 0.004;
/// Share of calls that fail in an error burst.
pub(crate) const ERROR_RATE_BURST: f64 = 0.85;
pub(crate) const CPU_PEAK_PERCENT: f64 = 99.2;
pub(crate) const MEMORY_PEAK_PERCENT: f64 = 98.1;
pub(crate) const DISK_PEAK_PERCENT: f64 = 98.4;
/// Disks fill by so much a day and are tidied every ten days.
const DISK_PERCENT_PER_DAY: f64 = 0.5;
const NS_PER_DAY: i64 = 86_400_000_000_000;

/// The collector of metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    rng: ChaCha8Rng,
    interval_ns: i64,
    pub(crate) next_ns: i64,
}

impl Metrics {
    pub(crate) fn new(seed: u64, start_ns: i64, interval_ns: i64) -> Metrics {
        Metrics { rng: stream(seed, 3), interval_ns, next_ns: start_ns }
    }

    /// Samples every instance once, spread over the interval.
    pub(crate) fn step(&mut self, stage: &Stage<'_>, queue: &mut Queue) {
        let instances = stage.fleet.all();
        let spacing_ns = self.interval_ns / i64::try_from(instances.len()).expect("dozens of instances");
        let mut at_ns = self.next_ns;
        for instance in instances {
            self.sample(instance, at_ns, stage, queue);
            at_ns = at_ns.saturating_add(spacing_ns);
        }
        self.next_ns = self.next_ns.saturating_add(self.interval_ns);
    }

    fn sample(&mut self, instance: &Instance, at_ns: i64, stage: &Stage<'_>, queue: &mut Queue) {
        let profile = instance.service.profile();
        let host =
            [("host", &instance.host), ("instance", &instance.name), ("region", &instance.region_label)];
        let service = &host[1..];
        let values = [
            ("cpu_usage", self.cpu(profile, instance, at_ns, stage), &host[..]),
            ("memory_usage", self.memory(profile, instance, at_ns, stage), &host[..]),
            ("disk_usage", self.disk(profile, instance, at_ns, stage), &host[..]),
            ("requests_per_second", self.requests(profile, at_ns), service),
            ("latency_ms", self.latency(profile, at_ns, stage), service),
            ("error_rate", self.error_rate(profile, stage), service),
        ];
        for (name, value, labels) in values {
            queue.push(Event::Sample(SampleEvent {
                timestamp_ns: at_ns,
                service: instance.service,
                name,
                value: (value * 1000.0).round() / 1000.0,
                labels: labels.iter().map(|(name, value)| (*name, (*value).clone())).collect(),
            }));
        }
    }

    fn cpu(&mut self, profile: &Profile, instance: &Instance, at_ns: i64, stage: &Stage<'_>) -> f64 {
        let usual = profile.cpu_percent * (0.7 + 0.3 * load(at_ns)) + 3.0 * noise(&mut self.rng);
        climb(usual, CPU_PEAK_PERCENT, stage.climbed(IncidentKind::CpuClimb, instance, at_ns))
    }

    fn memory(&mut self, profile: &Profile, instance: &Instance, at_ns: i64, stage: &Stage<'_>) -> f64 {
        let usual = profile.memory_percent * (0.9 + 0.1 * load(at_ns)) + 2.0 * noise(&mut self.rng);
        climb(usual, MEMORY_PEAK_PERCENT, stage.climbed(IncidentKind::MemoryClimb, instance, at_ns))
    }

    fn disk(&mut self, profile: &Profile, instance: &Instance, at_ns: i64, stage: &Stage<'_>) -> f64 {
        let usual = profile.disk_percent + disk_growth(at_ns) + 0.1 * noise(&mut self.rng);
        climb(usual, DISK_PEAK_PERCENT, stage.climbed(IncidentKind::DiskFilling, instance, at_ns))
    }

    fn requests(&mut self, profile: &Profile, at_ns: i64) -> f64 {
        profile.requests_per_second * load(at_ns) * (1.0 + 0.08 * noise(&mut self.rng))
    }

    /// Time in the service, and the time that slowed services it calls add to it.
    fn latency(&mut self, profile: &Profile, at_ns: i64, stage: &Stage<'_>) -> f64 {
        let busy = 0.85 + 0.15 * load(at_ns);
        let own = profile.latency_ms * busy * stage.slowness(profile.service);
        (own + stage.waiting_ms(profile.service)) * (1.0 + 0.1 * noise(&mut self.rng))
    }

    fn error_rate(&mut self, profile: &Profile, stage: &Stage<'_>) -> f64 {
        stage.failures(profile.service, ERROR_RATE_USUAL) * (1.0 + 0.15 * noise(&mut self.rng))
    }
}

/// From `usual` to `peak`, `climbed` (0 to 1) of the way.
pub(crate) fn climb(usual: f64, peak: f64, climbed: f64) -> f64 {
    usual + (peak - usual) * climbed
}

#[expect(clippy::cast_precision_loss, reason = "a ten-day remainder in ns is exact in f64")]
fn disk_growth(at_ns: i64) -> f64 {
    at_ns.rem_euclid(10 * NS_PER_DAY) as f64 / NS_PER_DAY as f64 * DISK_PERCENT_PER_DAY
}
