//! What a name that a sender chose means by the schema, for decoders that have to know before the record is read.

use std::collections::HashSet;
use std::sync::OnceLock;

use heimdall_model::schema::logs;
use heimdall_model::{Dataset, FieldId};

/// The names of one field of log records, in lower case.
fn names_of(field: FieldId) -> HashSet<String> {
    let names = Dataset::Logs.names().filter(|(id, _)| *id == field);
    names.map(|(_, name)| name.to_ascii_lowercase()).collect()
}

fn has(names: &HashSet<String>, name: &str) -> bool {
    names.contains(name) || names.contains(&name.to_ascii_lowercase())
}

/// Whether a member of this name is taken for the message.
pub(crate) fn means_message(name: &str) -> bool {
    static NAMES: OnceLock<HashSet<String>> = OnceLock::new();
    has(NAMES.get_or_init(|| names_of(logs::MESSAGE)), name)
}

/// Whether a member of this name is taken for the service.
pub(crate) fn means_service(name: &str) -> bool {
    static NAMES: OnceLock<HashSet<String>> = OnceLock::new();
    has(NAMES.get_or_init(|| names_of(logs::SERVICE)), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_the_same_in_any_case() {
        assert!(means_message("msg") && means_message("Body") && !means_message("line"));
        assert!(means_service("APP") && !means_service("job"));
    }
}
