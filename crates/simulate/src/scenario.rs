//! What goes wrong, and when: the story of a simulated world, and the truth about it.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::company::{Fleet, Service};
use crate::error::SimulateError;

/// Where brute force comes from (a documentation address).
pub const ATTACKER_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// Most incidents of one scenario.
pub(crate) const INCIDENTS_MAX: u32 = 10_000;

/// A way of going wrong. Each hits one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncidentKind {
    /// [`ATTACKER_IP`] guesses passwords over ssh and over the login of the shop; in the end one is right.
    BruteForce,
    /// 2,500 metric points a second, all of them far beyond the usual value.
    MetricFlood,
    /// Most calls fail; error lines with stack traces.
    ErrorBurst,
    /// CPU of one host rises to 99 %.
    CpuClimb,
    /// Memory of one host rises to 98 %, and a process is killed.
    MemoryClimb,
    /// Calls take 60 times as long; some run into timeouts.
    SlowDependency,
    /// The disk of one host fills up to 98 %.
    DiskFilling,
}

impl IncidentKind {
    /// Every kind.
    pub const ALL: [IncidentKind; 7] = [
        IncidentKind::BruteForce,
        IncidentKind::MetricFlood,
        IncidentKind::ErrorBurst,
        IncidentKind::CpuClimb,
        IncidentKind::MemoryClimb,
        IncidentKind::SlowDependency,
        IncidentKind::DiskFilling,
    ];

    /// A short name, such as `brute-force`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            IncidentKind::BruteForce => "brute-force",
            IncidentKind::MetricFlood => "metric-flood",
            IncidentKind::ErrorBurst => "error-burst",
            IncidentKind::CpuClimb => "cpu-climb",
            IncidentKind::MemoryClimb => "memory-climb",
            IncidentKind::SlowDependency => "slow-dependency",
            IncidentKind::DiskFilling => "disk-filling",
        }
    }

    /// How the ids of the rules begin that should notice it.
    #[must_use]
    pub const fn expected_rules(self) -> &'static [&'static str] {
        match self {
            IncidentKind::BruteForce => &["auth."],
            IncidentKind::MetricFlood => &["flood.", "zscore.requests_per_second"],
            IncidentKind::ErrorBurst => &["error_rate.", "zscore.error_rate"],
            IncidentKind::CpuClimb => &["threshold.cpu", "zscore.cpu_usage"],
            IncidentKind::MemoryClimb => &["threshold.memory", "zscore.memory_usage", "host.oom_kill"],
            IncidentKind::SlowDependency => {
                &["zscore.latency_ms", "service.pool_exhausted", "database.deadlock"]
            }
            IncidentKind::DiskFilling => &["threshold.disk", "zscore.disk_usage", "host.disk_full"],
        }
    }

    /// The service it hits unless told otherwise.
    #[must_use]
    pub const fn usual_service(self) -> Service {
        match self {
            IncidentKind::BruteForce => Service::AuthApi,
            IncidentKind::MetricFlood => Service::EdgeLoadBalancer,
            IncidentKind::ErrorBurst => Service::PaymentGateway,
            IncidentKind::CpuClimb => Service::SearchApi,
            IncidentKind::MemoryClimb => Service::RecommendationEngine,
            IncidentKind::SlowDependency => Service::CoreDb,
            IncidentKind::DiskFilling => Service::ObjectStorage,
        }
    }
}

/// An incident of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledIncident {
    /// What goes wrong.
    pub kind: IncidentKind,
    /// Where.
    pub service: Service,
    /// How long after the start of the world it begins.
    pub starts_after: Duration,
    /// How long it lasts.
    pub duration: Duration,
}

/// The incidents of a world, in any order; they may overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scenario {
    /// What happens.
    pub incidents: Vec<ScheduledIncident>,
}

impl Scenario {
    /// Nothing goes wrong.
    #[must_use]
    pub fn quiet() -> Scenario {
        Scenario::default()
    }

    /// Every kind of incident once, within the first four minutes.
    #[must_use]
    pub fn demo() -> Scenario {
        use IncidentKind::{
            BruteForce, CpuClimb, DiskFilling, ErrorBurst, MemoryClimb, MetricFlood, SlowDependency,
        };
        let schedule = [
            (BruteForce, 20, 30),
            (CpuClimb, 45, 60),
            (ErrorBurst, 75, 45),
            (MetricFlood, 110, 15),
            (SlowDependency, 130, 45),
            (MemoryClimb, 155, 60),
            (DiskFilling, 180, 60),
        ];
        let incidents = schedule.map(|(kind, after_seconds, seconds)| ScheduledIncident {
            kind,
            service: kind.usual_service(),
            starts_after: Duration::from_secs(after_seconds),
            duration: Duration::from_secs(seconds),
        });
        Scenario { incidents: incidents.into() }
    }

    /// The same story, begun later: for a world that shall first live through an ordinary past.
    #[must_use]
    pub fn delayed(mut self, by: Duration) -> Scenario {
        for incident in &mut self.incidents {
            incident.starts_after = incident.starts_after.saturating_add(by);
        }
        self
    }

    /// The story told `times` times (10,001 at most, which is more than a world takes), one beginning `every` after
    /// the other.
    #[must_use]
    pub fn repeated(self, times: u32, every: Duration) -> Scenario {
        let rounds =
            (0..times.min(INCIDENTS_MAX + 1)).map(|round| self.clone().delayed(every.saturating_mul(round)));
        Scenario { incidents: rounds.flat_map(|round| round.incidents).collect() }
    }
}

/// The truth about an incident of a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// What goes wrong.
    pub kind: IncidentKind,
    /// Where.
    pub service: Service,
    /// Who or what an alert should name: the attacker's address, the host, or the service.
    pub entity: String,
    /// First moment, ns since 1970.
    pub start_ns: i64,
    /// First moment after it, ns since 1970.
    pub end_ns: i64,
    /// See [`IncidentKind::expected_rules`].
    pub expected_rules: &'static [&'static str],
}

impl Incident {
    pub(crate) fn new(
        scheduled: &ScheduledIncident,
        start_ns: i64,
        fleet: &Fleet,
    ) -> Result<Incident, SimulateError> {
        let start_ns = later(start_ns, scheduled.starts_after)?;
        Ok(Incident {
            kind: scheduled.kind,
            service: scheduled.service,
            entity: entity(scheduled, fleet),
            start_ns,
            end_ns: later(start_ns, scheduled.duration)?,
            expected_rules: scheduled.kind.expected_rules(),
        })
    }

    /// Whether the incident goes on at `ns`.
    #[must_use]
    pub fn is_active(&self, ns: i64) -> bool {
        (self.start_ns..self.end_ns).contains(&ns)
    }

    /// Whether it is this incident, whenever it ends.
    pub(crate) fn is_same(&self, other: &Incident) -> bool {
        (self.kind, self.start_ns, self.service) == (other.kind, other.start_ns, other.service)
    }

    /// How far a climbing value has climbed at `ns`: 0 at the start, 1 from half of the time on.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub(crate) fn climbed(&self, ns: i64) -> f64 {
        let passed = (ns - self.start_ns) as f64 / (self.end_ns - self.start_ns).max(1) as f64;
        (passed * 2.0).clamp(0.0, 1.0)
    }
}

fn entity(scheduled: &ScheduledIncident, fleet: &Fleet) -> String {
    match scheduled.kind {
        IncidentKind::BruteForce => ATTACKER_IP.to_string(),
        IncidentKind::CpuClimb | IncidentKind::MemoryClimb | IncidentKind::DiskFilling => {
            fleet.of(scheduled.service)[0].host.to_string()
        }
        IncidentKind::MetricFlood | IncidentKind::ErrorBurst | IncidentKind::SlowDependency => {
            scheduled.service.name().to_owned()
        }
    }
}

/// `ns` and then `by`.
pub(crate) fn later(ns: i64, by: Duration) -> Result<i64, SimulateError> {
    let by = i64::try_from(by.as_nanos()).map_err(|_| SimulateError::TimeTooFar)?;
    ns.checked_add(by).ok_or(SimulateError::TimeTooFar)
}
