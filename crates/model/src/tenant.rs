//! Tenant: the owner of a record, key, path, alert or token.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest tenant name in bytes.
pub const TENANT_BYTES_MAX: usize = 64;

/// Name of a tenant: 1 to 64 of `a-z A-Z 0-9 _ -`, so that it is safe as a folder name and in a URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(Arc<str>);

/// A text is not a tenant name.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a tenant name: 1 to 64 of a-z, A-Z, 0-9, `_` and `-`")]
pub struct TenantError(pub String);

impl Tenant {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// The name is empty, too long, or has a character outside the set.
    pub fn new(name: &str) -> Result<Tenant, TenantError> {
        let fits = !name.is_empty()
            && name.len() <= TENANT_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits { Ok(Tenant(Arc::from(name))) } else { Err(TenantError(name.chars().take(80).collect())) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Tenant(Arc::from("default"))
    }
}

impl std::fmt::Display for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Tenant {
    type Error = TenantError;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Tenant::new(&name)
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> String {
        tenant.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        assert!(Tenant::new("team-a_1").is_ok());
        for bad in ["", "..", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(Tenant::new(bad).is_err(), "{bad}");
        }
    }
}
