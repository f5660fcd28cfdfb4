//! The dashboards that ship with Heimdall. To lists they are documents from the beginning of time.

use std::sync::LazyLock;

use axum::http::StatusCode;
use heimdall_metastore::DocumentCursor;
use heimdall_model::{Tenant, Timestamp};

use super::Content;
use crate::kept::Kept;
use crate::problem::Problem;

/// Who made them.
const AUTHOR: &str = "heimdall";

/// By id, in the order of lists.
const FILES: [(&str, &str); 2] = [
    ("sla-metrics", include_str!("../../../dashboards/sla-metrics.json")),
    ("executive-dashboard", include_str!("../../../dashboards/executive-dashboard.json")),
];

static ALL: LazyLock<Vec<Kept<Content>>> = LazyLock::new(|| {
    let read = |(id, text): (&str, &str)| Kept {
        id: id.to_owned(),
        tenant: Tenant::default(),
        at: Timestamp(0),
        revision: 1,
        created_by: AUTHOR.to_owned(),
        created_at: None,
        updated_by: None,
        updated_at: None,
        content: serde_json::from_str(text).expect("a test reads it"),
    };
    FILES.map(read).into()
});

/// Whether a dashboard ships with Heimdall.
pub(super) fn is_one(id: &str) -> bool {
    FILES.iter().any(|(built_in, _)| *built_in == id)
}

/// The built-in dashboard of this id.
pub(super) fn find(id: &str) -> Option<Kept<Content>> {
    ALL.iter().find(|kept| kept.id == id).cloned()
}

/// Those after a place in a list, in its order: the highest id first.
pub(super) fn after(place: Option<&DocumentCursor>) -> impl Iterator<Item = Kept<Content>> + use<'_> {
    let is_after = move |kept: &&Kept<Content>| {
        place.is_none_or(|place| (kept.at, kept.id.as_str()) < (place.at, place.id.as_str()))
    };
    ALL.iter().filter(is_after).cloned()
}

/// 409 for a built-in dashboard: it cannot be changed.
pub(super) fn refuse(id: &str) -> Result<(), Problem> {
    if is_one(id) {
        let detail = format!("`{id}` ships with Heimdall: copy it, and change the copy");
        return Err(Problem::new(StatusCode::CONFLICT, "built_in", detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::dashboards::spec;

    #[test]
    fn they_keep_to_the_rules_and_stand_in_order() {
        for kept in ALL.iter() {
            spec::check(&kept.content.spec, Timestamp(0)).unwrap_or_else(|problem| {
                panic!("{}: {}", kept.id, String::from_utf8_lossy(&problem.to_json()))
            });
        }
        assert!(ALL.is_sorted_by(|left, right| left.id > right.id));
    }
}
