//! ArcSight's Common Event Format: `CEF:0|vendor|product|version|class|name|severity|key=value key=value`.
//!
//! Values hold spaces: one ends where the next word that is followed by `=` begins. In the header `\|` and `\\` are
//! escapes, in values `\=`, `\\`, `\n`, `\r` and `\|`; any other backslash stands for itself.
//!
//! Fields: `cef_version`, `device_vendor`, `device_product`, `device_version`, `event_class_id`, `name`, `cef_severity`, and every
//! key of the extension by its own name, except: `src` is `source_ip`, `suser` (else `duser`) is `user_id`, `cat` is `category`,
//! `dvchost` is `host` when the syslog header names none, and `cs1` with `cs1Label=Rule` is `Rule` (the same for the other
//! custom fields). The message is `msg`, else `name`; the time is `rt`, else `end`, else `start`; the level is the severity's.

use std::borrow::Cow;

use heimdall_model::Timestamp;

use super::Value;
use super::event::{
    Event, has_room, is_name, level_of, name_of_label, number_or_text, resolved, split_header,
};
use super::zone::When;

const SHORT_HEADER: &str = "not CEF: the header lacks fields";

/// Keys whose values are numbers.
const NUMBERS: [&str; 19] = [
    "spt",
    "dpt",
    "spid",
    "dpid",
    "dvcpid",
    "cnt",
    "in",
    "out",
    "fsize",
    "oldFileSize",
    "sourceTranslatedPort",
    "destinationTranslatedPort",
    "cn1",
    "cn2",
    "cn3",
    "cfp1",
    "cfp2",
    "cfp3",
    "cfp4",
];
/// Keys that may have a label, digits aside.
const LABELLED: [&str; 8] =
    ["cs", "cn", "cfp", "c6a", "flexString", "flexNumber", "flexDate", "deviceCustomDate"];
/// Keys with the time of the event, the best first.
const TIMES: [&str; 3] = ["rt", "end", "start"];

pub(super) fn read<'a>(text: &'a str, when: When<'_>) -> Result<Event<'a>, &'static str> {
    let text = text.strip_prefix("CEF:").ok_or(SHORT_HEADER)?.trim_start_matches(' ');
    let (head, extension) = match split_header::<7>(text) {
        Some(split) => split,
        None => without_extension(text).ok_or(SHORT_HEADER)?,
    };
    let [version, vendor, product, product_version, class, name, severity] = head;
    let mut event = Event { format: "cef", product: product.clone(), ..Event::default() };
    event.level = level_of(&severity);
    event.message = Some(name.clone());
    for (field, value) in [
        ("cef_version", version),
        ("device_vendor", vendor),
        ("device_product", product),
        ("device_version", product_version),
        ("event_class_id", class),
        ("name", name),
        ("cef_severity", severity),
    ] {
        event.mean(field, &value);
    }
    let members = members(extension)?;
    event.timestamp = time_of(&members, when);
    take_members(&mut event, members);
    Ok(event)
}

/// A header that ends with the severity: no extension, and no pipe before it.
fn without_extension(text: &str) -> Option<([Cow<'_, str>; 7], &str)> {
    let ([version, vendor, product, product_version, class, name], severity) = split_header::<6>(text)?;
    let severity = Cow::Borrowed(severity.trim_ascii());
    Some(([version, vendor, product, product_version, class, name, severity], ""))
}

type Member<'a> = (&'a str, Cow<'a, str>);

/// The members of an extension.
fn members(text: &str) -> Result<Vec<Member<'_>>, &'static str> {
    let mut members = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    for (start, equals) in keys(text) {
        has_room(members.len())?;
        members.extend(open.map(|(key, from)| (key, value(&text[from..start]))));
        open = Some((&text[start..equals], equals + 1));
    }
    members.extend(open.map(|(key, from)| (key, value(&text[from..]))));
    Ok(members)
}

/// Where each key starts, and where its `=` is.
fn keys(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut word_start = 0;
    let mut is_escaped = false;
    text.bytes().enumerate().filter_map(move |(at, byte)| {
        let was_escaped = is_escaped;
        is_escaped = byte == b'\\' && !was_escaped;
        if byte.is_ascii_whitespace() {
            word_start = at + 1;
        }
        (byte == b'=' && !was_escaped && is_name(&text[word_start..at])).then_some((word_start, at))
    })
}

fn value(raw: &str) -> Cow<'_, str> {
    resolved(raw.trim_ascii_end(), |c| match c {
        'n' => Some('\n'),
        'r' => Some('\r'),
        '=' | '\\' | '|' => Some(c),
        _ => None,
    })
}

fn find<'m>(members: &'m [Member<'_>], key: &str) -> Option<&'m str> {
    members.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_ref())
}

fn time_of(members: &[Member<'_>], when: When<'_>) -> Option<Timestamp> {
    TIMES.iter().find_map(|key| find(members, key).and_then(|text| when.whole(text)))
}

fn take_members<'a>(event: &mut Event<'a>, members: Vec<Member<'a>>) {
    let labels = labels(&members);
    let has_acting_user = find(&members, "suser").is_some_and(|user| !user.is_empty());
    for (key, value) in members {
        let is_field = match key {
            "src" => event.mean("source_ip", &value),
            "suser" => event.mean("user_id", &value),
            "duser" if !has_acting_user => event.mean("user_id", &value),
            "cat" => event.mean("category", &value),
            "msg" if !value.is_empty() => {
                event.message = Some(value.clone());
                true
            }
            "dvchost" => {
                event.host = Some(value.clone());
                false
            }
            _ => false,
        };
        if is_field || labels.iter().any(|label| label.key == key) {
            continue;
        }
        let label = labels.iter().find(|label| label.of == key);
        let name = label.map_or(Cow::Borrowed(key), |label| Cow::Owned(label.name.clone()));
        let value = if NUMBERS.contains(&key) { number_or_text(value) } else { Value::Text(value) };
        event.keep(name, value);
    }
}

/// `cs1Label=Rule Name`: the name of `cs1`.
struct Label<'a> {
    key: &'a str,
    of: &'a str,
    name: String,
}

/// The labels that can stand for their fields: no other member has that name, and the field is there.
fn labels<'a>(members: &[Member<'a>]) -> Vec<Label<'a>> {
    let mut labels: Vec<Label<'a>> = Vec::new();
    for (key, label) in members {
        let Some(of) = key.strip_suffix("Label").filter(|of| is_labelled(of)) else { continue };
        let Some(name) = name_of_label(label) else { continue };
        let is_taken =
            find(members, &name).is_some() || labels.iter().any(|label| label.of == of || label.name == name);
        if !is_taken && find(members, of).is_some() {
            labels.push(Label { key, of, name });
        }
    }
    labels
}

fn is_labelled(key: &str) -> bool {
    let base = key.trim_end_matches(|c: char| c.is_ascii_digit());
    base.len() + 1 == key.len() && LABELLED.contains(&base)
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::show;

    const HEAD: &str = "cef_version=\"0\" device_vendor=\"Security\" device_product=\"threatmanager\" device_version=\"1.0\" event_class_id=\"100\"";

    #[track_caller]
    fn check(line: &str, shown: &str) {
        assert_eq!(show(Format::Syslog, line), shown.replace("HEAD", HEAD), "{line}");
    }

    #[test]
    fn an_event_after_a_syslog_header() {
        check(
            "<134>Feb  9 12:17:19 host CEF:0|Security|threatmanager|1.0|100|worm successfully stopped|10|src=10.0.0.1 dst=2.1.2.2 spt=1232",
            "2026-02-09T12:17:19.000000000Z fatal | facility=16 severity_code=6 host=\"host\" service=\"threatmanager\" HEAD name=\"worm successfully stopped\" cef_severity=\"10\" source_ip=\"10.0.0.1\" dst=\"2.1.2.2\" spt=1232 | worm successfully stopped",
        );
        check(
            "<134>1 2026-02-09T12:17:19Z fw filter - - - \u{feff}CEF:0|Security|threatmanager|1.0|100|n|Low|suser=eve duser=bob msg=two words",
            "2026-02-09T12:17:19.000000000Z info | facility=16 severity_code=6 host=\"fw\" service=\"filter\" HEAD name=\"n\" cef_severity=\"Low\" user_id=\"eve\" duser=\"bob\" | two words",
        );
    }

    #[test]
    fn headers_of_products() {
        check(
            "<189>Feb  9 12:17:19 FG CEF: 0|Security|threatmanager|1.0|100|n|3|deviceExternalId=F1 cat=traffic:forward act=accept",
            "2026-02-09T12:17:19.000000000Z info | facility=23 severity_code=5 host=\"FG\" service=\"threatmanager\" HEAD name=\"n\" cef_severity=\"3\" category=\"traffic:forward\" deviceExternalId=\"F1\" act=\"accept\" | n",
        );
        check(
            "<5>1 2026-02-09T12:17:19Z VAULT CEF:0|Security|threatmanager|1.0|100|Logon|Unknown|act=\"Logon\"",
            "2026-02-09T12:17:19.000000000Z info | facility=0 severity_code=5 host=\"VAULT\" service=\"threatmanager\" HEAD name=\"Logon\" cef_severity=\"Unknown\" act=\"\\\"Logon\\\"\" | Logon",
        );
    }

    #[test]
    fn without_a_header_or_host() {
        check(
            "CEF:0|Security|threatmanager|1.0|100|n|5|",
            "- warn | service=\"threatmanager\" HEAD name=\"n\" cef_severity=\"5\" | n",
        );
        check(
            "<134>CEF:0|Security|threatmanager|1.0|100|n|7",
            "- error | facility=16 severity_code=6 service=\"threatmanager\" HEAD name=\"n\" cef_severity=\"7\" | n",
        );
        check(
            "<134>Feb  9 12:17:19 CEF:0|Security|threatmanager|1.0|100|n|99|dvchost=fw1",
            "2026-02-09T12:17:19.000000000Z info | facility=16 severity_code=6 service=\"threatmanager\" host=\"fw1\" HEAD name=\"n\" cef_severity=\"99\" dvchost=\"fw1\" | n",
        );
    }

    #[test]
    fn escapes() {
        check(
            r"CEF:0|Security|threatmanager|1.0|100|detected a \| in \\ message \x|5|act=blocked a \= b \| c \\ d\ne\q request=http://a/?x\=1&y=2&z\=3 filePath=C:\\t",
            "- warn | service=\"threatmanager\" HEAD name=\"detected a | in \\\\ message \\\\x\" cef_severity=\"5\" act=\"blocked a = b | c \\\\ d\\ne\\\\q\" request=\"http://a/?x=1&y=2&z=3\" filePath=\"C:\\\\t\" | detected a | in \\ message \\x",
        );
    }

    #[test]
    fn times_labels_and_reserved_names() {
        check(
            "<134>Feb  9 12:17:19 h CEF:0|Security|threatmanager|1.0|100|n|5|rt=1770639439123 start=Feb 09 2026 12:00:00 cs1Label=Rule Name cs1=Block all cn2Label=risk cn2=7 cs2Label=dst cs2=x dst=1.1.1.1 cs3Label=unset host=evil level=fatal",
            "2026-02-09T12:17:19.123000000Z warn | facility=16 severity_code=6 host=\"h\" service=\"threatmanager\" HEAD name=\"n\" cef_severity=\"5\" rt=\"1770639439123\" start=\"Feb 09 2026 12:00:00\" Rule_Name=\"Block all\" risk=7 cs2Label=\"dst\" cs2=\"x\" dst=\"1.1.1.1\" cs3Label=\"unset\" cef.host=\"evil\" cef.level=\"fatal\" | n",
        );
    }

    #[test]
    fn what_is_no_cef_is_kept_whole() {
        check("CEF:", "- - | | (whole) ! not CEF: the header lacks fields");
        check("CEF:0|a|b|c|d", "- - | | (whole) ! not CEF: the header lacks fields");
        let many = format!("CEF:0|a|b|c|d|e|1|{}", "k=v ".repeat(2_000));
        assert!(show(Format::Syslog, &many).ends_with(super::super::event::TOO_MANY));
    }
}
