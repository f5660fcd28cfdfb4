//! HMAC-SHA256 signatures: those we put on webhooks, and those of others on what they send us. Pure.
//!
//! Invariant: comparisons take the same time whatever differs (ring's `verify`).

use ring::hmac;

/// What another side sent is not signed by who has the secret. Nothing of it may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A header that carries the signature, or its time, is missing or is not in its form.
    #[error("the header `{header}` is missing or malformed")]
    Header {
        /// Its name.
        header: &'static str,
    },
    /// It was signed too long ago, or in the future: somebody may send it again.
    #[error("the signature is more than {max_s} s away from now")]
    Stale {
        /// The most that is accepted (s).
        max_s: i64,
    },
    /// It is not the signature of these bytes.
    #[error("the signature does not match")]
    Mismatch,
}

/// The signature of the parts in a row, in lower-case hex.
pub(crate) fn sign(secret: &str, parts: &[&[u8]]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    hex(context.sign().as_ref())
}

/// Whether `signature` (hex) is that of the parts in a row.
pub(crate) fn is_signed(secret: &str, parts: &[&[u8]], signature: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    unhex(signature).is_some_and(|tag| hmac::verify(&key, &parts.concat(), &tag).is_ok())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: RFC 4231, test case 2.
    #[test]
    fn it_is_the_published_hmac() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        assert_eq!(sign("Jefe", &parts), expected);
        assert!(is_signed("Jefe", &parts, expected) && is_signed("Jefe", &parts, &expected.to_uppercase()));
        for wrong in ["", "zz", &expected[1..], &expected.replace('5', "6")] {
            assert!(!is_signed("Jefe", &parts, wrong), "{wrong}");
        }
    }
}
