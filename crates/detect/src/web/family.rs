//! The classes of attack told apart, with what each means to a person.
//!
//! Invariant: rule ids are stable; alerts, silences and playbooks refer to them.

use heimdall_model::Severity;

/// A class of attack. The order is that of [`Family::ALL`] and of findings within a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// SQL that changes the meaning of a query.
    Sqli,
    /// Operators of document databases and look-ups of object mappers.
    Nosql,
    /// Script for other people's browsers.
    Xss,
    /// Leaving the web folder, system files, hidden files, backups.
    Traversal,
    /// Shell commands.
    Rce,
    /// PHP code, wrappers and serialised objects.
    Php,
    /// Java classes, expression languages and serialised objects.
    Java,
    /// JNDI look-ups in what gets logged (CVE-2021-44228).
    Log4shell,
    /// JavaScript on the server, prototype pollution, code of other interpreters.
    Code,
    /// Template expressions evaluated on the server.
    Template,
    /// Making the server fetch what the client chose.
    Ssrf,
    /// Making the server include a remote file.
    Rfi,
    /// LDAP filters.
    Ldap,
    /// XPath expressions and external XML entities.
    Xml,
    /// Sessions chosen by the attacker.
    Session,
    /// Requests that break the protocol: null bytes, split headers, smuggled requests.
    Protocol,
    /// Tools and probes that map a site for weak points.
    Scanner,
    /// Shells left behind by an earlier break-in.
    Webshell,
}

/// Number of families.
pub(crate) const FAMILIES: usize = 18;

const EDGE: &str = "Block the source at the edge";
const ANSWERS: &str = "Check the answers to these requests; a 200 with an unusual size may mean success";

impl Family {
    /// Every family, in order.
    pub const ALL: [Family; FAMILIES] = [
        Family::Sqli,
        Family::Nosql,
        Family::Xss,
        Family::Traversal,
        Family::Rce,
        Family::Php,
        Family::Java,
        Family::Log4shell,
        Family::Code,
        Family::Template,
        Family::Ssrf,
        Family::Rfi,
        Family::Ldap,
        Family::Xml,
        Family::Session,
        Family::Protocol,
        Family::Scanner,
        Family::Webshell,
    ];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Stable rule id.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Family::Sqli => "web.sqli",
            Family::Nosql => "web.nosql",
            Family::Xss => "web.xss",
            Family::Traversal => "web.traversal",
            Family::Rce => "web.rce",
            Family::Php => "web.php",
            Family::Java => "web.java",
            Family::Log4shell => "web.log4shell",
            Family::Code => "web.code",
            Family::Template => "web.template",
            Family::Ssrf => "web.ssrf",
            Family::Rfi => "web.rfi",
            Family::Ldap => "web.ldap",
            Family::Xml => "web.xml",
            Family::Session => "web.session",
            Family::Protocol => "web.protocol",
            Family::Scanner => "web.scanner",
            Family::Webshell => "web.webshell",
        }
    }

    /// Short name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Family::Sqli => "SQL injection attempt",
            Family::Nosql => "NoSQL injection attempt",
            Family::Xss => "Cross-site scripting attempt",
            Family::Traversal => "Path traversal attempt",
            Family::Rce => "Command injection attempt",
            Family::Php => "PHP injection attempt",
            Family::Java => "Java injection attempt",
            Family::Log4shell => "Log4Shell attempt",
            Family::Code => "Code injection attempt",
            Family::Template => "Template injection attempt",
            Family::Ssrf => "Server-side request forgery attempt",
            Family::Rfi => "Remote file inclusion attempt",
            Family::Ldap => "LDAP injection attempt",
            Family::Xml => "XPath or XML entity injection attempt",
            Family::Session => "Session fixation attempt",
            Family::Protocol => "Protocol attack",
            Family::Scanner => "Vulnerability scanner",
            Family::Webshell => "Web shell",
        }
    }

    /// How bad an attempt is whose outcome is not known: critical where success means code, files or data in the
    /// attacker's hands.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Family::Sqli
            | Family::Traversal
            | Family::Rce
            | Family::Php
            | Family::Java
            | Family::Log4shell
            | Family::Code
            | Family::Template
            | Family::Webshell => Severity::Critical,
            Family::Nosql
            | Family::Xss
            | Family::Ssrf
            | Family::Rfi
            | Family::Ldap
            | Family::Xml
            | Family::Session
            | Family::Protocol
            | Family::Scanner => Severity::Warning,
        }
    }

    /// What to do now, one step each.
    #[must_use]
    pub const fn mitigation(self) -> &'static [&'static str] {
        match self {
            Family::Sqli => &[ANSWERS, EDGE, "Use prepared statements in the endpoint that was tried"],
            Family::Nosql => {
                &[ANSWERS, EDGE, "Accept only plain values in the endpoint that was tried, no operators"]
            }
            Family::Xss => &[
                "Check whether the text is shown to others unescaped, and remove it if it was stored",
                "Escape output and set a Content-Security-Policy",
                EDGE,
            ],
            Family::Traversal => &[
                "Check the answers to these requests; a 200 means that a file was read",
                "Rotate every secret in a file that was read",
                "Resolve paths before opening them, and refuse what leaves the folder",
            ],
            Family::Rce | Family::Code | Family::Template => &[
                "Isolate the host and look for new processes, files and outgoing connections",
                EDGE,
                "Never pass request text to a shell or an evaluator; patch the component that was tried",
            ],
            Family::Php => &[
                "Look for new or changed .php files and for outgoing connections",
                EDGE,
                "Set allow_url_include=Off and disable_functions; patch the component that was tried",
            ],
            Family::Java => &[
                "Look for new processes and outgoing connections of the Java service",
                EDGE,
                "Patch the framework that was tried; refuse serialised objects and class names in requests",
            ],
            Family::Log4shell => &[
                "Find Java services that logged this text and check their log4j version (2.17.1 or later is safe)",
                "Look for outgoing LDAP, RMI and DNS connections from them",
                EDGE,
            ],
            Family::Ssrf | Family::Rfi => &[
                "Look for outgoing connections of the service to the address in the request",
                "Allow the service to fetch from named hosts only; block metadata and private addresses",
                EDGE,
            ],
            Family::Ldap => {
                &[ANSWERS, EDGE, "Escape filter characters (RFC 4515) in the endpoint that was tried"]
            }
            Family::Xml => {
                &[ANSWERS, EDGE, "Switch off external entities; bind variables in XPath expressions"]
            }
            Family::Session => &[
                "End the session named in the request",
                "Give a new session id at login and accept none from the URL",
                EDGE,
            ],
            Family::Protocol => &[
                "Check that proxy and server agree on where a request ends (same parser, no downgrade)",
                EDGE,
                "Refuse control characters in requests at the edge",
            ],
            Family::Scanner => &[
                "Check that it is not a scan of your own",
                "Rate-limit or block the source at the edge",
                "Read what it asked for and which answers were not 404",
            ],
            Family::Webshell => &[
                "Check whether the file exists and answered 200; if so, treat the host as taken over",
                "Isolate the host, keep a copy of the file, look for what the shell ran",
                "Find the upload or flaw that put it there",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_index_and_rules_are_distinct() {
        for (index, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family.index(), index);
            assert!(family.rule().starts_with("web."));
        }
        let rules: std::collections::BTreeSet<_> = Family::ALL.iter().map(|family| family.rule()).collect();
        assert_eq!(rules.len(), FAMILIES);
    }
}
