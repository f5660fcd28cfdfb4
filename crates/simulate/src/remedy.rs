//! What ends an incident before its time: the other half of a closed loop.

use crate::company::Service;
use crate::scenario::IncidentKind;

/// Something that is done to the company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// The instances of a service start anew: memory is free again, locks are gone.
    Restart,
    /// A service gets more instances: load is shared.
    ScaleUp,
    /// A service goes back to the release before: its new faults are gone.
    Rollback,
    /// Callers of a service stop calling it, and floods end at its door.
    OpenBreaker,
    /// The attacker's address gets no further.
    BlockSource,
    /// Old files are deleted.
    CleanUp,
}

impl Remedy {
    /// Every remedy.
    pub const ALL: [Remedy; 6] = [
        Remedy::Restart,
        Remedy::ScaleUp,
        Remedy::Rollback,
        Remedy::OpenBreaker,
        Remedy::BlockSource,
        Remedy::CleanUp,
    ];

    /// Whether it ends incidents of this kind; all others go on.
    #[must_use]
    pub const fn cures(self, kind: IncidentKind) -> bool {
        match kind {
            IncidentKind::BruteForce => matches!(self, Remedy::BlockSource),
            IncidentKind::MetricFlood => matches!(self, Remedy::OpenBreaker),
            IncidentKind::ErrorBurst => matches!(self, Remedy::Rollback),
            IncidentKind::CpuClimb => matches!(self, Remedy::ScaleUp),
            IncidentKind::MemoryClimb => matches!(self, Remedy::Restart),
            IncidentKind::SlowDependency => matches!(self, Remedy::Restart | Remedy::OpenBreaker),
            IncidentKind::DiskFilling => matches!(self, Remedy::CleanUp),
        }
    }
}

/// What a remedy is applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A service, or one of its hosts.
    Service(Service),
    /// What an incident is about, as [`crate::Incident::entity`] names it: a host, an address.
    Entity(String),
}
