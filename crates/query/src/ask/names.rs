//! Services, and how people call them.

use crate::search::nearest_name;

/// Words that people say and names have, in either direction.
const SYNONYMS: [(&str, &str); 12] = [
    ("database", "db"),
    ("authentication", "auth"),
    ("login", "auth"),
    ("payments", "payment"),
    ("billing", "payment"),
    ("balancer", "lb"),
    ("queue", "mq"),
    ("website", "web"),
    ("notifications", "notification"),
    ("orders", "order"),
    ("recommendations", "recommendation"),
    ("kubernetes", "k8s"),
];

/// What a name may mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// Exactly this service.
    One(&'a str),
    /// Any of several.
    Several(Vec<&'a str>),
    Nothing,
}

/// The words of a name, in small letters.
fn parts(name: &str) -> Vec<String> {
    let cut = name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    cut.map(str::to_lowercase).collect()
}

fn is_same(said: &str, part: &str) -> bool {
    let is_plural = said.strip_suffix('s') == Some(part) && part.len() > 2;
    said == part
        || is_plural
        || SYNONYMS.iter().any(|(a, b)| (said == *a && part == *b) || (said == *b && part == *a))
}

/// The service whose name has exactly these words.
pub(super) fn exact<'a>(said: &str, services: &'a [String]) -> Option<&'a str> {
    let said = parts(said);
    services.iter().find(|service| !said.is_empty() && parts(service) == said).map(String::as_str)
}

/// The services whose names have all of these words.
pub(super) fn having<'a>(said: &str, services: &'a [String]) -> Named<'a> {
    if let Some(service) = exact(said, services) {
        return Named::One(service);
    }
    let said = parts(said);
    let has_all = |service: &&String| {
        let parts = parts(service);
        said.iter().all(|said| parts.iter().any(|part| is_same(said, part)))
    };
    let found: Vec<&str> = services.iter().filter(has_all).map(String::as_str).collect();
    match found.as_slice() {
        _ if said.is_empty() => Named::Nothing,
        [] => Named::Nothing,
        [one] => Named::One(one),
        _ => Named::Several(found),
    }
}

/// The service whose name, or a word of it, is spelt nearly so.
pub(super) fn near<'a>(said: &str, services: &'a [String]) -> Option<&'a str> {
    let whole = nearest_name(said, services.iter().map(String::as_str));
    whole.or_else(|| {
        services.iter().map(String::as_str).find(|service| {
            let parts = parts(service);
            nearest_name(said, parts.iter().map(String::as_str).filter(|part| part.len() > 3)).is_some()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_some_of_their_words() {
        let services: Vec<String> =
            ["PAYMENT-GATEWAY", "AUTH-API", "CORE-DB", "ORDER-API"].map(str::to_owned).to_vec();
        assert_eq!(having("payment", &services), Named::One("PAYMENT-GATEWAY"));
        assert_eq!(having("database", &services), Named::One("CORE-DB"));
        assert_eq!(having("core db", &services), Named::One("CORE-DB"));
        assert_eq!(having("api", &services), Named::Several(vec!["AUTH-API", "ORDER-API"]));
        assert_eq!(having("shipping", &services), Named::Nothing);
        assert_eq!(near("paymnet", &services), Some("PAYMENT-GATEWAY"));
    }
}
