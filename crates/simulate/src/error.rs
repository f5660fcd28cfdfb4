//! What can be wrong with a configuration.

/// A configuration that makes no world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// A setting lies outside its bounds.
    #[error("`{key}` must be {wants}")]
    Setting {
        /// Name of the setting.
        key: &'static str,
        /// What would do.
        wants: &'static str,
    },
    /// The time asked for ends after the last time that ns since 1970 can hold (year 2262).
    #[error("the simulated time ends after the year 2262")]
    TimeTooFar,
}

pub(crate) fn require(key: &'static str, fits: bool, wants: &'static str) -> Result<(), SimulateError> {
    if fits { Ok(()) } else { Err(SimulateError::Setting { key, wants }) }
}
