//! Miner: finds or makes the template of a message.
//!
//! Three steps, each only when the one before fails:
//! 1. *shape*: the hash of the raw tokens is known -> its id (the steady state);
//! 2. *skeleton*: the line without everything that is a value by its form is known -> its cluster;
//! 3. *family*: lines that differ in one word only. When enough different words were seen there, the word is a slot and the
//!    family becomes one cluster; until then each is its own cluster, because few alternatives are rather words of the program.
//!
//! Invariants:
//! - every id in the maps is below `templates.len()`; `Template::parent` leads to a root in finitely many steps (parents are older);
//! - all templates of one cluster have the same number of tokens.
//!
//! Not here: what a token is (`tokens`), text of templates (`catalog`).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::catalog::{Template, TemplateId, TemplateToken};
use super::limits::{
    CLUSTERS_MAX_DEFAULT, SHAPES_MAX_DEFAULT, SHAPES_PER_CLUSTER_MAX, TEMPLATES_MAX_DEFAULT,
    VARYING_WORDS_MAX,
};
use super::tokens::{
    Plan, RawToken, Token, TokenKind, is_http_method, mix, mix_bytes, refine, refined, shape_hash,
};

/// Limits of one miner. They are stored with the catalog: a decoded miner keeps the limits it was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinerConfig {
    /// Clusters ever made; further kinds of message get the catch-all template.
    pub clusters_max: usize,
    /// Ids ever handed out, including the catch-all; further shapes share the id of their cluster.
    pub templates_max: usize,
    /// Remembered shapes; the least recently used half is forgotten at the limit, which costs time and changes no id.
    pub shapes_max: usize,
    /// Key of the hashes. A secret per-tenant value keeps an attacker from aiming for hash collisions.
    pub seed: u64,
}

impl Default for MinerConfig {
    fn default() -> Self {
        Self {
            clusters_max: CLUSTERS_MAX_DEFAULT,
            templates_max: TEMPLATES_MAX_DEFAULT,
            shapes_max: SHAPES_MAX_DEFAULT,
            seed: 0x4845_494d_4441_4c4c,
        }
    }
}

/// Map keyed by values that are hashes already.
pub(super) type HashKeyMap<V> = HashMap<u64, V, BuildHasherDefault<KeyIsHash>>;

/// Passes a `u64` through as its own hash.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix_bytes(self.0, bytes);
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// What is only remembered to save work, and no part of what a miner is: all are equal.
#[derive(Debug, Default)]
pub(super) struct Aside<T>(pub(super) T);

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Aside<T> {}

/// A known shape.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) id: TemplateId,
    /// How its raw tokens are grouped; found with the first message after a restart.
    pub(super) plan: Aside<Option<Plan>>,
}

impl Shape {
    pub(super) fn unplanned(id: TemplateId) -> Self {
        Self { id, plan: Aside(None) }
    }
}

/// Shape hash -> id, in two generations: when the young one is full it becomes the old one. What is still used moves back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ShapeMap {
    pub(super) young: HashKeyMap<Shape>,
    pub(super) old: HashKeyMap<Shape>,
    pub(super) generation_max: usize,
}

impl ShapeMap {
    pub(super) fn new(shapes_max: usize) -> Self {
        Self { generation_max: (shapes_max / 2).max(1), ..Self::default() }
    }

    /// The id of a shape; one of the old generation becomes young again.
    fn get(&mut self, shape: u64) -> Option<TemplateId> {
        if let Some(known) = self.young.get(&shape) {
            return Some(known.id);
        }
        let known = self.old.remove(&shape)?;
        let id = known.id;
        self.insert(shape, known);
        Some(id)
    }

    fn insert(&mut self, hash: u64, shape: Shape) {
        if self.young.len() >= self.generation_max {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(hash, shape);
    }
}

/// Lines that agree in all but one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Newest of a chain of [`Member`]s; each has another word at the place.
    Open(u32),
    /// The word is a slot of this cluster.
    Merged(TemplateId),
}

/// Link of the chain of a family: a cluster and the next older member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) cluster: TemplateId,
    pub(super) older: Option<u32>,
}

/// Template miner of one tenant; one writer.
///
/// See the module for what is always true of the ids.
#[derive(Debug, PartialEq, Eq)]
pub struct Miner {
    pub(super) config: MinerConfig,
    // INVARIANT: templates[0] is the catch-all; index == id.
    pub(super) templates: Vec<Template>,
    // INVARIANT: shapes_of.len() == templates.len(); counts the ids of a cluster, kept at its root.
    pub(super) shapes_of: Vec<u16>,
    pub(super) cluster_count: usize,
    pub(super) shapes: ShapeMap,
    pub(super) skeletons: HashKeyMap<TemplateId>,
    pub(super) families: HashKeyMap<Family>,
    pub(super) members: Vec<Member>,
    /// How often the description of some id has grown; see `Texts::changed_at`.
    pub(super) changes: u64,
    // INVARIANT: the weight of all values of all slots.
    pub(super) value_bytes: usize,
    /// Raw tokens of the message at hand.
    pub(super) raw: Aside<Vec<RawToken>>,
    /// Clusters that became part of another (first of the pair) and were not asked for yet; at most one entry for each
    /// cluster ever made.
    pub(super) joined: Aside<Vec<(TemplateId, TemplateId)>>,
}

impl Miner {
    /// Makes an empty miner that knows only the catch-all template.
    pub fn new(config: MinerConfig) -> Self {
        Self {
            config,
            templates: vec![Template::catch_all()],
            shapes_of: vec![0],
            cluster_count: 0,
            shapes: ShapeMap::new(config.shapes_max),
            skeletons: HashKeyMap::default(),
            families: HashKeyMap::default(),
            members: Vec::new(),
            changes: 0,
            value_bytes: 0,
            raw: Aside::default(),
            joined: Aside::default(),
        }
    }

    /// Returns the id of the template of `message`, making a new one when nothing known fits. Never fails.
    ///
    /// Only what tells the event counts: the first line that holds a letter, up to `limits::MESSAGE_BYTES_MAX`, and of a traceback the
    /// line that names the exception. The description of the id then covers the whole message. Cost: one pass, one lookup and a walk
    /// over the tokens for a known shape, no allocation; some microseconds for a new one.
    pub fn assign(&mut self, message: &str) -> TemplateId {
        let mut raw = std::mem::take(&mut self.raw.0);
        let id = match shape_hash(self.config.seed, message, &mut raw) {
            None => TemplateId::CATCH_ALL,
            Some(shape) => self.assign_shape(shape, message, &raw),
        };
        self.raw.0 = raw;
        let count = &mut self.templates[index(id)].count;
        *count = count.saturating_add(1);
        id
    }

    #[inline]
    fn assign_shape(&mut self, shape: u64, message: &str, raw: &[RawToken]) -> TemplateId {
        if self.shapes.young.get(&shape).is_none_or(|known| known.plan.0.is_none()) {
            self.learn(shape, message, raw);
        }
        let Some(Shape { id, plan: Aside(Some(plan)) }) = self.shapes.young.get(&shape) else {
            return TemplateId::CATCH_ALL;
        };
        let template = &mut self.templates[index(*id)];
        if template.cover(message, raw, plan, &mut self.value_bytes) {
            self.changes += 1;
            template.texts.changed_at = self.changes;
        }
        *id
    }

    /// Makes a shape known, young and with its plan, unless its messages get the catch-all.
    #[cold]
    fn learn(&mut self, shape: u64, message: &str, raw: &[RawToken]) {
        let tokens = refine(message, raw);
        let known = self.shapes.get(shape);
        let id = known.unwrap_or_else(|| self.place(message, &tokens));
        if id == TemplateId::CATCH_ALL {
            return;
        }
        let plan = Aside(Some(Plan::new(raw, &tokens)));
        match self.shapes.young.get_mut(&shape) {
            Some(known) => known.plan = plan,
            None => self.shapes.insert(shape, Shape { id, plan }),
        }
    }

    /// Returns the template of `id`, or `None` when the id was never handed out.
    pub fn template(&self, id: TemplateId) -> Option<&Template> {
        self.templates.get(index(id))
    }

    /// Returns the root of the cluster that `id` belongs to now; an unknown id is returned as it is.
    pub fn canonical(&self, id: TemplateId) -> TemplateId {
        let mut root = id;
        while let Some(template) = self.templates.get(index(root)).filter(|t| t.parent != root) {
            root = template.parent;
        }
        root
    }

    /// Returns the ids handed out so far with their templates, in order of id; the first is the catch-all.
    pub fn templates(&self) -> impl ExactSizeIterator<Item = (TemplateId, &Template)> {
        self.templates.iter().enumerate().map(|(i, template)| (id_at(i), template))
    }

    /// Returns the values of the slots of `id` in `message`, in order.
    ///
    /// Empty when the message has another form than the template, and for the catch-all.
    pub fn parameters<'m>(&self, id: TemplateId, message: &'m str) -> Vec<&'m str> {
        let Some(template) = self.template(id).filter(|_| id != TemplateId::CATCH_ALL) else {
            return Vec::new();
        };
        let tokens = refined(message);
        if tokens.len() != template.layout.len() {
            return Vec::new();
        }
        let values = template
            .tokens()
            .zip(&tokens)
            .filter_map(|(wanted, found)| value(wanted, &message[found.start..found.end]));
        values.collect::<Option<_>>().unwrap_or_default()
    }

    /// Returns how often the description of the messages of some id has grown; see [`Template::changed_at`].
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes the clusters that became part of another (first of the pair) since this was last called.
    pub fn take_joined(&mut self) -> std::vec::Drain<'_, (TemplateId, TemplateId)> {
        self.joined.0.drain(..)
    }

    /// Returns about how many bytes of memory the miner holds.
    pub fn memory_bytes(&self) -> usize {
        let templates: usize = self.templates.iter().map(Template::memory_bytes).sum();
        let shapes = self.shapes.young.capacity() + self.shapes.old.capacity();
        templates
            + self.shapes_of.capacity() * size_of::<u16>()
            + shapes * (size_of::<(u64, Shape)>() + 1)
            + self.skeletons.capacity() * (size_of::<(u64, TemplateId)>() + 1)
            + self.families.capacity() * (size_of::<(u64, Family)>() + 1)
            + self.members.capacity() * size_of::<Member>()
    }

    /// The id of a shape that is not known.
    fn place(&mut self, message: &str, tokens: &[Token]) -> TemplateId {
        let skeleton = Skeleton::new(self.config.seed, message, tokens);
        let known = self.skeletons.get(&skeleton.hash).copied().or_else(|| self.join_family(&skeleton));
        match known {
            Some(cluster) => self.attach(self.canonical(cluster), message, tokens),
            None => self.found(&skeleton, message, tokens),
        }
    }

    /// The cluster of a family that already has its slot where this skeleton has a new word.
    fn join_family(&mut self, skeleton: &Skeleton) -> Option<TemplateId> {
        let merged =
            skeleton.places.iter().find_map(|place| match self.families.get(&skeleton.family(place)) {
                Some(Family::Merged(cluster)) => Some(*cluster),
                _ => None,
            })?;
        let merged = self.canonical(merged);
        if self.skeletons.len() < self.config.shapes_max {
            self.skeletons.insert(skeleton.hash, merged);
        }
        Some(merged)
    }

    /// Adds a shape to a cluster: its own id while the cluster may have more, else the id of the cluster.
    fn attach(&mut self, root: TemplateId, message: &str, tokens: &[Token]) -> TemplateId {
        let shape = Template::new(root, message, tokens);
        let cluster = &mut self.templates[index(root)];
        if cluster.layout.len() != shape.layout.len() {
            return TemplateId::CATCH_ALL; // two different skeletons with one hash: the templates must stay true
        }
        cluster.generalise(shape.tokens(), &mut self.value_bytes);
        if cluster.layout == shape.layout && cluster.constants == shape.constants {
            return root;
        }
        let reserved = self.config.clusters_max.saturating_sub(self.cluster_count);
        let ids_left = self.templates.len().saturating_add(reserved) < self.config.templates_max;
        if self.shapes_of[index(root)] >= SHAPES_PER_CLUSTER_MAX || !ids_left {
            return root;
        }
        let exact = shape.hash(self.config.seed);
        self.shapes.get(exact).unwrap_or_else(|| {
            self.shapes_of[index(root)] += 1;
            let id = self.add(shape);
            self.shapes.insert(exact, Shape::unplanned(id));
            id
        })
    }

    /// Makes a new cluster, unless the limits forbid it.
    fn found(&mut self, skeleton: &Skeleton, message: &str, tokens: &[Token]) -> TemplateId {
        if self.cluster_count >= self.config.clusters_max || self.templates.len() >= self.config.templates_max
        {
            return TemplateId::CATCH_ALL;
        }
        self.cluster_count += 1;
        let id = id_at(self.templates.len());
        self.add(Template::new(id, message, tokens));
        self.skeletons.insert(skeleton.hash, id);
        self.relate(id, skeleton.clone());
        id
    }

    fn add(&mut self, template: Template) -> TemplateId {
        self.templates.push(template);
        self.shapes_of.push(0);
        id_at(self.templates.len() - 1)
    }

    /// Enters a cluster in its families and merges every family that is full, until nothing changes.
    fn relate(&mut self, mut cluster: TemplateId, mut skeleton: Skeleton) {
        while let Some(at) = self.first_full_family(cluster, &skeleton) {
            let place = skeleton.places.remove(at);
            let family = skeleton.family(&place);
            cluster = self.merge_family(family, cluster);
            skeleton.open(&place);
            if let Some(twin) = self.skeletons.insert(skeleton.hash, cluster) {
                cluster = self.merge(cluster, twin);
            }
        }
    }

    /// Enters `cluster` in the families of `skeleton`; stops at the first that now has enough members.
    fn first_full_family(&mut self, cluster: TemplateId, skeleton: &Skeleton) -> Option<usize> {
        skeleton.places.iter().position(|place| {
            let key = skeleton.family(place);
            let older = match self.families.get(&key) {
                Some(Family::Merged(_)) => return true,
                Some(Family::Open(newest)) => Some(*newest),
                None => None,
            };
            let newest = u32::try_from(self.members.len())
                .expect("clusters_max x VARYING_WORDS_MAX x words is below 2^32");
            self.members.push(Member { cluster, older });
            self.families.insert(key, Family::Open(newest));
            self.chain(newest).take(place.needed).count() == place.needed
        })
    }

    fn chain(&self, newest: u32) -> impl Iterator<Item = TemplateId> {
        let member = |at: u32| self.members[at as usize];
        std::iter::successors(Some(member(newest)), move |m| m.older.map(member)).map(|m| m.cluster)
    }

    fn merge_family(&mut self, family: u64, cluster: TemplateId) -> TemplateId {
        let others: Vec<TemplateId> = match self.families.get(&family) {
            Some(Family::Merged(other)) => vec![*other],
            Some(Family::Open(newest)) => self.chain(*newest).collect(),
            None => Vec::new(),
        };
        let root = others.into_iter().fold(cluster, |root, other| self.merge(root, other));
        self.families.insert(family, Family::Merged(root));
        root
    }

    /// Makes one cluster of two; the older id becomes the root.
    fn merge(&mut self, a: TemplateId, b: TemplateId) -> TemplateId {
        let (a, b) = (self.canonical(a), self.canonical(b));
        let (root, child) = (a.min(b), a.max(b));
        if root == child
            || self.templates[index(root)].layout.len() != self.templates[index(child)].layout.len()
        {
            return a;
        }
        let (older, newer) = self.templates.split_at_mut(index(child));
        older[index(root)].generalise(newer[0].tokens(), &mut self.value_bytes);
        newer[0].parent = root;
        self.joined.0.push((child, root));
        let shapes = self.shapes_of[index(child)].saturating_add(1);
        self.shapes_of[index(root)] = self.shapes_of[index(root)].saturating_add(shapes);
        root
    }
}

fn value<'m>(wanted: TemplateToken<'_>, found: &'m str) -> Option<Option<&'m str>> {
    match found.strip_prefix(wanted.constant) {
        Some(value) if wanted.slot => Some(Some(value)),
        Some("") => None,
        _ => Some(None),
    }
}

fn index(id: TemplateId) -> usize {
    id.0 as usize
}

fn id_at(index: usize) -> TemplateId {
    TemplateId(u32::try_from(index).expect("templates_max is far below 2^32"))
}

/// A line without what is a value by its form: the order of its words, delimiters and open places.
///
/// The hash is a sum of mixed parts, so that opening one place is two additions.
#[derive(Debug, Clone)]
struct Skeleton {
    hash: u64,
    places: Vec<Place>,
}

/// A place whose word may vary.
#[derive(Debug, Clone)]
struct Place {
    /// What the hash gains when the place is opened (zero when it is open already).
    opening: u64,
    position: u64,
    /// Different words that make it a slot.
    needed: usize,
}

impl Skeleton {
    fn new(seed: u64, message: &str, tokens: &[Token]) -> Self {
        let view = View { message, tokens };
        let mut hash = mix(seed, tokens.len() as u64);
        let mut places = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let position = mix(seed, (at as u64) << 1 | u64::from(token.gap));
            let open = mix(position, 1);
            let part = match token.kind {
                TokenKind::Word => mix_bytes(position ^ 2, view.text(at).as_bytes()),
                TokenKind::Delimiter => mix_bytes(position ^ 3, view.text(at).as_bytes()),
                TokenKind::Name | TokenKind::Slot => open,
            };
            hash = hash.wrapping_add(part);
            if let Some(needed) = view.needed(at).filter(|_| places.len() < VARYING_WORDS_MAX) {
                places.push(Place { opening: open.wrapping_sub(part), position, needed });
            }
        }
        Self { hash, places }
    }

    /// Key of the lines that agree with this one everywhere but at `place`.
    fn family(&self, place: &Place) -> u64 {
        mix(self.hash.wrapping_add(place.opening), place.position)
    }

    fn open(&mut self, place: &Place) {
        self.hash = self.hash.wrapping_add(place.opening);
    }
}

/// Different words that make a place a slot when one, two, or three and more constant words remain around it.
///
/// The more constant text two lines share, the surer it is that one statement printed both. The numbers exceed the usual sets of
/// alternatives a program writes out itself: start/stop/pause/resume, the syslog severities, the phases of a job.
const NEEDED_BY_CONSTANT_WORDS: [usize; 3] = [8, 8, 6];
/// The same where a value is expected: after `=` and after "for", "from", "to" … Four leave true/false/null and low/medium/high apart.
const NEEDED_WHERE_VALUES_STAND: [usize; 3] = [8, 6, 4];
/// Different words that make the word after "for user", "on node" … a slot: there the language says that a name follows.
const NEEDED_WHEN_NAMED: usize = 2;
/// Different words that make the word between two prepositions a slot ("for … from", "by … on"). "from … to" tells a transition between
/// states, which are words of the program.
const NEEDED_BETWEEN_PREPOSITIONS: usize = 3;
/// Programs begin a line with a verb or a subject of their own, and put topics before `:` and function names before `(`.
const NEEDED_FACTOR_TOPIC: usize = 2;

/// Words that put what follows in relation to the event.
const PREPOSITIONS: [&str; 11] = ["for", "from", "to", "by", "on", "in", "at", "of", "with", "via", "as"];
/// Words that, like a preposition, announce one particular thing when a noun follows.
const DETERMINERS: [&str; 3] = ["the", "invalid", "unknown"];
/// Nouns of operating that are followed by the name of the thing.
const NAMED_NOUNS: [&str; 32] = [
    "user",
    "host",
    "node",
    "device",
    "interface",
    "server",
    "service",
    "domain",
    "client",
    "account",
    "group",
    "job",
    "task",
    "app",
    "application",
    "package",
    "module",
    "class",
    "table",
    "database",
    "topic",
    "queue",
    "container",
    "pod",
    "namespace",
    "volume",
    "bucket",
    "cluster",
    "tenant",
    "role",
    "process",
    "thread",
];

/// The words around a place.
struct View<'a> {
    message: &'a str,
    tokens: &'a [Token],
}

impl<'a> View<'a> {
    fn text(&self, at: usize) -> &'a str {
        &self.message[self.tokens[at].start..self.tokens[at].end]
    }

    /// How many different words make the place `at` a slot; `None` when it never is.
    fn needed(&self, at: usize) -> Option<usize> {
        let token = self.tokens[at];
        let text = self.text(at);
        let glued = self
            .tokens
            .get(at + 1)
            .filter(|n| n.kind == TokenKind::Delimiter && !n.gap)
            .map(|_| self.text(at + 1));
        if token.kind == TokenKind::Delimiter
            || glued == Some("=")
            || is_http_method(text)
            || !text.bytes().any(|b| b.is_ascii_alphanumeric() || b >= 0x80)
        {
            return None;
        }
        let others = (0..self.tokens.len()).filter(|&i| i != at && self.is_constant_word(i)).take(3).count();
        if others >= 2 && self.is_named(at) {
            return Some(NEEDED_WHEN_NAMED);
        }
        if others >= 2 && self.is_between_prepositions(at) {
            return Some(NEEDED_BETWEEN_PREPOSITIONS);
        }
        let table = if self.is_value(at) { NEEDED_WHERE_VALUES_STAND } else { NEEDED_BY_CONSTANT_WORDS };
        let needed = *table.get(others.checked_sub(1)?)?;
        let topic = at == 0 || matches!(glued, Some(":" | "("));
        Some(if topic { needed * NEEDED_FACTOR_TOPIC } else { needed })
    }

    fn is_constant_word(&self, at: usize) -> bool {
        let letters = || self.text(at).bytes().filter(|b| b.is_ascii_alphabetic() || *b >= 0x80).count() >= 2;
        self.tokens[at].kind == TokenKind::Word && letters()
    }

    /// Whether a value is expected at the place: after `=` or a preposition.
    fn is_value(&self, at: usize) -> bool {
        at > 0 && (self.text(at - 1) == "=" || (self.tokens[at].gap && self.is_one_of(at - 1, &PREPOSITIONS)))
    }

    /// Whether preposition and noun stand before the place, with nothing between.
    fn is_named(&self, at: usize) -> bool {
        let announced = |at: usize| self.is_one_of(at, &PREPOSITIONS) || self.is_one_of(at, &DETERMINERS);
        at >= 2 && self.tokens[at].gap && self.is_one_of(at - 1, &NAMED_NOUNS) && announced(at - 2)
    }

    fn is_between_prepositions(&self, at: usize) -> bool {
        let around = at > 0 && at + 1 < self.tokens.len() && self.tokens[at].gap && self.tokens[at + 1].gap;
        around
            && self.is_one_of(at - 1, &PREPOSITIONS)
            && self.is_one_of(at + 1, &PREPOSITIONS)
            && (self.text(at - 1), self.text(at + 1)) != ("from", "to")
    }

    fn is_one_of(&self, at: usize, words: &[&str]) -> bool {
        self.tokens[at].kind == TokenKind::Word && words.contains(&self.text(at))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TemplateError, limits};
    use super::*;

    fn mined(messages: &[&str]) -> (Miner, Vec<TemplateId>) {
        let mut miner = Miner::new(MinerConfig::default());
        let ids = messages.iter().map(|m| miner.assign(m)).collect();
        (miner, ids)
    }

    /// The cluster templates of the messages at the end of input, each once, in order of first appearance.
    #[track_caller]
    fn check(messages: &[&str], templates: &[&str]) {
        let (miner, ids) = mined(messages);
        let mut roots: Vec<_> = ids.iter().map(|id| miner.canonical(*id)).collect();
        let mut seen = std::collections::HashSet::new();
        roots.retain(|root| seen.insert(*root));
        let texts: Vec<_> =
            roots.iter().map(|root| miner.template(*root).expect("handed out").text()).collect();
        assert_eq!(texts, templates);
    }

    /// Words without digits, different for each `n`.
    fn word(mut n: usize) -> String {
        let mut word = String::from("w");
        loop {
            word.push(char::from(b'g' + u8::try_from(n % 20).expect("below 20")));
            n /= 20;
            if n == 0 {
                return word;
            }
        }
    }

    /// A fixed pseudo-random sequence (xorshift).
    fn random(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 33).expect("31 bits")
    }

    fn random_line(state: &mut u64) -> String {
        let words = 1 + random(state) % 12;
        (0..words).map(|_| word(random(state) % 8000)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_named_thing_is_a_slot_from_the_second_name_on() {
        check(
            &[
                "session closed for user cyrus",
                "session closed for user root",
                "session opened for user root by (uid=0)",
            ],
            &["session closed for user <*>", "session opened for user root by (uid=<*>)"],
        );
        check(
            &[
                "Failed password for invalid user admin from 1.2.3.4 port 22 ssh2",
                "Failed password for invalid user x from ::1 port 2 ssh2",
            ],
            &["Failed password for invalid user <*> from <*> port <*> <*>"],
        );
    }

    #[test]
    fn three_words_between_prepositions_are_names() {
        check(
            &[
                "Failed password for root from 1.2.3.4 port 2",
                "Failed password for git from ::1 port 2",
                "Failed password for root from fe80::1 port 2",
            ],
            &["Failed password for root from <*> port <*>", "Failed password for git from <*> port <*>"],
        );
        check(
            &[
                "Failed password for root from 1.2.3.4",
                "Failed password for git from 1.2.3.5",
                "Failed password for www from 1.2.3.4",
            ],
            &["Failed password for <*> from <*>"],
        );
    }

    #[test]
    fn few_alternatives_stay_apart_and_many_become_a_slot() {
        let states = [
            "VM Started (Lifecycle Event)",
            "VM Stopped (Lifecycle Event)",
            "VM Paused (Lifecycle Event)",
            "VM Resumed (Lifecycle Event)",
        ];
        check(&states, &states);
        let lines: Vec<String> = (0..8).map(|n| format!("removing {}", word(n))).collect();
        check(&lines.iter().map(String::as_str).collect::<Vec<_>>(), &["removing <*>"]);
        check(
            &["normal", "warning", "running", "critical", "active"],
            &["normal", "warning", "running", "critical", "active"],
        );
    }

    #[test]
    fn templates_of_common_systems() {
        check(
            &[
                "\"GET /v2/54fa/servers/detail HTTP/1.1\" status: 200 len: 1893 time: 0.2477829",
                "\"GET /v2/77ab/servers/detail HTTP/1.1\" status: 404 len: 3 time: 0.1",
                "\"POST /v2/54fa/os-server-external-events HTTP/1.1\" status: 200 len: 380 time: 0.0758",
            ],
            &[
                "\"GET <*> HTTP/<*>\" status: <*> len: <*> time: <*>",
                "\"POST <*> HTTP/<*>\" status: <*> len: <*> time: <*>",
            ],
        );
        check(
            &[
                "Block broadcast_9 stored as values in memory (estimated size 384.0 B, free 317.5 KB)",
                "Block broadcast_12 stored as values in memory (estimated size 1.2 MB, free 3 GB)",
            ],
            &["Block broadcast_<*> stored as values in memory (estimated size <*>, free <*>)"],
        );
        check(
            &["en0: BSSID changed to 5c:50:15:36:bc:03", "en0: BSSID changed to 5c:50:ff:fe:bc:ad"],
            &["<*>: BSSID changed to <*>"],
        );
        check(
            &[
                "java.io.IOException: broken pipe\n\tat a.b.C(C.java:1)",
                "java.io.IOException: broken pipe\n\tat x.y.Z(Z.java:7)\n\tat q",
            ],
            &["java.io.IOException: broken pipe <*>"],
        );
    }

    #[test]
    fn a_trace_belongs_to_its_exception_whatever_its_depth() {
        let java = |depth: usize| {
            let frames: String = (0..depth)
                .map(|n| format!("\n\tat com.acme.pay.Gateway.charge{n}(Gateway.java:{n})"))
                .collect();
            format!(
                "java.sql.SQLTimeoutException: query {depth} timed out{frames}\nCaused by: java.net.Timeout"
            )
        };
        let python = |depth: usize, error: &str| {
            let frames: String = (0..depth)
                .map(|n| format!("  File \"/srv/app/mod{n}.py\", line {n}, in run\n    step_{n}(order)\n"))
                .collect();
            format!("Traceback (most recent call last):\n{frames}{error}")
        };
        let rust = |line: usize, frames: &str| {
            format!(
                "thread 'main' panicked at src/main.rs:{line}:5:\nindex out of bounds: the len is {line} but the index \
                 is 99\nnote: run with `RUST_BACKTRACE=1`{frames}"
            )
        };
        let go = |depth: usize| {
            let frames: String =
                (0..depth).map(|n| format!("\nmain.f{n}(0xc0000)\n\t/src/m.go:{n} +0x1d")).collect();
            format!(
                "panic: runtime error: index out of range [{depth}] with length 3\n\ngoroutine {depth} [running]:{frames}"
            )
        };
        check(
            &[
                &java(1),
                &java(40),
                &python(1, "ValueError: invalid literal for int() with base 10: 'abc'\n"),
                &python(90, "ValueError: invalid literal for int() with base 10: 'x 7'"),
                &python(3, "KeyError: 'customer'\n\nDuring handling of the above exception, another"),
                &rust(7, ""),
                &rust(12, "\n   0: core::panicking\n   1: main"),
                &go(1),
                &go(30),
            ],
            &[
                "java.sql.SQLTimeoutException: query <*> timed out <*>",
                "Traceback (most recent call last): <*> ValueError: invalid literal for int() with base <*>: '<*>'",
                "Traceback (most recent call last): <*> KeyError: 'customer' <*>",
                "thread 'main' panicked at src/main.rs:<*>:<*>: index out of bounds: the len is <*> but the index is <*> <*>",
                "panic: runtime error: index out of range [<*>] with length <*> <*>",
            ],
        );
    }

    #[test]
    fn parameters_are_the_values_of_the_slots() {
        let message = "Received block blk_-17 of size 67108864 from /10.2.3.4";
        let (miner, ids) = mined(&[message, "session for user root now", "session for user eve now"]);
        assert_eq!(miner.parameters(ids[0], message), ["-17", "67108864", "10.2.3.4"]);
        assert_eq!(miner.parameters(ids[0], "something else"), [""; 0]);
        let root = miner.canonical(ids[2]);
        assert_eq!(miner.parameters(root, "session for user eve now"), ["eve"]);
        assert_eq!(miner.parameters(TemplateId::CATCH_ALL, message), [""; 0]);
    }

    #[test]
    fn empty_messages_are_caught_by_the_catch_all() {
        let (miner, ids) = mined(&["", " \t\n", "\0"]);
        assert_eq!(ids, [TemplateId::CATCH_ALL; 3]);
        let catch_all = miner.template(TemplateId::CATCH_ALL).expect("always there");
        assert_eq!((catch_all.text().as_str(), catch_all.count()), ("<*>", 3));
        assert_eq!(miner.template(TemplateId(1)), None);
    }

    #[test]
    fn a_cluster_hands_out_few_ids_for_a_varying_word() {
        let mut miner = Miner::new(MinerConfig::default());
        let ids: Vec<_> =
            (0..200).map(|n| miner.assign(&format!("opened /var/{}/log now please", word(n)))).collect();
        let root = miner.canonical(ids[0]);
        assert!(ids.iter().all(|id| miner.canonical(*id) == root));
        assert_eq!(miner.templates().len(), 2 + usize::from(SHAPES_PER_CLUSTER_MAX));
        assert_eq!(ids[199], root);
    }

    /// Replays a mixed stream and checks after every message what must hold for ids handed out earlier.
    #[test]
    fn templates_only_generalise_and_keep_matching() {
        let mut miner = Miner::new(MinerConfig::default());
        let mut state = 7;
        let mut seen: Vec<(TemplateId, String)> = Vec::new();
        for round in 0..300 {
            let (a, b) = (word(random(&mut state) % 12), word(random(&mut state) % 3));
            let message = format!(
                "service {b} on host {a} changed state={} after {round} ms",
                word(random(&mut state) % 6)
            );
            let before: Vec<Template> = miner.templates().map(|(_, t)| t.clone()).collect();
            seen.push((miner.assign(&message), message));
            for (old, (_, new)) in before.iter().zip(miner.templates()) {
                let slots = |t: &Template| t.tokens().map(|t| t.slot).collect::<Vec<_>>();
                assert!(
                    slots(old).iter().zip(slots(new)).all(|(was, is)| is || !was),
                    "a slot became constant"
                );
                assert!(new.tokens().zip(old.tokens()).all(|(n, o)| n.slot || n.constant == o.constant));
            }
        }
        for (id, message) in &seen {
            for id in [*id, miner.canonical(*id)] {
                let slots = miner.template(id).expect("handed out").tokens().filter(|t| t.slot).count();
                assert_eq!(miner.parameters(id, message).len(), slots, "{message}");
            }
        }
        let roots: std::collections::HashSet<_> = seen.iter().map(|(id, _)| miner.canonical(*id)).collect();
        assert_eq!(roots.len(), 1, "all lines come from one statement");
    }

    /// Whether the description of `id` covers the whole of `message`.
    fn describes(miner: &Miner, id: TemplateId, message: &str) -> bool {
        let template = miner.template(id).expect("handed out");
        if template.texts.anything {
            return true;
        }
        let (mut at, mut slots) = (0, template.texts.slots.iter());
        let space = |token: usize, text: &str, gap: bool| {
            let odd = template.texts.spaces.iter().find(|(place, _)| usize::from(*place) == token);
            odd.map_or(text == if gap { " " } else { "" }, |(_, slot)| slot.admits(text.as_bytes()))
        };
        let tokens = refined(message);
        let each = template.tokens().zip(&tokens).enumerate().all(|(n, (part, token))| {
            let value = message[token.start..token.end].strip_prefix(part.constant);
            let fits = match part.slot {
                true => value.zip(slots.next()).is_some_and(|(value, slot)| slot.admits(value.as_bytes())),
                false => value == Some(""),
            };
            let spaced = space(n, &message[at..token.start], part.gap);
            at = token.end;
            fits && spaced
        });
        each && tokens.len() == template.layout.len() && space(tokens.len(), &message[at..], false)
    }

    /// Equal shape hashes must mean equal tokens, however odd the line: else an id would be given to a message its template does not match.
    #[test]
    fn the_template_of_an_id_matches_its_messages() {
        let parts = [
            "a",
            "GET",
            "b.c.d",
            "/p/q",
            "7",
            "x_9",
            "12:30",
            "ab",
            "KB",
            "bytes",
            "Jun",
            "é",
            "from",
            "user",
            "(most recent call last):",
            "thread 'x' panicked at a.rs:",
        ];
        let marks = [" ", " ", " ", ":", ",", "=", "(", ")", "\"", "'", "[", "<", "\n", "::", "  ", "\n  "];
        let mut miner = Miner::new(MinerConfig::default());
        let mut state = 11;
        let mut seen = Vec::new();
        for _ in 0..20_000 {
            let length = 1 + random(&mut state) % 5;
            let line: String = (0..length)
                .map(|_| {
                    [parts[random(&mut state) % parts.len()], marks[random(&mut state) % marks.len()]]
                        .concat()
                })
                .collect();
            seen.push((miner.assign(&line), line));
        }
        for (id, line) in seen.iter().filter(|(id, _)| *id != TemplateId::CATCH_ALL) {
            for id in [*id, miner.canonical(*id)] {
                let template = miner.template(id).expect("handed out");
                let slots = template.tokens().filter(|t| t.slot).count();
                assert_eq!(miner.parameters(id, line).len(), slots, "`{line}` against `{}`", template.text());
            }
            assert!(
                describes(&miner, *id, line),
                "`{line}` against `{}`",
                miner.templates[index(*id)].text()
            );
        }
        let known = miner.templates.iter().skip(1).filter(|t| !t.texts.anything).count();
        assert_eq!(known, miner.templates.len() - 1, "no message contradicted its template");
        let weight: usize = miner.templates.iter().map(|template| template.texts.weight()).sum();
        assert_eq!(weight, miner.value_bytes);
    }

    #[test]
    fn random_input_stays_within_the_limits() {
        let config =
            MinerConfig { clusters_max: 200, templates_max: 300, shapes_max: 500, ..MinerConfig::default() };
        let mut miner = Miner::new(config);
        let mut state = 99;
        for _ in 0..5000 {
            miner.assign(&random_line(&mut state));
        }
        assert!(miner.templates().len() <= config.templates_max);
        assert!(miner.shapes.young.len() + miner.shapes.old.len() <= config.shapes_max);
        assert_eq!(miner.cluster_count, config.clusters_max);
        assert_eq!(miner.assign("yet another kind of message"), TemplateId::CATCH_ALL);
        let long = "x ".repeat(3000) + &"y".repeat(100_000) + "é";
        miner.assign(&long);
        miner.assign(&"é".repeat(limits::MESSAGE_BYTES_MAX));
        miner.assign(&"\"(=".repeat(2000));
    }

    #[test]
    fn a_decoded_miner_continues_identically() {
        let config = MinerConfig { shapes_max: 64, ..MinerConfig::default() };
        let mut miner = Miner::new(config);
        let mut state = 3;
        let mut line = || {
            format!(
                "{} user {} did {}",
                word(random(&mut state) % 3),
                word(random(&mut state) % 40),
                random_line(&mut state)
            )
        };
        for _ in 0..500 {
            miner.assign(&line());
        }
        let mut restarted = Miner::decode(&miner.encode()).expect("just encoded");
        assert_eq!(restarted, miner);
        for _ in 0..500 {
            let line = line();
            assert_eq!(restarted.assign(&line), miner.assign(&line));
        }
        assert_eq!(restarted.encode(), miner.encode());
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let (miner, _) = mined(&["session closed for user cyrus", "session closed for user root"]);
        let good = miner.encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(Miner::decode(&bad).is_err(), "byte {at}");
            assert!(Miner::decode(&good[..at]).is_err(), "cut at {at}");
        }
        assert!(matches!(Miner::decode(b"something else"), Err(TemplateError::Magic)));
    }
}
