//! Message templates: text with slots that are filled anew for every line.
//!
//! Slots of the request: `{user}` `{login}` (name of the user) `{client}` (address) `{ms}` `{exact}` (ms, three decimals) `{status}` `{method}` `{path}`
//! `{request}`. Random slots: `{int:LOW-HIGH}` (both included), `{float:LOW-HIGH}` (one decimal), `{hex:DIGITS}`,
//! `{of:a|b|c}`, `{ip}` (an address inside the company), `{uuid}`.

use std::net::Ipv4Addr;

use rand::RngCore;

use crate::dice::{below, index};
use crate::event::push_ip;
use crate::json::{push_hex, push_u64};

const FIRST_NAMES: &[&str] =
    &["a", "b", "c", "d", "e", "f", "g", "h", "j", "k", "l", "m", "n", "o", "p", "r", "s", "t", "v", "w"];
const LAST_NAMES: &[&str] = &[
    "almeida", "becker", "chen", "dubois", "eriksson", "fischer", "garcia", "haddad", "ivanova", "jansen",
    "kumar", "lopez", "meyer", "nakamura", "okafor", "petrov", "quinn", "rossi", "singh", "tanaka", "usman",
    "varga", "weber", "xu", "yilmaz", "zhang",
];

/// What the slots of a request are filled with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) user: u32,
    pub(crate) client: Ipv4Addr,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Last part of the path, if the path names one thing of many.
    pub(crate) item: Option<u32>,
    pub(crate) request_id: [u8; 6],
    pub(crate) duration_us: u64,
    pub(crate) status: u16,
}

#[derive(Debug, Clone)]
enum Part {
    Text(Box<[u8]>),
    Int { low: u64, count: u64 },
    Tenths { low: u64, count: u64 },
    Hex(usize),
    Of(Vec<Box<[u8]>>),
    Ip,
    Uuid,
    User,
    Login,
    Client,
    Ms,
    Exact,
    Status,
    Method,
    Path,
    Request,
}

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Parses a template; `None` when a slot is unknown, badly written or not closed.
    pub(crate) fn parse(text: &str) -> Option<Template> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            push_text(&mut parts, before);
            let (slot, after) = after.split_once('}')?;
            parts.push(parse_slot(slot)?);
            rest = after;
        }
        push_text(&mut parts, rest);
        Some(Template { parts })
    }

    /// Appends the text with every slot filled.
    pub(crate) fn render<R: RngCore>(&self, rng: &mut R, request: &Request, out: &mut Vec<u8>) {
        for part in &self.parts {
            part.render(rng, request, out);
        }
    }

    /// [`Template::render`] into a text of its own.
    pub(crate) fn to_text<R: RngCore>(&self, rng: &mut R, request: &Request) -> String {
        let mut out = Vec::with_capacity(128);
        self.render(rng, request, &mut out);
        String::from_utf8(out).expect("templates are texts and slots are filled with ASCII")
    }
}

impl Part {
    fn render<R: RngCore>(&self, rng: &mut R, request: &Request, out: &mut Vec<u8>) {
        match self {
            Part::Text(text) => out.extend_from_slice(text),
            Part::Int { low, count } => push_u64(out, low + below(rng, *count)),
            Part::Tenths { low, count } => {
                let tenths = low + below(rng, *count);
                push_u64(out, tenths / 10);
                out.push(b'.');
                push_u64(out, tenths % 10);
            }
            Part::Hex(digits) => push_random_hex(out, rng, *digits),
            Part::Of(choices) => out.extend_from_slice(&choices[index(rng, choices.len())]),
            Part::Ip => push_ip(out, internal_ip(rng.next_u32())),
            Part::Uuid => push_uuid(out, rng),
            Part::User => push_user(out, request.user),
            Part::Login => out.extend_from_slice(login(request.user).as_bytes()),
            Part::Client => push_ip(out, request.client),
            Part::Ms => push_u64(out, (request.duration_us + 500) / 1000),
            Part::Exact => push_exact_ms(out, request.duration_us),
            Part::Status => push_u64(out, request.status.into()),
            Part::Method => out.extend_from_slice(request.method.as_bytes()),
            Part::Path => push_path(out, request),
            Part::Request => push_hex(out, &request.request_id),
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.as_bytes().into()));
    }
}

fn parse_slot(slot: &str) -> Option<Part> {
    let (name, arguments) = slot.split_once(':').unwrap_or((slot, ""));
    Some(match name {
        "int" => {
            let (low, count) = parse_range(arguments, 1)?;
            Part::Int { low, count }
        }
        "float" => {
            let (low, count) = parse_range(arguments, 10)?;
            Part::Tenths { low, count }
        }
        "hex" => Part::Hex(arguments.parse().ok()?),
        "of" => Part::Of(arguments.split('|').map(|choice| choice.as_bytes().into()).collect()),
        "ip" => Part::Ip,
        "uuid" => Part::Uuid,
        "user" => Part::User,
        "login" => Part::Login,
        "client" => Part::Client,
        "ms" => Part::Ms,
        "exact" => Part::Exact,
        "status" => Part::Status,
        "method" => Part::Method,
        "path" => Part::Path,
        "request" => Part::Request,
        _ => return None,
    })
}

/// `LOW-HIGH`, both included, in units of `1 / parts_per_unit`: the low end and how many values there are.
fn parse_range(text: &str, parts_per_unit: u64) -> Option<(u64, u64)> {
    let (low, high) = text.split_once('-')?;
    let low = low.parse::<u64>().ok()? * parts_per_unit;
    let high = high.parse::<u64>().ok()? * parts_per_unit;
    Some((low, high.checked_sub(low)? + 1))
}

fn push_random_hex<R: RngCore>(out: &mut Vec<u8>, rng: &mut R, digits: usize) {
    let mut left = digits;
    while left > 0 {
        let taken = left.min(16);
        let start = out.len();
        push_hex(out, &rng.next_u64().to_be_bytes());
        out.truncate(start + taken);
        left -= taken;
    }
}

fn push_uuid<R: RngCore>(out: &mut Vec<u8>, rng: &mut R) {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    for (at, group) in
        [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].iter().enumerate()
    {
        if at > 0 {
            out.push(b'-');
        }
        push_hex(out, group);
    }
}

fn push_exact_ms(out: &mut Vec<u8>, us: u64) {
    push_u64(out, us / 1000);
    out.push(b'.');
    for unit in [100, 10, 1] {
        push_u64(out, us / unit % 10);
    }
}

fn push_user(out: &mut Vec<u8>, user: u32) {
    out.push(b'u');
    push_u64(out, user.into());
}

fn push_path(out: &mut Vec<u8>, request: &Request) {
    out.extend_from_slice(request.path.as_bytes());
    if let Some(item) = request.item {
        out.push(b'/');
        push_u64(out, item.into());
    }
}

/// The login name of a user: always the same for the same user.
pub(crate) fn login(user: u32) -> String {
    let user = user as usize;
    let first = FIRST_NAMES[user % FIRST_NAMES.len()];
    let last = LAST_NAMES[user / FIRST_NAMES.len() % LAST_NAMES.len()];
    match user / (FIRST_NAMES.len() * LAST_NAMES.len()) {
        0 => format!("{first}{last}"),
        namesakes => format!("{first}{last}{namesakes}"),
    }
}

/// An address of a machine of the company, from 24 random bits.
pub(crate) fn internal_ip(bits: u32) -> Ipv4Addr {
    let [_, a, b, c] = bits.to_be_bytes();
    Ipv4Addr::new(10, a % 32, b, c.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::stream;

    const REQUEST: Request = Request {
        user: 21,
        client: Ipv4Addr::new(100, 64, 0, 7),
        method: "GET",
        path: "/api/orders",
        item: Some(7),
        request_id: [0xab; 6],
        duration_us: 11_507,
        status: 200,
    };

    #[track_caller]
    fn check(template: &str, text: &str) {
        let template = Template::parse(template).expect("a template");
        assert_eq!(template.to_text(&mut stream(1, 1), &REQUEST), text);
    }

    #[test]
    fn request_slots() {
        check(
            "{user} {login} {client} {method} {path} {status} {ms} {exact} {request}",
            "u21 bbecker 100.64.0.7 GET /api/orders/7 200 12 11.507 abababababab",
        );
    }

    #[test]
    fn random_slots_keep_their_bounds() {
        check("{int:5-5} {float:2-2} {of:only}", "5 2.0 only");
        let template = Template::parse("{hex:20} {uuid} {ip}").unwrap();
        let text = template.to_text(&mut stream(1, 1), &REQUEST);
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!((words[0].len(), words[1].len()), (20, 36));
        assert!(words[2].starts_with("10."));
    }

    #[test]
    fn mistakes_are_refused() {
        for text in ["{nothing}", "{int:9-1}", "{int:a}", "{user", "{hex:x}"] {
            assert!(Template::parse(text).is_none(), "{text}");
        }
    }
}
