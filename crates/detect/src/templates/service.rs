//! What is known of one service: its templates with their rates, its mix of levels, its users, and the news that wait to
//! be told together.
//!
//! Time goes through three gates. A record counts in the open block of its event time. When a later block begins
//! anywhere in the tenant, a block *ends*: what is too much is told then, for late records can only add to it. When the
//! lateness is over a block *closes*: what is missing is told then, and the block is learnt.
//!
//! Invariants:
//! - a closed block never changes: a record for it is late and counts nowhere, but its template becomes known;
//! - a template that was ever known is known for ever, even when its rate was forgotten to make room;
//! - nothing is learnt from blocks that were unusual or fell into the quiet after a deployment, unless they last
//!   (`relearn_after`) or, below error, come back at the same hour.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Level, Position, RecordId, Severity, Timestamp};
use serde::{Deserialize, Serialize};

use super::mix::{LEVELS, Mix, Shifted};
use super::rate::{Bounds, Deviation, HOURS, Rate};
use super::users::Users;
use super::values::{Unusual, Values};
use super::{BLOCK_NS, OPEN_BLOCKS, text};
use crate::arrival::Reported;
use crate::config::{Period, TemplatesConfig};
use crate::snapshot;

/// Records remembered as evidence for each template, and for news that wait.
const EVIDENCE_KEPT: usize = 4;
const NEWS_EVIDENCE_MAX: usize = 10;
/// Characters of a message kept as example of its template.
const EXAMPLE_CHARS_MAX: usize = 160;
/// Examples told in one report.
pub(super) const EXAMPLES_MAX: usize = 3;
/// Template ids remembered as known (128 KB a service if all are used); later ones share the places of earlier ones.
const KNOWN_MAX: usize = 1 << 20;
/// Templates every service may follow even when there are too many in all.
const FAIR_SHARE: usize = 16;
/// One of so many templates is forgotten when there is no room.
const FORGET_PART: usize = 8;
/// Reports of quiet news that may be told at once after a time without any.
const QUIET_REPORTS_MAX: i64 = 2;
/// New templates of an hour, over those of a usual hour, that are told: a service that always says something new is
/// told about when it says much more of it.
const LOUD_MULTIPLE: f64 = 3.0;
/// Hours the usual number of new templates remembers.
const LOUD_MEMORY: f64 = 24.0;
/// Records expected and missing from which the baseline is kept as it is until they have come or are missed: chance
/// alone does that one time in twenty.
const MISSING_HELD: f64 = 3.0;
/// Blocks for which it is kept so at most: a day.
const HELD_MAX: u32 = 288;
const NS_PER_HOUR: i64 = 3600 * NS_PER_SECOND;
const NS_PER_DAY: i64 = 24 * NS_PER_HOUR;

/// Time and position of a record.
pub(super) type At = (i64, u64);

/// A record as the service sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard<'a> {
    pub(super) time: i64,
    pub(super) position: Position,
    /// Code of the level; 0 without.
    pub(super) level: u8,
    /// Cluster of its template; 0 without.
    pub(super) cluster: u32,
    /// Whether the miner learnt something of the template.
    pub(super) grown: bool,
    pub(super) message: &'a str,
    /// Last closed block.
    pub(super) closed: i64,
}

/// What is known of one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Service {
    /// Event time of the first record; records so far.
    born: Option<i64>,
    records: u64,
    /// End of the quiet after a deployment, and when that was.
    quiet_until: i64,
    deployed: Option<i64>,
    pub(super) templates: Vec<Template>,
    /// Index into `templates` by cluster.
    #[serde(skip)]
    index: HashMap<u32, u32, FixedState>,
    /// Bit per cluster ever heard.
    known: Vec<u64>,
    open: [[u32; LEVELS]; OPEN_BLOCKS],
    /// Newest record of every level.
    newest: [At; LEVELS],
    mix: Mix,
    pub(super) users: Users,
    news: News,
    reported: [Reported; Topic::COUNT],
}

/// What a service may have much to report of at a time; of the rest a template or block has only one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    New,
    Burst,
    Value,
}

impl Topic {
    const COUNT: usize = 3;

    /// Time between two reports of one service.
    const fn every(self) -> Period {
        match self {
            Topic::New | Topic::Burst => Period::minutes(1),
            Topic::Value => Period::minutes(5),
        }
    }
}

/// One template of a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Template {
    pub(super) cluster: u32,
    /// Worst level seen.
    pub(super) level: u8,
    /// Event time of the first record and of the newest one.
    born: i64,
    last: i64,
    open: [u32; OPEN_BLOCKS],
    rate: Rate,
    /// Count of a block beyond which there is something to judge at once.
    alarm: u32,
    /// Heard for the first time when that was news, and not yet for an hour.
    is_new: bool,
    /// Told to have stopped, or stopped with a deployment: nothing is expected until it is heard again.
    is_gone: bool,
    /// Unusual blocks in a row: ended ones that were too full, closed ones of either kind.
    full_run: u32,
    low_run: u32,
    /// Hours of the day (a bit each) in which a fuller rate was told, and whether the present one was before.
    told_hours: u32,
    recurs: bool,
    held: u32,
    /// Count of the first of the blocks held back, when it was too full.
    spike: u32,
    /// Records expected since the last one, and the blocks since then.
    #[serde(with = "snapshot::bits")]
    missing: f64,
    missing_blocks: u32,
    /// Blocks without a record that were held back, the newest ones.
    absent: u32,
    recent: [At; EVIDENCE_KEPT],
    // INVARIANT: below `EVIDENCE_KEPT`.
    recent_next: usize,
    pub(super) example: Box<str>,
    values: Option<Box<Values>>,
    reported: Reported,
}

/// New templates that wait to be told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct News {
    loud: Fresh,
    quiet: Fresh,
    /// Whether the record at hand brought loud ones.
    #[serde(skip)]
    is_urgent: bool,
    /// When the quiet reports made so far are earned.
    earned_at: i64,
    /// Loud news of the present hour, and of a usual one in thousandths.
    hour: i64,
    in_hour: u32,
    usual: u32,
}

/// New templates of one kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Fresh {
    pub(super) count: u32,
    pub(super) worst: u8,
    /// Records in the block, for one that is new and frequent.
    pub(super) flood: u32,
    pub(super) examples: Vec<Box<str>>,
    pub(super) evidence: Vec<At>,
}

impl Fresh {
    fn add(&mut self, example: &str, level: u8, at: At) {
        self.count += 1;
        self.worst = self.worst.max(level);
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example.into());
        }
        if self.evidence.len() < NEWS_EVIDENCE_MAX {
            self.evidence.push(at);
        }
    }
}

/// What a service has to say.
#[derive(Debug, Clone)]
pub(super) enum Finding {
    /// Templates never heard before.
    New { fresh: Fresh, known: usize, is_loud: bool, usual_per_hour: f64 },
    /// Templates that stopped; `all` when the service has stopped altogether.
    Vanished { stopped: Vec<Changed>, all: bool },
    /// Templates with another rate.
    Shift { changed: Vec<Changed> },
    /// One error, far more often than usual.
    Burst(Changed),
    /// A value that was not there, or that took over.
    Value { unusual: Unusual, example: Box<str>, cluster: u32, level: u8, at: At },
    /// Another mix of levels, and the newest records of the levels that there are more of.
    Mix(Shifted, Vec<At>),
}

/// A template and how its rate differs.
#[derive(Debug, Clone)]
pub(super) struct Changed {
    pub(super) cluster: u32,
    pub(super) level: u8,
    pub(super) example: Box<str>,
    pub(super) deviation: Deviation,
    pub(super) evidence: Vec<At>,
    /// Event time of its newest record.
    pub(super) last: i64,
}

/// Record ids of remembered records.
pub(super) fn record_ids(evidence: &[At]) -> Vec<RecordId> {
    evidence.iter().map(|(time, at)| RecordId::new(Timestamp(*time), Position(*at))).collect()
}

/// Place of a block among the open ones.
fn place(block: i64) -> usize {
    usize::try_from(block.rem_euclid(OPEN_BLOCKS as i64)).unwrap_or(0)
}

/// Hour of the day (UTC) of a block.
fn hour_of(block: i64) -> usize {
    let hours = block.saturating_mul(BLOCK_NS).div_euclid(NS_PER_HOUR);
    usize::try_from(hours.rem_euclid(HOURS as i64)).unwrap_or(0)
}

impl Service {
    /// Puts the index in place after the state was read.
    pub(super) fn reindex(&mut self) {
        self.index.clear();
        for (at, template) in (0..).zip(&self.templates) {
            self.index.insert(template.cluster, at);
        }
    }

    fn heard_for(&self, time: i64, period: Period, config: &TemplatesConfig) -> bool {
        self.records >= config.records_min
            && self.born.is_some_and(|born| time.saturating_sub(born) >= period.ns())
    }

    pub(super) fn is_warm(&self, time: i64, config: &TemplatesConfig) -> bool {
        self.heard_for(time, config.warm_up, config)
    }

    fn is_settled(&self, time: i64, config: &TemplatesConfig) -> bool {
        self.heard_for(time, config.settle, config)
    }

    fn is_quiet(&self, time: i64) -> bool {
        time < self.quiet_until
    }

    /// Notes a deployment.
    pub(super) fn deploy(&mut self, time: i64, config: &TemplatesConfig) {
        self.quiet_until = self.quiet_until.max(time.saturating_add(config.quiet_after_deploy.ns()));
        self.deployed = Some(self.deployed.map_or(time, |earlier| earlier.max(time)));
    }

    /// Whether a report about a topic is due; if so, it counts as made.
    fn is_due(&mut self, topic: Topic, time: i64, severity: Severity) -> bool {
        self.reported[topic as usize].due(time, severity, topic.every())
    }

    /// Takes in a record. `room` says whether further templates may be followed beside those of a fair share.
    pub(super) fn hear(
        &mut self,
        heard: &Heard<'_>,
        room: bool,
        config: &TemplatesConfig,
        out: &mut Vec<Finding>,
    ) -> Counted {
        let block = heard.time.div_euclid(BLOCK_NS);
        let mut counted = Counted { late: block <= heard.closed, forgotten: 0 };
        self.born.get_or_insert(heard.time);
        self.records += 1;
        if !counted.late {
            let level = usize::from(heard.level).min(LEVELS - 1);
            let count = &mut self.open[place(block)][level];
            *count = count.saturating_add(1);
            self.newest[level] = (heard.time, heard.position.0);
        }
        if heard.cluster == 0 {
            return counted;
        }
        let at = match self.index.get(&heard.cluster) {
            Some(at) => *at as usize,
            None => self.admit(heard, room, config, &mut counted.forgotten),
        };
        if !counted.late {
            self.templates[at].count(heard, block);
            if self.templates[at].open[place(block)] > self.templates[at].alarm {
                self.alarmed(at, heard, block, config, out);
            }
            self.look(at, heard, block, config, out);
        }
        if self.news.is_urgent {
            self.tell_loud(heard.time, out);
        }
        counted
    }

    /// Follows a template that is not followed; tells when it was never heard before.
    #[cold]
    fn admit(
        &mut self,
        heard: &Heard<'_>,
        room: bool,
        config: &TemplatesConfig,
        forgotten: &mut usize,
    ) -> usize {
        let is_first = self.know(heard.cluster);
        let is_news = is_first && self.is_settled(heard.time, config) && !self.is_quiet(heard.time);
        if self.templates.len() >= config.templates_max || (!room && self.templates.len() >= FAIR_SHARE) {
            *forgotten = self.forget_oldest();
        }
        let template = Template::new(heard, is_news, config);
        if is_news {
            self.news.note(&template.example, heard);
        }
        let at = self.templates.len();
        self.index.insert(heard.cluster, u32::try_from(at).unwrap_or(u32::MAX));
        self.templates.push(template);
        at
    }

    /// Remembers a cluster as heard; whether it was not.
    fn know(&mut self, cluster: u32) -> bool {
        let bit = cluster as usize % KNOWN_MAX;
        if self.known.len() <= bit / 64 {
            self.known.resize(bit / 64 + 1, 0);
        }
        let word = &mut self.known[bit / 64];
        let is_first = *word >> (bit % 64) & 1 == 0;
        *word |= 1 << (bit % 64);
        is_first
    }

    /// Forgets the rates of the templates that were not heard for longest; returns how many.
    fn forget_oldest(&mut self) -> usize {
        let count = (self.templates.len() / FORGET_PART).max(1);
        let mut ages: Vec<(i64, u32)> = self.templates.iter().map(|t| (t.last, t.cluster)).collect();
        ages.sort_unstable();
        ages.truncate(count);
        ages.sort_unstable_by_key(|(_, cluster)| *cluster);
        self.templates.retain(|t| ages.binary_search_by_key(&t.cluster, |(_, cluster)| *cluster).is_err());
        self.reindex();
        count
    }

    /// Makes one template of two that turned out to be the same.
    pub(super) fn join(&mut self, from: u32, into: u32) {
        let bit = from as usize % KNOWN_MAX;
        if self.known.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1) {
            self.know(into);
        }
        let Some(at) = self.index.remove(&from) else { return };
        let mut gone = self.templates.swap_remove(at as usize);
        if let Some(moved) = self.templates.get(at as usize) {
            self.index.insert(moved.cluster, at);
        }
        if let Some(at) = self.index.get(&into) {
            self.templates[*at as usize].join(&gone);
        } else {
            gone.cluster = into;
            self.index.insert(into, u32::try_from(self.templates.len()).unwrap_or(u32::MAX));
            self.templates.push(gone);
        }
    }

    /// A block of a template is fuller than its alarm: a burst of one error, or a new template that floods.
    #[cold]
    fn alarmed(
        &mut self,
        at: usize,
        heard: &Heard<'_>,
        block: i64,
        config: &TemplatesConfig,
        out: &mut Vec<Finding>,
    ) {
        let total: u32 = self.open[place(block)].iter().sum();
        let is_warm = self.is_warm(heard.time, config);
        let template = &mut self.templates[at];
        let count = template.open[place(block)];
        if template.level >= Level::Error.code() {
            let deviation = template.burst(count, hour_of(block), config).filter(|_| is_warm);
            // Judged again when there are more of them by half.
            template.alarm = count.saturating_add(count / 2);
            let Some(deviation) = deviation else { return };
            let severity = burst_severity(template.level, &deviation);
            if template.reported.due(heard.time, severity, config.limits.repeat_every) {
                let changed = template.changed(deviation);
                if self.is_due(Topic::Burst, heard.time, severity) {
                    out.push(Finding::Burst(changed));
                }
            }
        } else if template.is_new && f64::from(count) >= config.new_share_min * f64::from(total) {
            (template.is_new, template.alarm) = (false, u32::MAX);
            let example = template.example.clone();
            self.news.loud.flood = self.news.loud.flood.max(count);
            self.news.note_loud(&example, heard);
        } else {
            template.alarm = count.saturating_mul(2);
        }
    }

    /// Looks at the values of a message, of some messages of many.
    fn look(
        &mut self,
        at: usize,
        heard: &Heard<'_>,
        block: i64,
        config: &TemplatesConfig,
        out: &mut Vec<Finding>,
    ) {
        let template = &mut self.templates[at];
        if !Values::is_due(template.open[place(block)], heard.grown, heard.position.0) {
            return;
        }
        let values = template.values.get_or_insert_default();
        let Some(unusual) = values.look(heard.message, heard.time, heard.time < self.quiet_until, config)
        else {
            return;
        };
        let (example, cluster) = (template.example.clone(), template.cluster);
        let at = (heard.time, heard.position.0);
        if self.is_settled(heard.time, config) && self.is_due(Topic::Value, heard.time, Severity::Warning) {
            out.push(Finding::Value { unusual, example, cluster, level: heard.level, at });
        }
    }

    /// Tells the news that are due at `time`, which begins a new minute.
    pub(super) fn tell_news(&mut self, time: i64, config: &TemplatesConfig, out: &mut Vec<Finding>) {
        if self.news.is_empty() {
            return;
        }
        self.tell_loud(time, out);
        let is_settled = self.is_settled(time, config);
        if let Some(fresh) = self.news.take_quiet(time, is_settled, config) {
            let usual = config.quiet_reports_per_day / 24.0;
            out.push(Finding::New {
                fresh,
                known: self.templates.len(),
                is_loud: false,
                usual_per_hour: usual,
            });
        }
    }

    /// Tells loud news, at once but once a minute.
    #[cold]
    fn tell_loud(&mut self, time: i64, out: &mut Vec<Finding>) {
        self.news.is_urgent = false;
        if self.news.is_loud_news() && self.is_due(Topic::New, time, Severity::Warning) {
            let (fresh, usual) = self.news.take_loud();
            out.push(Finding::New {
                fresh,
                known: self.templates.len(),
                is_loud: true,
                usual_per_hour: usual,
            });
        }
    }

    /// A block is over, but for late records: what is too much is told.
    pub(super) fn end_block(&mut self, block: i64, config: &TemplatesConfig, out: &mut Vec<Finding>) {
        let start = block.saturating_mul(BLOCK_NS);
        let quiet = self.is_quiet(start) || !self.is_settled(start, config);
        let mut changed = Vec::new();
        let bounds = shift_bounds(config);
        for template in &mut self.templates {
            template.arm(hour_of(block + 1), start, config);
            if template.level >= Level::Error.code() {
                continue;
            }
            let count = template.open[place(block)];
            let found = template.rate.above(count, hour_of(block), &bounds);
            let Some(deviation) = found.filter(|_| !quiet && template.is_settled(start, config)) else {
                (template.full_run, template.recurs) = (0, false);
                continue;
            };
            template.full_run += 1;
            if template.full_run == config.shift_blocks {
                template.tell_hour(hour_of(block));
                changed.push(template.changed(deviation));
            }
        }
        if !changed.is_empty() {
            out.push(Finding::Shift { changed });
        }
        let mixed = self.mix.end_block(&self.open[place(block)], quiet, config);
        out.extend(mixed.map(|shifted| Finding::Mix(shifted, self.newest_of_more(&shifted))));
    }

    /// Newest records of the levels that have a larger share than usual.
    fn newest_of_more(&self, shifted: &Shifted) -> Vec<At> {
        let more = (0..LEVELS).filter(|level| shifted.now[*level] > shifted.usual[*level]);
        more.map(|level| self.newest[level]).collect()
    }

    /// No more records of a block are awaited: what is missing is told, the block is learnt and its place is free.
    pub(super) fn close_block(&mut self, block: i64, config: &TemplatesConfig, out: &mut Vec<Finding>) {
        let start = block.saturating_mul(BLOCK_NS);
        let total: u32 = self.open[place(block)].iter().sum();
        self.open[place(block)] = [0; LEVELS];
        if self.is_quiet(start) {
            self.templates.iter_mut().for_each(|template| template.skip(block));
            return;
        }
        if let Some(deployed) = self.deployed.take_if(|deployed| *deployed <= start) {
            self.mix.restart();
            self.templates.iter_mut().for_each(|template| template.relearn(deployed));
        }
        let quiet = !self.is_settled(start, config);
        let (mut stopped, mut fallen) = (Vec::new(), Vec::new());
        for template in &mut self.templates {
            let verdict = template.close(block, quiet, config);
            match verdict {
                Some(Low::Stopped(deviation)) => stopped.push(template.changed(deviation)),
                Some(Low::Fallen(deviation)) => fallen.push(template.changed(deviation)),
                None => {}
            }
        }
        if !stopped.is_empty() {
            out.push(Finding::Vanished { stopped, all: total == 0 });
        }
        if !fallen.is_empty() {
            out.push(Finding::Shift { changed: fallen });
        }
    }

    /// The tenant was not heard for longer than blocks are kept open: nothing is said about that time.
    pub(super) fn skip_gap(&mut self) {
        self.open = [[0; LEVELS]; OPEN_BLOCKS];
        for template in &mut self.templates {
            template.open = [0; OPEN_BLOCKS];
            template.forget_runs();
        }
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) late: bool,
    /// Templates forgotten to make room.
    pub(super) forgotten: usize,
}

/// A rate that is too low.
enum Low {
    Stopped(Deviation),
    Fallen(Deviation),
}

fn shift_bounds(config: &TemplatesConfig) -> Bounds {
    Bounds {
        ratio: config.shift_ratio,
        records_min: f64::from(config.shift_records_min),
        chance: config.tail_probability,
    }
}

fn burst_bounds(config: &TemplatesConfig) -> Bounds {
    Bounds {
        ratio: config.burst_ratio,
        records_min: f64::from(config.burst_records_min),
        chance: config.tail_probability,
    }
}

/// Times the baseline that a burst of errors is CRITICAL.
const CRITICAL_RATIO: f64 = 20.0;

/// How bad a burst of errors is.
pub(super) fn burst_severity(level: u8, deviation: &Deviation) -> Severity {
    let is_far = f64::from(deviation.count) >= CRITICAL_RATIO * deviation.mean.max(1.0);
    if level >= Level::Fatal.code() || (is_far && deviation.count >= 100) {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

impl Template {
    fn new(heard: &Heard<'_>, is_news: bool, config: &TemplatesConfig) -> Template {
        let is_error = heard.level >= Level::Error.code();
        let alarm = match (is_error, is_news) {
            (true, _) => config.burst_records_min,
            (false, true) => config.new_records_min,
            (false, false) => u32::MAX,
        };
        Template {
            cluster: heard.cluster,
            level: heard.level,
            born: heard.time,
            last: heard.time,
            open: [0; OPEN_BLOCKS],
            rate: Rate::default(),
            alarm,
            is_new: is_news,
            is_gone: false,
            full_run: 0,
            low_run: 0,
            told_hours: 0,
            recurs: false,
            held: 0,
            spike: 0,
            missing: 0.0,
            missing_blocks: 0,
            absent: 0,
            recent: [(i64::MIN, 0); EVIDENCE_KEPT],
            recent_next: 0,
            example: text::excerpt(heard.message, EXAMPLE_CHARS_MAX).into(),
            values: None,
            reported: Reported::default(),
        }
    }

    #[inline]
    fn count(&mut self, heard: &Heard<'_>, block: i64) {
        let count = &mut self.open[place(block)];
        *count = count.saturating_add(1);
        self.last = self.last.max(heard.time);
        self.recent[self.recent_next] = (heard.time, heard.position.0);
        self.recent_next = (self.recent_next + 1) % EVIDENCE_KEPT;
        if heard.level > self.level {
            self.worsen(heard.level);
        }
        if self.is_gone {
            self.return_();
        }
    }

    #[cold]
    fn worsen(&mut self, level: u8) {
        self.level = level;
        if level >= Level::Error.code() {
            // Judged with the next record, and armed properly when the block ends.
            self.alarm = 0;
        }
    }

    /// It is heard again after it was gone: its rate is learnt anew.
    #[cold]
    fn return_(&mut self) {
        self.is_gone = false;
        self.rate.restart();
        self.forget_runs();
    }

    /// Notes that a fuller rate is told in this hour; told near this hour before, it is a job that comes every day, and
    /// need not be told a third time.
    fn tell_hour(&mut self, hour: usize) {
        let bit = |hour: usize| 1_u32 << (hour % HOURS);
        let near = bit(hour + HOURS - 1) | bit(hour) | bit(hour + 1);
        self.recurs = self.told_hours & near != 0;
        self.told_hours |= bit(hour);
    }

    fn forget_runs(&mut self) {
        (self.full_run, self.low_run, self.held, self.spike, self.recurs) = (0, 0, 0, 0, false);
        self.heard_again();
    }

    fn heard_again(&mut self) {
        (self.missing, self.missing_blocks, self.absent) = (0.0, 0, 0);
    }

    /// Learns the empty blocks before this one that were held back: the template was not gone, it is like this.
    fn learn_absent(&mut self, block: i64) {
        for back in (1..=i64::from(std::mem::take(&mut self.absent))).rev() {
            self.rate.learn(0, hour_of(block - back));
        }
    }

    fn is_settled(&self, time: i64, config: &TemplatesConfig) -> bool {
        time.saturating_sub(self.born) >= config.settle.ns()
    }

    /// Sets the alarm for the blocks of an hour.
    fn arm(&mut self, hour: usize, now: i64, config: &TemplatesConfig) {
        self.is_new &= now.saturating_sub(self.born) < NS_PER_HOUR;
        if self.level >= Level::Error.code() {
            self.alarm = self.burst_bound(hour, config);
        } else if !self.is_new {
            self.alarm = u32::MAX;
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    fn burst_bound(&self, hour: usize, config: &TemplatesConfig) -> u32 {
        if self.rate.is_known() {
            self.rate.upper(hour, &burst_bounds(config)) as u32
        } else {
            config.burst_records_min
        }
    }

    /// Whether so many errors in one block are a burst. Of a template too young for a baseline, hardly any are expected.
    fn burst(&self, count: u32, hour: usize, config: &TemplatesConfig) -> Option<Deviation> {
        let bounds = burst_bounds(config);
        if self.rate.is_known() {
            return self.rate.above(count, hour, &bounds);
        }
        let (mean, dispersion) = (self.rate.band(hour).1.max(1.0), self.rate.dispersion());
        let bound = bounds.records_min.max(bounds.ratio * mean);
        let chance = super::tail::at_least(count, mean, dispersion);
        let stddev = (mean + dispersion * mean * mean).sqrt();
        (f64::from(count) > bound && chance <= bounds.chance).then_some(Deviation {
            mean,
            stddev,
            blocks: 0,
            bound,
            count,
            chance,
        })
    }

    /// A block in the quiet after a deployment closes.
    fn skip(&mut self, block: i64) {
        self.open[place(block)] = 0;
        self.forget_runs();
    }

    /// The quiet after a deployment is over.
    fn relearn(&mut self, deployed: i64) {
        self.rate.restart();
        self.forget_runs();
        self.is_gone |= self.last < deployed;
    }

    fn close(&mut self, block: i64, quiet: bool, config: &TemplatesConfig) -> Option<Low> {
        let count = std::mem::take(&mut self.open[place(block)]);
        if self.is_gone {
            return None;
        }
        let hour = hour_of(block);
        let is_error = self.level >= Level::Error.code();
        let bounds = if is_error { burst_bounds(config) } else { shift_bounds(config) };
        let start = block.saturating_mul(BLOCK_NS);
        let is_awaited = self.level < Level::Warn.code() && self.is_settled(start, config) && !quiet;
        // Before a template has settled, whatever it does is how it is.
        let may_hold = self.is_settled(start, config) || is_error;
        let full = self.rate.above(count, hour, &bounds).filter(|_| may_hold);
        if self.recurs && full.is_some() {
            self.rate.recurred(count, hour);
        }
        let mut low = None;
        let mut is_held = full.is_some();
        if is_awaited {
            (low, is_held) = self.judge_low(count, block, &bounds, config, is_held);
        }
        if matches!(low, Some(Low::Stopped(_))) {
            return low;
        }
        if count > 0 || !is_held {
            self.learn(count, hour, is_held, full.is_some() && !is_error, config);
        }
        low
    }

    /// What is too little in a closed block; whether the block is to be kept out of the baseline.
    fn judge_low(
        &mut self,
        count: u32,
        block: i64,
        bounds: &Bounds,
        config: &TemplatesConfig,
        is_held: bool,
    ) -> (Option<Low>, bool) {
        let hour = hour_of(block);
        if count > 0 {
            self.learn_absent(block);
            self.heard_again();
            let Some(deviation) = self.rate.below(count, hour, bounds) else {
                self.low_run = 0;
                return (None, is_held);
            };
            self.low_run += 1;
            let is_told = self.low_run == config.shift_blocks;
            return (is_told.then_some(Low::Fallen(deviation)), true);
        }
        let missing = self.missing + self.rate.band(hour).0;
        (self.missing, self.missing_blocks) = (missing, self.missing_blocks + 1);
        if self.missing_blocks >= config.shift_blocks
            && let Some(deviation) = self.rate.stopped(missing, bounds.chance)
        {
            self.is_gone = true;
            self.forget_runs();
            return (Some(Low::Stopped(deviation)), true);
        }
        let is_absent = missing >= MISSING_HELD && self.missing_blocks <= HELD_MAX;
        if is_absent {
            self.absent += 1;
        } else {
            self.learn_absent(block);
        }
        (None, is_absent)
    }

    /// Learns a closed block, unless it is to be held back and has not lasted.
    fn learn(&mut self, count: u32, hour: usize, is_held: bool, is_full: bool, config: &TemplatesConfig) {
        if !is_held {
            if self.held == 1 && self.spike > 0 {
                self.rate.spiked(self.spike, hour);
            }
            (self.held, self.spike) = (0, 0);
            self.rate.learn(count, hour);
            return;
        }
        self.held = self.held.saturating_add(1);
        // Should it be over with this block, the template is known to do so; a shift goes on.
        self.spike = if self.held == 1 && is_full { count } else { 0 };
        let lasting = config.relearn_after.ns() / BLOCK_NS;
        if i64::from(self.held) >= lasting {
            self.rate.restart();
            self.held = 0;
            self.rate.learn(count, hour);
        }
    }

    fn changed(&self, deviation: Deviation) -> Changed {
        Changed {
            cluster: self.cluster,
            level: self.level,
            example: self.example.clone(),
            deviation,
            evidence: self.evidence(),
            last: self.last,
        }
    }

    /// Its newest records, oldest first.
    fn evidence(&self) -> Vec<At> {
        let (newer, older) = self.recent.split_at(self.recent_next);
        older.iter().chain(newer).copied().filter(|(time, _)| *time != i64::MIN).collect()
    }

    fn join(&mut self, other: &Template) {
        self.level = self.level.max(other.level);
        self.born = self.born.min(other.born);
        for (own, theirs) in self.open.iter_mut().zip(other.open) {
            *own = own.saturating_add(theirs);
        }
        if other.last > self.last {
            (self.last, self.recent, self.recent_next) = (other.last, other.recent, other.recent_next);
        }
        self.rate.join(&other.rate);
        self.is_new |= other.is_new;
        self.is_gone &= other.is_gone;
        self.forget_runs();
        // The words that differed between the two are a slot now.
        self.values = None;
    }
}

impl News {
    fn is_empty(&self) -> bool {
        self.loud.count == 0 && self.quiet.count == 0
    }

    fn note(&mut self, example: &str, heard: &Heard<'_>) {
        if heard.level >= Level::Warn.code() {
            self.note_loud(example, heard);
        } else {
            self.quiet.add(example, heard.level, (heard.time, heard.position.0));
        }
    }

    fn note_loud(&mut self, example: &str, heard: &Heard<'_>) {
        self.turn_hour(heard.time);
        self.in_hour = self.in_hour.saturating_add(1);
        self.is_urgent = true;
        self.loud.add(example, heard.level, (heard.time, heard.position.0));
    }

    /// Learns the hour that is over.
    fn turn_hour(&mut self, time: i64) {
        let hour = time.div_euclid(NS_PER_HOUR);
        let passed = hour.saturating_sub(self.hour);
        if passed <= 0 {
            return;
        }
        // An hour with very many is an incident; it counts as the most that would not have been told.
        let most = (LOUD_MULTIPLE * f64::from(self.usual) / 1000.0).max(1.0);
        let seen = f64::from(self.in_hour).min(most);
        let usual = f64::from(self.usual) / 1000.0;
        let kept = (1.0 - 1.0 / LOUD_MEMORY).powi(i32::try_from(passed - 1).unwrap_or(i32::MAX));
        let usual = (usual + (seen - usual) / LOUD_MEMORY) * kept;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, not negative")]
        let usual = (usual * 1000.0).round() as u32;
        (self.usual, self.hour, self.in_hour) = (usual, hour, 0);
    }

    fn is_loud_news(&self) -> bool {
        let usual = f64::from(self.usual) / 1000.0;
        self.loud.count > 0 && (self.loud.flood > 0 || f64::from(self.in_hour) > LOUD_MULTIPLE * usual)
    }

    /// The loud news, and how many there are in a usual hour.
    fn take_loud(&mut self) -> (Fresh, f64) {
        (std::mem::take(&mut self.loud), f64::from(self.usual) / 1000.0)
    }

    /// The quiet news, when the service has earned a report; before it has settled they are none.
    fn take_quiet(&mut self, time: i64, is_settled: bool, config: &TemplatesConfig) -> Option<Fresh> {
        if !is_settled {
            self.quiet = Fresh::default();
        }
        if self.quiet.count == 0 || config.quiet_reports_per_day <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "saturates")]
        let earn_ns = (NS_PER_DAY as f64 / config.quiet_reports_per_day) as i64;
        let ahead = earn_ns.saturating_mul(QUIET_REPORTS_MAX - 1);
        if time < self.earned_at.saturating_sub(ahead) {
            return None;
        }
        self.earned_at = self.earned_at.max(time).saturating_add(earn_ns);
        Some(std::mem::take(&mut self.quiet))
    }
}
