//! Catalog: the templates of one tenant, by id.
//!
//! Invariants: `parent(id) <= id`, so parents cannot form a cycle and the root of a cluster is its oldest id; id 0 is the catch-all.

use super::texts::Texts;
use super::tokens::{Token, TokenKind, mix, mix_bytes};

/// Dense id of a template within one tenant; only grows. 0 means "no template" ([`TemplateId::CATCH_ALL`]).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct TemplateId(pub u32);

impl TemplateId {
    /// The template `<*>`: empty messages, and whatever does not fit in the limits.
    pub const CATCH_ALL: Self = Self(0);
}

/// One token of a template: constant text, then a slot or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateToken<'a> {
    /// Whether white space (of any length) stands before the token.
    pub gap: bool,
    /// Constant text; the constant beginning of the value when `slot` is set (`blk_` of `blk_17`), often empty.
    pub constant: &'a str,
    /// Whether a variable part follows the constant.
    pub slot: bool,
}

/// A template: constants and slots in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Constants of all tokens, one after the other.
    pub(super) constants: Box<str>,
    pub(super) layout: Box<[Layout]>,
    pub(super) count: u64,
    pub(super) parent: TemplateId,
    pub(super) texts: Texts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) constant_bytes: u16,
    pub(super) gap: bool,
    pub(super) slot: bool,
}

impl Template {
    pub(super) fn new(id: TemplateId, message: &str, tokens: &[Token]) -> Self {
        let parts = tokens.iter().map(|t| TemplateToken {
            gap: t.gap,
            constant: &message[t.start..t.start + t.constant],
            slot: t.kind == TokenKind::Slot,
        });
        let (constants, layout) = pack(parts);
        let texts = Texts::none(&layout);
        Self { constants, layout, count: 0, parent: id, texts }
    }

    /// The template that matches everything.
    pub(super) fn catch_all() -> Self {
        let (constants, layout) = pack([TemplateToken { gap: false, constant: "", slot: true }].into_iter());
        Self { constants, layout, count: 0, parent: TemplateId::CATCH_ALL, texts: Texts::unknown() }
    }

    /// Returns the template as text: `<*>` for a slot, one space for a gap.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.constants.len() + self.layout.len() * 3);
        for token in self.tokens() {
            if token.gap && !text.is_empty() {
                text.push(' ');
            }
            text.push_str(token.constant);
            if token.slot {
                text.push_str("<*>");
            }
        }
        text
    }

    /// Returns the tokens in order.
    pub fn tokens(&self) -> impl Iterator<Item = TemplateToken<'_>> {
        let mut at = 0;
        self.layout.iter().map(move |layout| {
            let start = at;
            at += usize::from(layout.constant_bytes);
            TemplateToken { gap: layout.gap, constant: &self.constants[start..at], slot: layout.slot }
        })
    }

    /// Returns the number of messages that were assigned this id (not those of other shapes of its cluster).
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the value of [`Miner::changes`](super::Miner::changes) when the description of the messages of this id grew last.
    pub fn changed_at(&self) -> u64 {
        self.texts.changed_at
    }

    /// Returns the id this one was placed under: itself for the root of a cluster. See `Miner::canonical` for the root.
    pub fn parent(&self) -> TemplateId {
        self.parent
    }

    /// Makes the template general enough for `other` too: constants that differ become slots.
    ///
    /// Both must have the same number of tokens. `budget` counts the bytes of all slot values of the tenant.
    pub(super) fn generalise<'a>(
        &mut self,
        other: impl Iterator<Item = TemplateToken<'a>>,
        budget: &mut usize,
    ) {
        let mut changed = false;
        let parts: Vec<_> =
            self.tokens().zip(other).map(|(mine, other)| joined(mine, other, &mut changed)).collect();
        debug_assert_eq!(
            parts.len(),
            self.layout.len(),
            "shapes of one cluster have the same number of tokens"
        );
        if changed {
            let (constants, layout) = pack(parts.into_iter());
            let old = Self {
                constants: std::mem::replace(&mut self.constants, constants),
                layout: std::mem::replace(&mut self.layout, layout),
                texts: Texts::unknown(),
                ..*self
            };
            self.widen_texts(old.tokens(), budget);
        }
    }

    /// Hash of constants and slots; lines of different raw shape may agree in it (lists of different length).
    pub(super) fn hash(&self, seed: u64) -> u64 {
        self.tokens().fold(mix(seed, 0x5445_4d50), |hash, token| {
            mix_bytes(mix(hash, u64::from(token.gap) << 1 | u64::from(token.slot)), token.constant.as_bytes())
        })
    }

    /// Heap and inline bytes, for memory accounting.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.constants.len()
            + self.layout.len() * size_of::<Layout>()
            + self.texts.memory_bytes()
    }
}

fn joined<'a>(mine: TemplateToken<'a>, other: TemplateToken<'_>, changed: &mut bool) -> TemplateToken<'a> {
    if mine.constant == other.constant && (mine.slot || !other.slot) {
        return mine;
    }
    if mine.slot && (mine.constant.is_empty() || (!other.slot && other.constant.starts_with(mine.constant))) {
        return mine;
    }
    *changed = true;
    let keep = mine.constant == other.constant
        || (other.slot && !other.constant.is_empty() && mine.constant.starts_with(other.constant));
    let constant = if !keep { "" } else { &mine.constant[..other.constant.len()] };
    TemplateToken { gap: mine.gap, constant, slot: true }
}

fn pack<'a>(parts: impl Iterator<Item = TemplateToken<'a>>) -> (Box<str>, Box<[Layout]>) {
    let mut constants = String::new();
    let layout = parts
        .map(|part| {
            constants.push_str(part.constant);
            let constant_bytes =
                u16::try_from(part.constant.len()).expect("a constant is within MESSAGE_BYTES_MAX");
            Layout { constant_bytes, gap: part.gap, slot: part.slot }
        })
        .collect();
    (constants.into_boxed_str(), layout)
}
