//! QRadar's Log Event Extended Format: `LEEF:1.0|vendor|product|version|event|key=value<TAB>key=value`, and 2.0, which may name
//! another delimiter: `LEEF:2.0|vendor|product|version|event|^|key=value^key=value`.
//!
//! Fields: `leef_version`, `device_vendor`, `device_product`, `device_version`, `event_class_id`, and every key by its own name,
//! except: `src` is `source_ip`, `usrName` is `user_id`, `cat` is `category`, `identHostName` is `host` when the syslog header
//! names none. The time is `devTime`, the level that of `sev`, and the message the event as a whole, which has no text of its
//! own for people.

use std::borrow::Cow;

use super::Value;
use super::event::{Event, has_room, is_name, level_of, number_or_text, split_header};
use super::zone::When;

const SHORT_HEADER: &str = "not LEEF: the header lacks fields";

/// Keys whose values are numbers.
const NUMBERS: [&str; 11] = [
    "srcPort",
    "dstPort",
    "srcPreNATPort",
    "dstPreNATPort",
    "srcPostNATPort",
    "dstPostNATPort",
    "srcBytes",
    "dstBytes",
    "srcPackets",
    "dstPackets",
    "totalPackets",
];

pub(super) fn read<'a>(text: &'a str, when: When<'_>) -> Result<Event<'a>, &'static str> {
    let text = text.strip_prefix("LEEF:").ok_or(SHORT_HEADER)?.trim_start_matches(' ');
    let (head, rest) = split_header::<5>(text).ok_or(SHORT_HEADER)?;
    let [version, vendor, product, product_version, class] = head;
    let named = rest.split_once('|').filter(|_| version.starts_with('2'));
    let named = named.and_then(|(named, attributes)| Some((delimiter(named)?, attributes)));
    let (delimiter, attributes) = named.unwrap_or_else(|| (usual_delimiter(rest), rest));
    let mut event = Event { format: "leef", product: product.clone(), ..Event::default() };
    for (field, value) in [
        ("leef_version", version),
        ("device_vendor", vendor),
        ("device_product", product),
        ("device_version", product_version),
        ("event_class_id", class),
    ] {
        event.mean(field, &value);
    }
    take_members(&mut event, attributes, delimiter, when)?;
    Ok(event)
}

/// The tab, but for senders such as PAN-OS that use the pipe all along.
fn usual_delimiter(attributes: &str) -> char {
    let has_member = |piece: &str| piece.split_once('=').is_some_and(|(key, _)| is_name(key.trim_ascii()));
    let has_pipes = !attributes.contains('\t') && attributes.split('|').skip(1).any(has_member);
    if has_pipes { '|' } else { '\t' }
}

/// The delimiter a header names: one character, or its code as `x5E` or `0x5E`; none named: the tab.
fn delimiter(named: &str) -> Option<char> {
    let mut chars = named.chars();
    match (chars.next(), chars.next()) {
        (None, _) => return Some('\t'),
        (Some(only), None) => return Some(only),
        _ => {}
    }
    let code =
        named.strip_prefix("0x").or_else(|| named.strip_prefix("0X")).or_else(|| named.strip_prefix('x'))?;
    u32::from_str_radix(code, 16).ok().and_then(char::from_u32).filter(|_| code.len() <= 4)
}

fn take_members<'a>(
    event: &mut Event<'a>,
    text: &'a str,
    delimiter: char,
    when: When<'_>,
) -> Result<(), &'static str> {
    let mut open: Option<(&str, usize, usize)> = None;
    let mut start = 0;
    for piece in text.split(delimiter) {
        let end = start + piece.len();
        match piece.split_once('=').filter(|(key, _)| is_name(key.trim_ascii())) {
            Some((key, _)) => {
                has_room(event.members.len() + event.meant.len())?;
                if let Some((key, from, to)) = open.replace((key.trim_ascii(), start + key.len() + 1, end)) {
                    take(event, key, &text[from..to], when);
                }
            }
            // The delimiter within a value: the piece goes on with it.
            None => open = open.map(|(key, from, _)| (key, from, end)),
        }
        start = end + delimiter.len_utf8();
    }
    if let Some((key, from, to)) = open {
        take(event, key, &text[from..to], when);
    }
    Ok(())
}

fn take<'a>(event: &mut Event<'a>, key: &'a str, text: &'a str, when: When<'_>) {
    let value = Cow::Borrowed(text.trim_ascii_end());
    let is_field = match key {
        "src" => event.mean("source_ip", &value),
        "usrName" => event.mean("user_id", &value),
        "cat" => event.mean("category", &value),
        "sev" => {
            event.level = level_of(&value);
            false
        }
        "devTime" => {
            event.timestamp = when.whole(&value);
            false
        }
        "identHostName" => {
            event.host = Some(value.clone());
            false
        }
        _ => false,
    };
    if !is_field {
        let value = if NUMBERS.contains(&key) { number_or_text(value) } else { Value::Text(value) };
        event.keep(Cow::Borrowed(key), value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::show;

    #[track_caller]
    fn check(line: &str, shown: &str) {
        assert_eq!(show(Format::Syslog, line), shown, "{line}");
    }

    #[test]
    fn version_1_has_tabs() {
        check(
            "<13>Feb  9 12:17:19 ex LEEF:1.0|Microsoft|MSExchange|4.0 SP1|15345|src=192.0.2.9\tdstPort=80\tsev=5\tcat=anomaly\tusrName=joe black\turl=http://a/?b=c\td\n",
            "2026-02-09T12:17:19.000000000Z warn | facility=1 severity_code=5 host=\"ex\" service=\"MSExchange\" leef_version=\"1.0\" device_vendor=\"Microsoft\" device_product=\"MSExchange\" device_version=\"4.0 SP1\" event_class_id=\"15345\" source_ip=\"192.0.2.9\" category=\"anomaly\" user_id=\"joe black\" dstPort=80 sev=\"5\" url=\"http://a/?b=c\\td\" | LEEF:1.0|Microsoft|MSExchange|4.0 SP1|15345|src=192.0.2.9\tdstPort=80\tsev=5\tcat=anomaly\tusrName=joe black\turl=http://a/?b=c\td",
        );
    }

    #[test]
    fn version_2_names_its_delimiter() {
        let fields = "service=\"P\" leef_version=\"2.0\" device_vendor=\"V\" device_product=\"P\" device_version=\"1\" event_class_id=\"41\" a=\"1\" leef.name=\"x y\"";
        for delimiter in
            ["^|a=1^name=x y", "x5E|a=1^name=x y", "0x5e|a=1^name=x y", "|a=1\tname=x y", "é|a=1éname=x y"]
        {
            let line = format!("LEEF:2.0|V|P|1|41|{delimiter}");
            check(&line, &format!("- - | {fields} | (whole)"));
        }
        let pan_os =
            show(Format::Syslog, "LEEF:1.0|V|P|1|e(2)|a=1 x|cat=THREAT|devTime=Feb 09 2026 12:17:19 GMT|b=");
        assert!(pan_os.starts_with("2026-02-09T12:17:19.000000000Z - |"), "{pan_os}");
        assert!(pan_os.contains("category=\"THREAT\" a=\"1 x\" devTime"), "{pan_os}");
        let without = show(Format::Syslog, "LEEF:2.0|V|P|1|41|a=1|2\tb=3");
        assert!(without.contains("a=\"1|2\" b=\"3\""), "{without}");
    }

    #[test]
    fn the_devices_time() {
        let shown = show(
            Format::Syslog,
            "<13>Feb  9 12:17:19 h LEEF:1.0|V|P|1|e|devTime=1770639439123\tdevTimeFormat=x",
        );
        assert!(shown.starts_with("2026-02-09T12:17:19.123000000Z"), "{shown}");
    }

    #[test]
    fn what_is_no_leef_is_kept_whole() {
        check("LEEF:1.0|a|b", "- - | | (whole) ! not LEEF: the header lacks fields");
        check("LEEF:", "- - | | (whole) ! not LEEF: the header lacks fields");
    }
}
