//! The messages of every service, read from `messages.txt`.
//!
//! Invariant: every service has at least one template for every [`Tag`].

use crate::company::Service;
use crate::event::Level;
use crate::template::Template;

const MESSAGES: &str = include_str!("messages.txt");

/// When a message is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// A request finished.
    Done,
    /// A request finished badly.
    Fail,
    Debug,
    Info,
    Warn,
    Error,
    /// Outside any request.
    Idle,
    /// Only while an incident goes on.
    Crisis,
}

impl Tag {
    pub(crate) const ALL: [Tag; 8] =
        [Tag::Done, Tag::Fail, Tag::Debug, Tag::Info, Tag::Warn, Tag::Error, Tag::Idle, Tag::Crisis];

    fn name(self) -> &'static str {
        match self {
            Tag::Done => "done",
            Tag::Fail => "fail",
            Tag::Debug => "debug",
            Tag::Info => "info",
            Tag::Warn => "warn",
            Tag::Error => "error",
            Tag::Idle => "idle",
            Tag::Crisis => "crisis",
        }
    }

    pub(crate) fn level(self) -> Level {
        match self {
            Tag::Done | Tag::Info | Tag::Idle => Level::Info,
            Tag::Debug => Level::Debug,
            Tag::Warn => Level::Warn,
            Tag::Fail | Tag::Error | Tag::Crisis => Level::Error,
        }
    }
}

/// A line of the catalogue that a service may say.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) tag: Tag,
    /// The template as text, its line ends real.
    pub(crate) text: String,
}

/// The lines that `service` may say: its own first, then those of its stack, then those of its operating system.
pub(crate) fn lines(service: Service) -> Vec<Line> {
    let stack = format!("stack {}", service.profile().stack.name());
    [service.name(), &stack, "stack linux"].into_iter().flat_map(section).collect()
}

fn section(name: &str) -> Vec<Line> {
    let heading = format!("[{name}]");
    MESSAGES
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty())
        .map(|line| parse_line(line).expect("the built-in messages parse; a test reads them all"))
        .collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let (tag, text) = line.split_once(' ')?;
    let tag = Tag::ALL.into_iter().find(|known| known.name() == tag)?;
    Some(Line { tag, text: text.replace("\\n", "\n").replace("\\t", "\t") })
}

/// Parsed templates by service and tag.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    // INVARIANT: one entry per service and tag, in their order; none is empty.
    templates: Vec<Vec<Template>>,
}

impl Catalogue {
    pub(crate) fn new() -> Catalogue {
        let mut templates = Vec::with_capacity(Service::ALL.len() * Tag::ALL.len());
        for service in Service::ALL {
            let lines = lines(service);
            for tag in Tag::ALL {
                let of_tag = lines.iter().filter(|line| line.tag == tag);
                templates.push(of_tag.map(|line| parse(&line.text)).collect());
            }
        }
        Catalogue { templates }
    }

    /// The templates of a service for an occasion; never none.
    pub(crate) fn of(&self, service: Service, tag: Tag) -> &[Template] {
        &self.templates[service as usize * Tag::ALL.len() + tag as usize]
    }
}

/// Parses a template of the program itself.
pub(crate) fn parse(text: &str) -> Template {
    Template::parse(text).expect("the built-in templates parse; a test reads them all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_every_service_can_speak() {
        let written = MESSAGES.lines().filter(|l| !l.is_empty() && !l.starts_with(['#', '['])).count();
        let headings = MESSAGES.lines().filter_map(|l| l.strip_prefix('[')?.strip_suffix(']'));
        assert_eq!(headings.map(|name| section(name).len()).sum::<usize>(), written);
        let catalogue = Catalogue::new();
        for service in Service::ALL {
            assert!(lines(service).len() >= 30, "{service} has several dozen templates");
            for tag in Tag::ALL {
                assert!(!catalogue.of(service, tag).is_empty(), "{service} {tag:?}");
            }
        }
    }
}
