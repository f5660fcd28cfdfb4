//! Fluent's handshake: a sender proves that it knows the shared key, and whose password it has, before its first message.
//!
//! Invariants:
//! - the nonce and the salt are new for each connection, so an answer that was overheard is of no use;
//! - digests are compared in constant time.
//!
//! Not here: TLS, without which what follows the handshake can be read on the way.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA512};
use ring::rand::SecureRandom;

use super::msgpack::{Malformed, Reader, Token, put};

/// Who is let in.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) shared_key: String,
    /// Passwords by user; empty: the key is enough.
    pub(crate) users: BTreeMap<String, String>,
    /// This server's name in the handshake; senders refuse one that has their own name.
    pub(crate) hostname: String,
}

/// The handshake of one connection.
pub(crate) struct Handshake<'s> {
    secrets: &'s Secrets,
    nonce: [u8; 16],
    /// Of passwords.
    salt: [u8; 16],
}

/// What a ping comes to.
pub(crate) struct Answer {
    /// To be sent in any case.
    pub(crate) pong: Vec<u8>,
    /// Why the sender is not let in.
    pub(crate) refused: Option<&'static str>,
    /// What the sender calls itself.
    pub(crate) hostname: String,
}

impl<'s> Handshake<'s> {
    pub(crate) fn new(secrets: &'s Secrets) -> Result<Handshake<'s>, ring::error::Unspecified> {
        let random = ring::rand::SystemRandom::new();
        let (mut nonce, mut salt) = ([0; 16], [0; 16]);
        random.fill(&mut nonce)?;
        random.fill(&mut salt)?;
        Ok(Handshake { secrets, nonce, salt })
    }

    /// The first word, which is the server's.
    pub(crate) fn helo(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put::array(&mut out, 2);
        put::text(&mut out, "HELO");
        put::map(&mut out, 3);
        put::text(&mut out, "nonce");
        put::binary(&mut out, &self.nonce);
        put::text(&mut out, "auth");
        put::binary(&mut out, if self.secrets.users.is_empty() { &[] } else { &self.salt });
        put::text(&mut out, "keepalive");
        put::bool(&mut out, true);
        out
    }

    /// Checks `["PING", hostname, salt, digest of the key, user, digest of the password]`.
    pub(crate) fn answer(&self, ping: &[u8]) -> Result<Answer, Malformed> {
        let mut reader = Reader::new(ping);
        if reader.array()? != 6 || reader.token()? != Token::Text(b"PING") {
            return Err(Malformed::Not("a PING"));
        }
        let [hostname, salt, key_digest, user, password_digest] = [
            word(&mut reader)?,
            word(&mut reader)?,
            word(&mut reader)?,
            word(&mut reader)?,
            word(&mut reader)?,
        ];
        let key = self.secrets.shared_key.as_bytes();
        let refused = if !is_equal(key_digest, &sha512(&[salt, hostname, &self.nonce, key])) {
            Some("shared_key mismatch")
        } else if !self.knows(user, password_digest) {
            Some("username/password mismatch")
        } else {
            None
        };
        let name = self.secrets.hostname.as_bytes();
        let digest = match refused {
            None => sha512(&[salt, name, &self.nonce, key]),
            Some(_) => String::new(),
        };
        let mut pong = Vec::new();
        put::array(&mut pong, 5);
        put::text(&mut pong, "PONG");
        put::bool(&mut pong, refused.is_none());
        put::text(&mut pong, refused.unwrap_or_default());
        put::text(&mut pong, &self.secrets.hostname);
        put::text(&mut pong, &digest);
        Ok(Answer { pong, refused, hostname: String::from_utf8_lossy(hostname).into_owned() })
    }

    fn knows(&self, user: &[u8], digest: &[u8]) -> bool {
        let users = &self.secrets.users;
        let password = std::str::from_utf8(user).ok().and_then(|user| users.get(user));
        // An unknown user costs the same digest as a known one.
        let expected = sha512(&[&self.salt, user, password.map_or(&b""[..], |password| password.as_bytes())]);
        users.is_empty() || (is_equal(digest, &expected) && password.is_some())
    }
}

fn word<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    match reader.token()? {
        Token::Text(bytes) | Token::Binary(bytes) => Ok(bytes),
        Token::Nil => Ok(b""),
        _ => Err(Malformed::Not("a PING of texts")),
    }
}

fn sha512(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    hex(context.finish().as_ref())
}

/// Hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a string cannot fail");
        out
    })
}

fn is_equal(left: &[u8], right: &str) -> bool {
    left.len() == right.len() && left.iter().zip(right.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// What a sender that has no password answers to a HELO.
#[cfg(test)]
pub(crate) fn ping(nonce: &[u8], hostname: &str, key: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put::array(&mut out, 6);
    put::text(&mut out, "PING");
    put::text(&mut out, hostname);
    put::binary(&mut out, b"salty");
    put::text(&mut out, &sha512(&[b"salty", hostname.as_bytes(), nonce, key.as_bytes()]));
    put::text(&mut out, "");
    put::text(&mut out, "");
    out
}

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};

    use super::*;

    fn secrets(users: &[(&str, &str)]) -> Secrets {
        let users = users.iter().map(|(user, word)| ((*user).to_owned(), (*word).to_owned())).collect();
        Secrets { shared_key: "sesame".to_owned(), users, hostname: "server".to_owned() }
    }

    fn ping(it: &Handshake<'_>, key: &str, user: &str, password: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put::array(&mut out, 6);
        put::text(&mut out, "PING");
        put::text(&mut out, "client");
        put::binary(&mut out, b"salty");
        put::text(&mut out, &sha512(&[b"salty", b"client", &it.nonce, key.as_bytes()]));
        put::text(&mut out, user);
        put::text(&mut out, &sha512(&[&it.salt, user.as_bytes(), password.as_bytes()]));
        out
    }

    #[track_caller]
    fn check(users: &[(&str, &str)], key: &str, user: &str, password: &str, refused: Option<&str>) {
        let secrets = secrets(users);
        let it = Handshake::new(&secrets).expect("random bytes");
        let answer = it.answer(&ping(&it, key, user, password)).expect("a PING");
        assert_eq!(answer.refused, refused);
        let mut json = String::new();
        Reader::new(&answer.pong).json(&mut json).expect("MessagePack");
        assert!(json.starts_with(&format!("[\"PONG\",{}", refused.is_none())), "{json}");
    }

    #[test]
    fn the_key_and_the_password_are_asked_for() {
        check(&[], "sesame", "", "", None);
        check(&[], "simsim", "", "", Some("shared_key mismatch"));
        check(&[("ali", "baba")], "sesame", "ali", "baba", None);
        check(&[("ali", "baba")], "sesame", "ali", "x", Some("username/password mismatch"));
        check(&[("ali", "baba")], "sesame", "kasim", "", Some("username/password mismatch"));
    }

    #[test]
    fn another_message_is_no_ping() {
        let secrets = secrets(&[]);
        let it = Handshake::new(&secrets).expect("random bytes");
        for bytes in
            [&b""[..], b"\xc0", b"\x96\xa4PING", b"\x91\xa4PING", b"\x96\xa4PONG\x01\x02\x03\x04\x05"]
        {
            assert!(it.answer(bytes).is_err());
        }
    }

    #[test]
    fn mutants_of_a_ping_are_answered_or_refused() {
        let secrets = secrets(&[("ali", "baba")]);
        let it = Handshake::new(&secrets).expect("random bytes");
        let seeds = Seeds::bytes([ping(&it, "sesame", "ali", "baba"), ping(&it, "", "", "")]);
        fuzz(&seeds, |mutant, _| {
            if let Ok(answer) = it.answer(mutant) {
                assert!(answer.pong.len() < 2_000 + mutant.len());
            }
        });
    }
}
