//! The playbooks that come with Heimdall: files in `playbooks/`, compiled in. All only say what they would do until somebody
//! changes their mode.

use crate::playbook::Playbook;

/// Files of the playbooks that come with Heimdall: name and text.
pub const FILES: [(&str, &str); 7] = [
    ("playbooks/block-brute-force.yaml", include_str!("../../../playbooks/block-brute-force.yaml")),
    ("playbooks/flush-cache.yaml", include_str!("../../../playbooks/flush-cache.yaml")),
    ("playbooks/open-breaker.yaml", include_str!("../../../playbooks/open-breaker.yaml")),
    ("playbooks/restart-endpoint.yaml", include_str!("../../../playbooks/restart-endpoint.yaml")),
    ("playbooks/restart-on-memory.yaml", include_str!("../../../playbooks/restart-on-memory.yaml")),
    ("playbooks/roll-back-deploy.yaml", include_str!("../../../playbooks/roll-back-deploy.yaml")),
    ("playbooks/scale-up.yaml", include_str!("../../../playbooks/scale-up.yaml")),
];

/// The playbooks that come with Heimdall.
#[must_use]
pub fn built_in() -> Vec<Playbook> {
    let read = |(file, text): (&str, &str)| {
        Playbook::parse(file, text).expect("a test reads every playbook that comes with Heimdall")
    };
    FILES.into_iter().flat_map(read).collect()
}
