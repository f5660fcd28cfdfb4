//! What log messages are: new kinds of them, kinds that stop or change their rate, values never seen in their place,
//! bursts of one error, another mix of levels, and users that act faster than people can. Per tenant and service.
//!
//! The miner has named the template of every record before detectors see it ([`heimdall_model::batch::Mined`]). Without
//! template ids only levels and users are judged.
//!
//! - `service`: what is known of a service, and when blocks end, close, and are learnt
//! - `rate`, `tail`: the usual rate of a template, and how improbable a count is
//! - `values`: slots; `mix`: levels; `users`: users; `annotate`: deployments; `report`: verdicts
//!
//! Invariants:
//! - time is that of the tenant: the newest event time of all its services. A template that stops is noticed although its
//!   service says nothing more, and a time in which the tenant says nothing is judged for nobody;
//! - a record counts in the block of its event time until the lateness is over, however rows arrive and are grouped;
//! - nothing is told before a service is warm, and of what a deployment changes nothing in the quiet after it;
//! - at most `limits.keys_max` services, `templates_max` templates each and about `templates_total_max` in all.
//!
//! Cost: 600 bytes a template beside its example, 2 KB a service, 24 KB more if it has users.

mod annotate;
mod mix;
mod rate;
mod report;
mod service;
mod tail;
mod text;
mod users;
mod values;

use std::collections::HashMap;

use foldhash::fast::FixedState;
use heimdall_model::batch::{Joined, Row};
use heimdall_model::schema::logs;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Dataset, Verdict};
use serde::{Deserialize, Serialize};

use self::report::Occasion;
use self::service::{Counted, Finding, Heard, Service};
use crate::arrival;
use crate::config::{DetectConfig, LATENESS_MAX, Period, TemplatesConfig};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields;
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;

/// Name of the detector.
const NAME: &str = "templates";
/// Length of a block.
const BLOCK_NS: i64 = 300 * NS_PER_SECOND;
const MINUTE_NS: i64 = 60 * NS_PER_SECOND;
/// Blocks that can be open: those of the longest lateness, the present one, and one into which it reaches back.
const OPEN_BLOCKS: usize = 16;
const _: () = assert!(LATENESS_MAX.ns() / BLOCK_NS + 2 <= OPEN_BLOCKS as i64);
/// Blocks without any record of a tenant after which nothing is concluded from its silence.
const GAP_BLOCKS: i64 = 4;

/// The detector of templates.
#[derive(Debug)]
pub struct Templates {
    config: TemplatesConfig,
    lateness: Period,
    ahead: Period,
    clocks: Keyed<Clock>,
    services: Keyed<Service>,
    /// Templates of all services, as of the number of services evicted.
    templates: usize,
    evicted: u64,
    /// Templates forgotten to make room.
    forgotten: u64,
    key: String,
    found: Vec<Finding>,
    counters: Counters,
}

/// Time of one tenant.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Clock {
    /// Newest block and minute that began; last block that closed.
    block: Option<i64>,
    minute: i64,
    closed: i64,
}

#[derive(Serialize, Deserialize)]
struct State {
    clocks: Vec<Saved<Clock>>,
    services: Vec<Saved<Service>>,
}

/// Places of the services of one batch.
type Places<'a> = HashMap<&'a str, u32, FixedState>;

impl Templates {
    /// A detector with nothing learnt.
    #[must_use]
    pub fn new(config: &DetectConfig) -> Templates {
        Templates {
            config: config.templates.clone(),
            lateness: config.lateness,
            ahead: config.ahead,
            clocks: Keyed::default(),
            services: Keyed::default(),
            templates: 0,
            evicted: 0,
            forgotten: 0,
            key: String::new(),
            found: Vec::new(),
            counters: Counters::default(),
        }
    }

    fn observe_logs(&mut self, observed: &Observed<'_>, out: &mut Findings) {
        let batch = observed.batch;
        let mut deployments = annotate::deployments(batch).into_iter().peekable();
        let mined = batch.mined.as_deref();
        let mut joined = mined.map_or(&[][..], |mined| &mined.joined).iter().peekable();
        let mut grown = mined.map_or(&[][..], |mined| &mined.grown).iter().peekable();
        let clusters = mined.map(|mined| mined.clusters.as_slice()).unwrap_or_default();
        let key = keyed::key(&mut self.key, &[observed.tenant.as_str()]);
        let clock = self.clocks.place(key, batch.observed, &self.config.limits, Clock::default);
        let mut now = *self.clocks.at(clock, batch.observed);
        let mut places = Places::default();
        for (index, row) in batch.iter().enumerate() {
            while let Some(join) = joined.next_if(|join| join.row as usize <= index) {
                self.join(observed, join);
            }
            let time = arrival::event_time(&row, batch, self.ahead, &mut self.counters);
            if time.div_euclid(MINUTE_NS) > now.minute || now.block.is_none() {
                self.advance(observed, &row, time, &mut now, &mut out.verdicts);
            }
            if deployments.next_if_eq(&index).is_some() {
                self.deploy(observed, &row, time);
            }
            let cluster = clusters.get(index).copied().unwrap_or_else(|| template_id(&row));
            let heard = Heard {
                time,
                position: row.position(),
                level: row.byte(logs::LEVEL).unwrap_or(0),
                cluster,
                grown: grown.next_if(|grown| **grown as usize == index).is_some(),
                message: row.text(logs::MESSAGE).unwrap_or_default(),
                closed: now.closed,
            };
            self.hear(observed, &row, &heard, &mut places, out);
        }
        *self.clocks.at(clock, batch.observed) = now;
    }

    /// One record at its service.
    fn hear<'a>(
        &mut self,
        observed: &Observed<'a>,
        row: &Row<'a>,
        heard: &Heard<'a>,
        places: &mut Places<'a>,
        out: &mut Findings,
    ) {
        let name = fields::service(row);
        let arrived = observed.batch.observed;
        let place = match places.get(name) {
            Some(place) => *place,
            None => self.place(observed, name, places),
        };
        let room = self.templates < self.config.templates_total_max;
        let service = self.services.at(place, arrived);
        let before = service.templates.len();
        let Counted { late, forgotten } = service.hear(heard, room, &self.config, &mut self.found);
        self.counters.late += u64::from(late);
        // What was added and forgotten.
        self.templates = self.templates + service.templates.len() - before;
        self.forgotten += forgotten as u64;
        let fast = match user(row) {
            Some((kind, name)) if !late => {
                let quiet = !service.is_warm(heard.time, &self.config);
                let minute = heard.time.div_euclid(MINUTE_NS);
                let fast = service.users.act(users::who(name), minute, quiet, &self.config);
                fast.map(|fast| (kind, name, fast))
            }
            _ => None,
        };
        if self.found.is_empty() && fast.is_none() {
            return;
        }
        let occasion = Occasion { observed, service: name, time: heard.time, position: heard.position };
        let found = self.found.drain(..).map(|finding| occasion.tell(finding, &self.config));
        out.verdicts.extend(found);
        out.verdicts.extend(fast.map(|(kind, name, fast)| occasion.tell_fast(kind, name, &fast)));
    }

    /// Finds or makes the place of a service, and remembers it for the batch.
    #[cold]
    fn place<'a>(&mut self, observed: &Observed<'_>, name: &'a str, places: &mut Places<'a>) -> u32 {
        let key = keyed::key(&mut self.key, &[observed.tenant.as_str(), name]);
        let limits = &self.config.limits;
        let place = self.services.place(key, observed.batch.observed, limits, Service::default);
        if self.services.evicted() != self.evicted {
            self.evicted = self.services.evicted();
            self.count_templates();
            places.clear();
        }
        places.insert(name, place);
        place
    }

    fn count_templates(&mut self) {
        self.templates = self.services.values().map(|service| service.templates.len()).sum();
    }

    /// A record begins a new minute of its tenant: news are told, blocks end and close.
    #[cold]
    fn advance(
        &mut self,
        observed: &Observed<'_>,
        row: &Row<'_>,
        time: i64,
        clock: &mut Clock,
        out: &mut Vec<Verdict>,
    ) {
        let block = time.div_euclid(BLOCK_NS);
        clock.minute = time.div_euclid(MINUTE_NS);
        let late_blocks = (self.lateness.ns() + BLOCK_NS - 1) / BLOCK_NS;
        let Some(before) = clock.block.replace(block) else {
            clock.closed = block - 1 - late_blocks;
            return;
        };
        let closed = clock.closed;
        clock.closed = closed.max(block - 1 - late_blocks);
        let is_gap = block - before > GAP_BLOCKS;
        let mut told = Vec::new();
        for (key, service) in self.services.of_tenant(observed.tenant.as_str()) {
            if is_gap {
                service.skip_gap();
            } else if block > before {
                let mut next = closed + 1;
                for ended in before..block {
                    service.end_block(ended, &self.config, &mut self.found);
                    // Closed before the next one ends, however many are caught up with.
                    while next <= clock.closed.min(ended - late_blocks) {
                        service.close_block(next, &self.config, &mut self.found);
                        next += 1;
                    }
                }
            }
            service.tell_news(time, &self.config, &mut self.found);
            let name = keyed::part(key, 1);
            let occasion = Occasion { observed, service: name, time, position: row.position() };
            told.extend(self.found.drain(..).map(|finding| occasion.tell(finding, &self.config)));
        }
        told.sort_by(|a, b| a.service.cmp(&b.service));
        out.append(&mut told);
    }

    fn join(&mut self, observed: &Observed<'_>, joined: &Joined) {
        for (_, service) in self.services.of_tenant(observed.tenant.as_str()) {
            service.join(joined.from, joined.into);
        }
        self.count_templates();
    }

    /// Notes a deployment of the record's service, or of all when it names none.
    #[cold]
    fn deploy(&mut self, observed: &Observed<'_>, row: &Row<'_>, time: i64) {
        let only = row.service();
        for (key, service) in self.services.of_tenant(observed.tenant.as_str()) {
            if only.is_none_or(|only| keyed::part(key, 1) == only) {
                service.deploy(time, &self.config);
            }
        }
    }
}

/// Template of a row that comes without its cluster.
fn template_id(row: &Row<'_>) -> u32 {
    row.int(logs::TEMPLATE_ID).and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
}

/// Who acts: the user, else the address.
fn user<'a>(row: &Row<'a>) -> Option<(&'static str, &'a str)> {
    let user = row.text(logs::USER_ID).map(|user| ("user_id", user));
    user.or_else(|| row.text(logs::SOURCE_IP).map(|address| ("source_ip", address)))
}

impl Detector for Templates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.lateness, self.ahead) = (config.templates.clone(), config.lateness, config.ahead);
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        if batch.batch.dataset == Dataset::Logs && !batch.batch.is_empty() {
            self.observe_logs(batch, out);
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::encode(&State { clocks: self.clocks.save(), services: self.services.save() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let State { clocks, services } = snapshot::decode::<State>(bytes)?;
        (self.clocks, self.services) = (Keyed::load(clocks), Keyed::load(services));
        self.services.values_mut().for_each(Service::reindex);
        self.evicted = self.services.evicted();
        self.count_templates();
        Ok(())
    }

    fn state_keys(&self) -> usize {
        self.services.len()
    }

    fn counters(&self) -> Counters {
        Counters { evicted: self.services.evicted() + self.forgotten, ..self.counters }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a made-up company")]
mod tests;
