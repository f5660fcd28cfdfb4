//! Secrets of channels: a type that never prints, and where one comes from: the configuration or a file.
//!
//! Invariants:
//! - a [`Secret`] is in no `Debug`, serialised or error text;
//! - a file is read at the start and again when it changed; while it cannot be read, the last good value is used and a
//!   warning says so: a rotation half done must not keep an alert from people.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tracing::warn;

use super::config::ChannelError;

/// Longest secret (bytes): above any in use, so that a file given by mistake is not sent anywhere.
const SECRET_BYTES_MAX: usize = 8_192;

/// A token, password, signing key or secret address.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a secret; spaces around it, which come with copied files and variables, are not part of it.
    ///
    /// # Errors
    /// It is empty, longer than 8 KiB, or has control characters. The text is not in the error.
    pub fn parse(text: &str) -> Result<Secret, SecretError> {
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= SECRET_BYTES_MAX && !text.chars().any(char::is_control);
        if fits { Ok(Secret(text.into())) } else { Err(SecretError) }
    }

    /// The secret itself: for the request that needs it, never for a text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A text is not a secret. Does not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret must be 1 to 8192 bytes without control characters")]
pub struct SecretError;

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<secret>")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Reads a string; serde's own answer to other types would show the value.
struct SecretVisitor;

impl de::Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret as a string")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Secret::parse(text).map_err(E::custom)
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom("a secret must be a string"))
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom("a secret must be a string"))
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom("a secret must be a string"))
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom("a secret must be a string"))
    }
}

/// Where a channel gets its secret from, each time it sends.
pub(crate) enum SecretSource {
    /// The configuration.
    Given(Secret),
    /// A file.
    File(SecretFile),
}

/// A file with a secret, and what was last read from it.
pub(crate) struct SecretFile {
    key: &'static str,
    path: PathBuf,
    last: Mutex<(Option<Stamp>, Secret)>,
}

/// What tells that a file changed.
type Stamp = (SystemTime, u64);

impl SecretSource {
    /// The secret of `key`, given directly or by the key that ends in `_file`; none when neither is set.
    ///
    /// # Errors
    /// Both are set, or the file does not hold a secret.
    pub(crate) fn find(
        key: &'static str,
        given: Option<&Secret>,
        file_key: &'static str,
        file: Option<&Path>,
    ) -> Result<Option<SecretSource>, ChannelError> {
        match (given, file) {
            (None, None) => Ok(None),
            (Some(secret), None) => Ok(Some(SecretSource::Given(secret.clone()))),
            (None, Some(path)) => Ok(Some(SecretSource::File(SecretFile::open(file_key, path)?))),
            (Some(_), Some(_)) => Err(ChannelError::new(file_key, format!("give it or `{key}`, not both"))),
        }
    }

    /// As [`SecretSource::find`], and one of the two must be set.
    pub(crate) fn need(
        key: &'static str,
        given: Option<&Secret>,
        file_key: &'static str,
        file: Option<&Path>,
    ) -> Result<SecretSource, ChannelError> {
        SecretSource::find(key, given, file_key, file)?
            .ok_or_else(|| ChannelError::new(key, format!("missing; give it or `{file_key}`")))
    }

    /// The secret as it is now.
    pub(crate) async fn get(&self) -> Secret {
        match self {
            SecretSource::Given(secret) => secret.clone(),
            SecretSource::File(file) => file.get().await,
        }
    }

    /// The secret as it was last seen.
    pub(crate) fn last(&self) -> Secret {
        match self {
            SecretSource::Given(secret) => secret.clone(),
            SecretSource::File(file) => file.last.lock().1.clone(),
        }
    }
}

impl SecretFile {
    fn open(key: &'static str, path: &Path) -> Result<SecretFile, ChannelError> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ChannelError::new(key, format!("could not read `{shown}`: {}", error.kind())))?;
        let secret = Secret::parse(&text)
            .map_err(|error| ChannelError::new(key, format!("`{shown}` does not hold a secret: {error}")))?;
        let stamp = std::fs::metadata(path).ok().and_then(|meta| stamp(&meta));
        Ok(SecretFile { key, path: path.to_owned(), last: Mutex::new((stamp, secret)) })
    }

    async fn get(&self) -> Secret {
        match self.changed().await {
            Ok(Some((stamp, secret))) => *self.last.lock() = (stamp, secret),
            Ok(None) => {}
            Err(reason) => {
                warn!(key = self.key, file = %self.path.display(), reason, "secret cannot be read again, the last one is used");
            }
        }
        self.last.lock().1.clone()
    }

    async fn changed(&self) -> Result<Option<(Option<Stamp>, Secret)>, String> {
        let meta = tokio::fs::metadata(&self.path).await.map_err(|error| error.kind().to_string())?;
        let now = stamp(&meta);
        if now.is_some() && now == self.last.lock().0 {
            return Ok(None);
        }
        let text = tokio::fs::read_to_string(&self.path).await.map_err(|error| error.kind().to_string())?;
        let secret = Secret::parse(&text).map_err(|error| error.to_string())?;
        Ok(Some((now, secret)))
    }
}

fn stamp(meta: &std::fs::Metadata) -> Option<Stamp> {
    Some((meta.modified().ok()?, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::parse(" s3cret\n").unwrap();
        assert_eq!(secret.expose(), "s3cret");
        assert_eq!(
            format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()),
            "Secret(…) \"<secret>\""
        );
        for bad in ["", "  ", "s3\ncret", &"s3cret".repeat(2_000)] {
            assert!(!Secret::parse(bad).unwrap_err().to_string().contains("s3cret"));
        }
        for bad in ["4711", "47.11", "true", "[4711]", "{\"a\": 4711}", "\"4711\\u0000\""] {
            let error = serde_json::from_str::<Secret>(bad).unwrap_err().to_string();
            assert!(!error.contains("47"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changed_and_kept_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let source = SecretSource::need("token", None, "token_file", Some(&path)).unwrap();
        assert_eq!(source.get().await.expose(), "one");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(source.get().await.expose(), "second");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(source.get().await.expose(), "second");
        let both = SecretSource::find("token", Some(&source.last()), "token_file", Some(&path));
        assert_eq!(both.err().unwrap().key, "token_file");
        let gone = SecretSource::find("token", None, "token_file", Some(&path)).err().unwrap();
        assert!(gone.to_string().starts_with("`token_file`: could not read"), "{gone}");
    }
}
