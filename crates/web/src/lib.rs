//! The web app: the files that the build of `ui/` makes, embedded, and how each is answered.
//!
//! - [`embedded`]: the files of this binary; without a build of `ui/`, one page that says how to make it
//! - [`Site::page`]: the page, which draws every view itself; [`Site::file`]: what it loads
//!
//! Invariants:
//! - a file under `/assets/` has a name made of its content: it is kept for a year, everything else is asked for anew;
//! - the page carries a nonce of its own every time, and so is never kept;
//! - nothing is compressed here: what is sent compressed was compressed when the app was built.
//!
//! Not here: HTTP, who may ask, and which paths are pages (see `heimdall-api`).

use std::borrow::Cow;

/// What the page has in place of its nonce.
const NONCE_MARK: &str = "__CSP_NONCE__";
const PAGE: &str = "/index.html";
/// Below it, names are made of contents.
const ASSETS: &str = "/assets/";

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Path it is served at, such as `/assets/index-B2a1.js`.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Hash of its bytes, hex.
    pub hash: &'static str,
    /// The file as it is.
    pub bytes: &'static [u8],
    /// The same, compressed with Brotli.
    pub brotli: Option<&'static [u8]>,
    /// The same, compressed with gzip.
    pub gzip: Option<&'static [u8]>,
}

/// The files of one build.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Whether they are the app, not the page that stands in for it.
    pub is_built: bool,
    // INVARIANT: one of them is `/index.html`, which is text.
    /// The files, `/index.html` among them.
    pub files: &'static [File],
}

/// What a request for a file says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// The path.
    pub path: &'a str,
    /// The header `Accept-Encoding`.
    pub accept_encoding: Option<&'a str>,
    /// The header `If-None-Match`.
    pub if_none_match: Option<&'a str>,
}

/// An answer, without protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200, or 304 without a body.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// What to send; the same for `HEAD`, which sends none of it.
    pub body: Cow<'static, [u8]>,
}

/// The files embedded in this binary.
#[must_use]
pub fn embedded() -> Site {
    include!(concat!(env!("OUT_DIR"), "/files.rs"))
}

impl Site {
    /// The page. `nonce` marks the styles it may add to itself: random, and new for every answer.
    #[must_use]
    pub fn page(&self, nonce: &str) -> Answer {
        let page = self.find(PAGE).map_or(&b""[..], |page| page.bytes);
        let page = String::from_utf8_lossy(page).replace(NONCE_MARK, nonce);
        let headers = vec![
            ("content-type", "text/html; charset=utf-8".into()),
            ("cache-control", "no-store".into()),
            ("content-security-policy", page_policy(nonce).into()),
            ("cross-origin-opener-policy", "same-origin".into()),
            ("cross-origin-resource-policy", "same-origin".into()),
        ];
        Answer { status: 200, headers, body: Cow::Owned(page.into_bytes()) }
    }

    /// The file at a path, in the form the client reads; none when there is no such file.
    #[must_use]
    pub fn file(&self, ask: &Ask<'_>) -> Option<Answer> {
        let file = self.find(ask.path).filter(|file| file.path != PAGE)?;
        let (coding, body) = file.form(ask.accept_encoding.unwrap_or_default());
        let ending = coding.map(|coding| format!("-{coding}")).unwrap_or_default();
        let tag = format!("\"{}{ending}\"", file.hash);
        let is_known = ask.if_none_match.is_some_and(|tags| names_tag(tags, &tag));
        let cache_control = match file.path.starts_with(ASSETS) {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        };
        let mut headers = vec![
            ("cache-control", cache_control.into()),
            ("etag", tag.into()),
            ("vary", "accept-encoding".into()),
            ("cross-origin-resource-policy", "same-origin".into()),
        ];
        if is_known {
            return Some(Answer { status: 304, headers, body: Cow::Borrowed(b"") });
        }
        headers.push(("content-type", file.content_type.into()));
        if file.content_type.starts_with("text/javascript") {
            headers.push(("content-security-policy", WORKER_POLICY.into()));
        }
        headers.extend(coding.map(|coding| ("content-encoding", coding.into())));
        Some(Answer { status: 200, headers, body: Cow::Borrowed(body) })
    }

    /// Whether there is a file at this path, other than the page.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        path != PAGE && self.find(path).is_some()
    }

    fn find(&self, path: &str) -> Option<&'static File> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl File {
    /// The smallest form that a client which sends this `Accept-Encoding` reads, and its coding.
    fn form(&self, accepted: &str) -> (Option<&'static str>, &'static [u8]) {
        let form = |coding, bytes: Option<&'static [u8]>| {
            bytes.filter(|_| accepts(accepted, coding)).map(|bytes| (Some(coding), bytes))
        };
        form("br", self.brotli).or_else(|| form("gzip", self.gzip)).unwrap_or((None, self.bytes))
    }
}

/// The page loads and connects to its own server alone. It may add styles to itself under its nonce, and set them on elements.
fn page_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src-elem 'self' 'nonce-{nonce}'; style-src-attr 'unsafe-inline'; \
         img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// A worker is bound by the policy of its script, not of the page.
const WORKER_POLICY: &str =
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Whether an `Accept-Encoding` takes a coding: by its name, else by `*`, and not with `q=0`.
fn accepts(header: &str, coding: &str) -> bool {
    let mut by_star = false;
    for part in header.split(',') {
        let mut parameters = part.split(';').map(str::trim);
        let name = parameters.next().unwrap_or_default();
        let weight = parameters.find_map(|parameter| parameter.strip_prefix("q="));
        let is_taken = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        if name.eq_ignore_ascii_case(coding) {
            return is_taken;
        }
        by_star |= name == "*" && is_taken;
    }
    by_star
}

/// Whether an `If-None-Match` names this tag.
fn names_tag(header: &str, tag: &str) -> bool {
    header.split(',').map(str::trim).any(|named| named == "*" || named.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "/assets/app-1a2b.js";

    /// The files of `tests/dist`, as the build script reads them.
    fn sample() -> Site {
        include!(concat!(env!("OUT_DIR"), "/sample.rs"))
    }

    fn ask(path: &str, accept_encoding: &str) -> Option<Answer> {
        sample().file(&Ask { path, accept_encoding: Some(accept_encoding), if_none_match: None })
    }

    fn header(answer: &Answer, name: &str) -> String {
        let found = answer.headers.iter().find(|(header, _)| *header == name);
        found.map_or_else(|| "none".to_owned(), |(_, value)| value.clone().into_owned())
    }

    #[track_caller]
    fn check_form(accept_encoding: &str, coding: &str) {
        let answer = ask(SCRIPT, accept_encoding).unwrap();
        assert_eq!(header(&answer, "content-encoding"), coding, "{accept_encoding}");
    }

    #[test]
    fn a_compressed_form_is_sent_to_who_reads_it() {
        check_form("gzip, deflate, br, zstd", "br");
        check_form("gzip;q=1.0, br;q=0", "gzip");
        check_form("GZIP", "gzip");
        check_form("*", "br");
        check_form("br;q=0, *;q=0.5", "gzip");
        check_form("identity", "none");
        check_form("", "none");
        let plain = ask("/favicon.svg", "br").unwrap();
        assert_eq!(header(&plain, "content-encoding"), "none", "there is no other form");
    }

    #[test]
    fn every_form_is_the_same_file_with_a_tag_of_its_own() {
        let [raw, gzip, brotli] = ["", "gzip", "br"].map(|coding| ask(SCRIPT, coding).unwrap());
        assert_eq!(raw.body, &b"export const name = \"Heimdall\";\n"[..]);
        assert!(gzip.body.starts_with(&[0x1f, 0x8b]) && brotli.body != raw.body);
        let tags = [&raw, &gzip, &brotli].map(|answer| header(answer, "etag"));
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    }

    #[test]
    fn what_a_client_has_is_not_sent_again() {
        let tag = header(&ask(SCRIPT, "br").unwrap(), "etag");
        let again = |tag: &str, path| {
            sample().file(&Ask { path, accept_encoding: Some("br"), if_none_match: Some(tag) }).unwrap()
        };
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let answer = again(&known, SCRIPT);
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
            assert_eq!(header(&answer, "etag"), tag);
        }
        assert_eq!(again("\"x\"", SCRIPT).status, 200);
        assert_eq!(again(&tag, "/favicon.svg").status, 200, "a tag of another file");
    }

    #[test]
    fn names_made_of_contents_are_kept_and_others_asked_for() {
        for (path, cache_control, content_type) in [
            (SCRIPT, "public, max-age=31536000, immutable", "text/javascript; charset=utf-8"),
            ("/favicon.svg", "no-cache", "image/svg+xml"),
            ("/manifest.webmanifest", "no-cache", "application/manifest+json"),
        ] {
            let answer = ask(path, "").unwrap();
            let found = (header(&answer, "cache-control"), header(&answer, "content-type"));
            assert_eq!(found, (cache_control.to_owned(), content_type.to_owned()), "{path}");
        }
    }

    #[test]
    fn only_files_of_the_build_are_files() {
        for path in
            ["/", "/index.html", "/assets/app-1a2b.js.br", "/assets/", "/../build.rs", "//favicon.svg"]
        {
            assert_eq!(ask(path, ""), None, "{path}");
        }
    }

    #[test]
    fn the_page_and_its_policy_have_the_nonce_of_this_answer() {
        let page = sample().page("Zm9v");
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(text.contains(r#"content="Zm9v""#) && text.contains(r#"<style nonce="Zm9v">"#), "{text}");
        assert!(!text.contains(NONCE_MARK));
        let policy = header(&page, "content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src-elem 'self' 'nonce-Zm9v';")
        );
        assert_eq!(header(&page, "cache-control"), "no-store");
        assert_eq!(
            (header(&page, "etag"), header(&page, "cross-origin-opener-policy")),
            ("none".into(), "same-origin".into())
        );
    }

    #[test]
    fn a_binary_has_a_page_with_or_without_the_app() {
        let site = embedded();
        let page = String::from_utf8(site.page("Zm9v").body.to_vec()).unwrap();
        assert!(page.contains("Heimdall") && !page.contains("http://") && !page.contains("https://"));
        assert_eq!(
            page.contains("make ui"),
            !site.is_built,
            "the page that stands in says how to make the app"
        );
        assert!(page.contains("nonce") && page.contains("Zm9v") && !page.contains(NONCE_MARK));
    }
}
