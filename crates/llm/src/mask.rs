//! Takes out of a template what names or opens something, before it leaves the process.
//!
//! Templates have lost their variable parts already; what a miner left because it was constant so far (one address, one
//! user, one key in every line) is found here by its shape. Each find becomes a placeholder that tells its kind.
//!
//! Invariants:
//! - the result has no e-mail or IPv4 address, no run of five digits or more, no run of 16 or more letters with digits, as keys
//!   are, no value behind a name that calls it secret, and at most the asked number of characters;
//! - time linear in the text, of which at most [`READ_FACTOR`] times the asked characters are read.
//!
//! Not here: names of people and places, which have no shape.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex, Replacer};

/// A text is cut before it is masked, so that the work is bounded, at this many times what is kept, so that what is kept
/// is seldom less than it could be.
const READ_FACTOR: usize = 4;

/// A name that ends in a word for a secret, and the sign after it.
const SECRET_NAME: &str = r#"(?ix:
    \b[0-9a-z_.-]*?
    (?: passw(?:or)?d | passphrase | pwd | secret | token | credentials? | api[_-]?key | access[_-]?key | private[_-]?key
      | auth(?:orization)? | cookie | session(?:[_-]?id)? | signature | (?:\b|_)(?:otp|pin|cvv|ssn|iban) )
    ["']? \s* [=:] [=:>]* )"#;

/// The shapes in the order in which they are looked for: those with a context first, bare runs of characters last.
static SHAPES: LazyLock<Vec<(Regex, Replacement)>> = LazyLock::new(|| {
    let shape = |pattern: &str, replacement| {
        // Word boundaries of ASCII: those of Unicode leave the fast engine (15 ms for 2,400 accented letters).
        let pattern = pattern.replace(r"\b", r"(?-u:\b)");
        (Regex::new(&pattern).expect("a pattern of this file"), replacement)
    };
    use Replacement::{IfDigit, IfMixed, Text};
    vec![
        shape(r"(?s)-----BEGIN [^-]{1,60}-----.*?(?:-----END [^-]{1,60}-----|$)", Text("<secret>")),
        // user:password@ in an address, with or without the address's name
        shape(r"(?i)([a-z][a-z0-9+.-]{1,20}://)[^\s/@<>]+@", Text("${1}<secret>@")),
        // what follows ? in an address: session ids, signatures, search words
        shape(r"(?i)([a-z][a-z0-9+.-]{1,20}://[^\s?<>]+)\?[^\s<>]+", Text("${1}?<query>")),
        // authorization headers: what follows the scheme; the scheme goes with the names below
        shape(r#"(?i)\b(authorization["']?\s*[=:]\s*["']?[a-z]+\s+)[^\s"'<>]+"#, Text("${1}<secret>")),
        shape(r"(?i)\b(bearer\s+)[a-z0-9._~+/=-]{8,}", Text("${1}<secret>")),
        // name=value and name: value where the name says that the value is secret: to the closing quote, or the next space
        shape(&format!(r#"({SECRET_NAME}\s*")[^"<>]+"#), Text("${1}<secret>")),
        shape(&format!(r"({SECRET_NAME}\s*')[^'<>]+"), Text("${1}<secret>")),
        shape(
            &format!(r#"({SECRET_NAME}\s*["']?)[^\s"'<>,;&}})\]=:][^\s"'<>,;&}})\]]*"#),
            Text("${1}<secret>"),
        ),
        // or a person
        shape(
            r#"(?ix)
            ( \b (?: user(?:[_-]?name|[_-]?id)? | uname | login | account | e?mail | customer | owner | subject )
              ["']? \s* = \s* ["']? )
            [^\s"'<>,;&})\]]+"#,
            Text("${1}<user>"),
        ),
        shape(
            r#"[^\s@<>"'(),;:=\[\]{}]+@[^\s@<>"'(),;:=\[\]{}]+\.[^\s@<>"'(),;:=\[\]{}.]{2,}\.?"#,
            Text("<email>"),
        ),
        shape(r"(?i)((?:/home/|/users/|\\users\\))[^\s/\\<>:;,]+", Text("${1}<user>")),
        shape(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", Text("<id>")),
        shape(r"(?i)\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b", Text("<mac>")),
        shape(r"\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?", Text("<ip>")),
        // IPv6: four groups or more, or ::, with a digit somewhere. A time of day (12:30:59) has three, a name (std::fmt) no digit.
        shape(
            r"(?ix) (?: \b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b
                | \b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*\b)?
                | ::[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*\b ) (?:/\d{1,3})?",
            IfDigit("<ip>"),
        ),
        // keys of known services, which may be of letters alone
        shape(
            r"(?x) \b (?: sk-[0-9A-Za-z_-]{8,} | (?:gh[pousr]|github_pat|glpat|xox[abeoprs]|hf|npm|pypi)[_-][0-9A-Za-z_-]{8,}
                | A(?:KIA|SIA)[A-Z0-9]{12,} | AIza[0-9A-Za-z_-]{20,} | eyJ[0-9A-Za-z_-]{5,}(?:\.[0-9A-Za-z_-]+){0,2} )",
            Text("<secret>"),
        ),
        // base64, hashes, ids of sessions: long, with letters and digits
        shape(r"[A-Za-z0-9+_=-]{16,}", IfMixed("<token>")),
        shape(r"(?i)\b(?:0x)?[0-9a-f]{8,}\b", IfMixed("<hex>")),
        // numbers of cards, accounts and telephones, in groups
        shape(r"\+?\d(?:[ -]?\d){8,}", Text("<num>")),
        shape(r"\d{5,}", Text("<num>")),
    ]
});

/// What a find becomes.
#[derive(Clone, Copy)]
enum Replacement {
    /// This, with `${1}` for groups.
    Text(&'static str),
    /// This if the find has a digit.
    IfDigit(&'static str),
    /// This if the find has a letter and a digit: words and short numbers stay.
    IfMixed(&'static str),
}

impl Replacer for &Replacement {
    fn replace_append(&mut self, found: &Captures<'_>, out: &mut String) {
        let whole = found.get(0).map_or("", |all| all.as_str());
        let has_digit = whole.bytes().any(|b| b.is_ascii_digit());
        let has_letter = whole.bytes().any(|b| b.is_ascii_alphabetic());
        match **self {
            Replacement::Text(text) => found.expand(text, out),
            Replacement::IfDigit(text) => out.push_str(if has_digit { text } else { whole }),
            Replacement::IfMixed(text) => out.push_str(if has_digit && has_letter { text } else { whole }),
        }
    }
}

/// The text without what has the shape of an address, a person's account, a secret or a long number; on one line; at most
/// `chars_max` characters, `…` for the rest.
#[must_use]
pub fn masked(text: &str, chars_max: usize) -> String {
    let head = whole_words(text, chars_max.saturating_mul(READ_FACTOR));
    let mut line = one_line(head);
    if head.len() < text.len() {
        line.push_str(" …");
    }
    for (pattern, replacement) in SHAPES.iter() {
        if let Cow::Owned(replaced) = pattern.replace_all(&line, replacement) {
            line = replaced;
        }
    }
    cut(&line, chars_max)
}

/// At most so many characters, ending between words or list items where there are any: half a secret has no shape.
fn whole_words(text: &str, chars_max: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(chars_max) else { return text };
    let head = &text[..end];
    let is_between = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '"' | '\'');
    head.rfind(is_between).map_or(head, |at| &head[..at])
}

/// At most so many characters, the last of them `…` if there were more.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max.saturating_sub(1)) {
        Some((at, _)) if text[at..].chars().nth(1).is_some() => format!("{}…", &text[..at]),
        _ => text.to_owned(),
    }
}

/// Every run of spaces and control characters as one space, none at the ends.
pub(crate) fn one_line(text: &str) -> String {
    let is_gap = |c: char| c.is_whitespace() || c.is_control();
    let mut line = String::with_capacity(text.len());
    for word in text.split(is_gap).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(masked(text, 500), expected);
        assert_eq!(masked(expected, 500), expected, "masking is done once");
    }

    #[test]
    fn what_names_or_opens_something_is_taken_out() {
        check("mail to jürgen.o'hara+x@mail.example.org failed", "mail to jürgen.o'<email> failed");
        check("from 10.1.2.3:8080 and 192.168.0.0/16", "from <ip>:8080 and <ip>");
        check("peer fe80::1ff:fe23:4567:890a%eth0 up", "peer <ip>%eth0 up");
        check("peer 2001:db8:85a3:0:0:8a2e:370:7334, ::1, 2001:db8::/32", "peer <ip>, <ip>, <ip>");
        check("port 00:1A:2b:3c:4D:5e down", "port <mac> down");
        check("card 4111 1111 1111 1111, tel +49 30 1234567", "card <num>, tel <num>");
        check("order 12345 took 999 ms", "order <num> took 999 ms");
        check("password=hunter2, db_passwd: \"x y\"", "password=<secret>, db_passwd: \"<secret>\"");
        check("Authorization: Bearer abcdefghijk", "Authorization: <secret> <secret>");
        check(
            "{\"Authorization\": \"Basic YTpi\"} bearer abcdefghijk",
            "{\"Authorization\": \"<secret><secret>\"} bearer <secret>",
        );
        check(
            "pass: user_pin=1, spin: left, my-secret => 'a b'",
            "pass: user_pin=<secret>, spin: left, my-secret => '<secret>'",
        );
        check("OPENAI_API_KEY=sk-abcdefghijklmnop", "OPENAI_API_KEY=<secret>");
        check("key sk-abcdefghijklmnop and AKIAABCDEFGHIJKLMNOP", "key <secret> and <secret>");
        check("jwt eyJhbGciOi.eyJzdWIi.abc-def bad", "jwt <secret> bad");
        check(
            "postgres://app:pa55@db:5432/x?user=a&b=c",
            "postgres://<secret>@db:5432/x?user=a&b=c".replace("?user=a&b=c", "?user=<user>&b=c").as_str(),
        );
        check("GET https://shop.example/cart?sid=abc done", "GET https://shop.example/cart?<query> done");
        check("user=alice opened /home/alice/notes", "user=<user> opened /home/<user>/notes");
        check("blob dGhpcyBpcyBhIHNlY3JldA1 x", "blob <token> x");
        check("commit deadbeef01 by", "commit <hex> by");
        check("id 123e4567-e89b-12d3-a456-426614174000", "id <id>");
    }

    #[test]
    fn what_a_reader_needs_stays() {
        for text in [
            "Failed password for <*> from <*> port <*> ssh2",
            "java.lang.OutOfMemoryError: Java heap space",
            "HTTP 503 from upstream in 30 s at 12:30:59",
            "org.apache.hadoop.hdfs.server.namenode.FSNamesystem: BLOCK* <*>",
            "ext4-fs error (device sda1): <*> inode 1234",
            "segfault in libssl.so.1.1 error 4",
            "panicked at core::fmt::add::bad, std::fmt::Error in abc::def",
            "digest mismatch; basic authentication of peer failed, bearer is up",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn texts_are_one_line_and_cut_between_words() {
        assert_eq!(masked("a\u{1b}[31m\n\tb\r\n", 10), "a [31m b");
        assert_eq!(masked("ab cdefghij", 5), "ab c…");
        // The read limit (4 x 6) falls inside the address: it is dropped, not halved.
        assert_eq!(masked("aaaa bbbb cccc dddd alice@example.org", 6), "aaaa …");
        assert_eq!(masked("x alice@mail.example.org", 4), "x …");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }

    proptest! {
        #[test]
        fn nothing_of_the_shapes_is_left(words in prop::collection::vec(
            prop_oneof![
                "[a-z]{1,8}", "[0-9]{1,20}", "[a-zA-Z0-9]{16,40}", "[a-z]{1,5}@[a-z]{1,5}\\.[a-z]{2,4}",
                "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}", "[=:/?&.@<>*-]{1,3}", "password", "\\PC{0,6}",
            ], 0..12), sep in "[ =:,]{0,1}")
        {
            let line = masked(&words.join(&sep), 2_000);
            for shape in [r"\d{5}", r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", r"[a-z]+@[a-z]+\.[a-z]{2,}"] {
                prop_assert!(!Regex::new(shape).unwrap().is_match(&line), "{line}");
            }
            let runs = line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|run| run.len() >= 16);
            for run in runs {
                let digits = run.bytes().filter(u8::is_ascii_digit).count();
                prop_assert!(digits == 0 || digits == run.len(), "{line}");
            }
        }

        #[test]
        fn what_is_called_secret_is_gone(
            before in "[a-z <*>]{0,12}", name in "(db_)?(password|passwd|secret|api[_-]?key|Token|session_id)",
            sep in "(=|:|: | = |=>|:=|==|\": \"|='|=\")", value in "[a-zA-Z0-9!$%^/+.-]{4,40}", after in "( [a-z]{0,9})?")
        {
            let line = masked(&format!("{before} {name}{sep}{value}{after}"), 2_000);
            prop_assert!(!line.contains(&value) && line.contains("<secret>"), "{line}");
        }
    }
}
