//! Texts: a description of every message that was ever given an id, exact about the whole of each.
//!
//! A message is described as: for each token of the template the white space before it, the constant, the text of its slot;
//! then what stands after the last token. White space is one space (none where the template has no gap) unless seen otherwise.
//!
//! Invariants:
//! - every message that was given the id is described, whatever hashed to it: a message is compared with the constants, and one
//!   that differs makes the description *anything*;
//! - the description only grows; whoever reads it later than a row may rely on it for the row;
//! - `slots` has one entry per slot of the template, in order.

use super::catalog::{Layout, Template, TemplateToken};
use super::slot::Slot;
use super::tokens::{Plan, RawKind, RawToken, same};

/// What the messages of one id have been, beside the constants of its template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) slots: Vec<Slot>,
    /// White space that was not always what the template says, by token, rising; after the last token: what ends the message.
    pub(super) spaces: Vec<(u16, Slot)>,
    /// Whether nothing is known.
    pub(super) anything: bool,
    /// The change of the miner (see `Miner::changes`) that made this description grow last.
    pub(super) changed_at: u64,
}

impl Texts {
    /// Nothing seen, for a template with this layout.
    pub(super) fn none(layout: &[Layout]) -> Self {
        let slots = layout.iter().filter(|part| part.slot).map(|_| Slot::unseen()).collect();
        Self { slots, spaces: Vec::new(), anything: false, changed_at: 0 }
    }

    /// Nothing known.
    pub(super) fn unknown() -> Self {
        Self { slots: Vec::new(), spaces: Vec::new(), anything: true, changed_at: 0 }
    }

    /// Bytes of memory, beside `self`.
    pub(super) fn memory_bytes(&self) -> usize {
        let spaces = self.spaces.iter().map(|(_, slot)| slot.weight()).sum::<usize>();
        self.slots.capacity() * size_of::<Slot>()
            + self.spaces.capacity() * size_of::<(u16, Slot)>()
            + self.slots.iter().map(Slot::weight).sum::<usize>()
            + spaces
    }

    /// Bytes of the values kept.
    pub(super) fn weight(&self) -> usize {
        self.slots.iter().chain(self.spaces.iter().map(|(_, slot)| slot)).map(Slot::weight).sum()
    }

    fn give_up(&mut self, budget: &mut usize) {
        *budget -= self.weight();
        *self = Self { changed_at: self.changed_at, ..Self::unknown() };
    }

    /// Describes white space other than the template's.
    #[cold]
    fn see_space(&mut self, token: usize, usual: &[u8], space: &[u8], budget: &mut usize) -> bool {
        let token = u16::try_from(token).unwrap_or(u16::MAX);
        let at = match self.spaces.binary_search_by_key(&token, |(token, _)| *token) {
            Ok(at) => at,
            Err(at) => {
                let mut slot = Slot::unseen();
                slot.see(usual, budget);
                self.spaces.insert(at, (token, slot));
                at
            }
        };
        self.spaces[at].1.see(space, budget)
    }
}

/// White space a template stands for when nothing else was seen.
pub(super) fn usual_space(gap: bool) -> &'static [u8] {
    if gap { b" " } else { b"" }
}

impl Template {
    /// Makes the description cover `message`, whose raw tokens are grouped by `plan`. Returns whether it grew.
    #[inline]
    pub(super) fn cover(&mut self, message: &str, raw: &[RawToken], plan: &Plan, budget: &mut usize) -> bool {
        if self.texts.anything {
            return false;
        }
        let parts = self.layout.len();
        let described = match plan {
            Plan::Plain if raw.len() == parts => {
                self.walk(message, budget, raw.iter().map(|t| (t.start, t.end, t.kind == RawKind::Rest)))
            }
            Plan::Grouped(ends) if ends.len() == parts && last_end(ends) == raw.len() => {
                self.walk(message, budget, grouped(raw, ends))
            }
            _ => None,
        };
        described.unwrap_or_else(|| {
            self.texts.give_up(budget);
            true
        })
    }

    /// Compares a message with the constants and shows the rest to the statistics. `None` when a constant differs. `spans` gives
    /// start, end and whether the token holds what the limits cut off; it has one item per token.
    #[inline(always)]
    fn walk(
        &mut self,
        message: &str,
        budget: &mut usize,
        spans: impl Iterator<Item = (usize, usize, bool)>,
    ) -> Option<bool> {
        let bytes = message.as_bytes();
        let (mut constants, mut grew, mut at, mut token) = (self.constants.as_bytes(), false, 0, 0);
        let mut slots = self.texts.slots.iter_mut();
        // The borrow of the slots ends before white space is described.
        let mut odd_spaces: Option<Vec<(usize, usize, usize)>> = None;
        for (part, (start, end, cut)) in self.layout.iter().zip(spans) {
            let is_usual = if part.gap { start == at + 1 && bytes[at] == b' ' } else { start == at };
            if !is_usual {
                odd_spaces.get_or_insert_default().push((token, at, start));
            }
            let (constant, later) = constants.split_at(usize::from(part.constant_bytes));
            constants = later;
            if part.slot {
                let value = bytes.get(start..end)?;
                let begins = value.len() >= constant.len() && same(&value[..constant.len()], constant);
                let slot = slots.next().filter(|_| begins)?;
                if !cut {
                    grew |= slot.see(&value[constant.len()..], budget);
                } else if !slot.anything {
                    grew |= slot.see_rest(&value[constant.len()..], budget);
                }
            } else if !same(bytes.get(start..end)?, constant) {
                return None;
            }
            (at, token) = (end, token + 1);
        }
        if at < bytes.len() {
            odd_spaces.get_or_insert_default().push((token, at, bytes.len()));
        }
        for (token, start, end) in odd_spaces.into_iter().flatten() {
            let usual = usual_space(self.layout.get(token).is_some_and(|part| part.gap));
            grew |= self.texts.see_space(token, usual, bytes.get(start..end)?, budget);
        }
        Some(grew)
    }

    /// Brings the description in line with a template that became more general: `old` is each token as it was.
    pub(super) fn widen_texts<'a>(
        &mut self,
        old: impl Iterator<Item = TemplateToken<'a>>,
        budget: &mut usize,
    ) {
        if self.texts.anything {
            return;
        }
        let mut before = std::mem::take(&mut self.texts.slots).into_iter();
        let mut slots = Vec::new();
        for (was, is) in old.zip(&self.layout) {
            let kept = before.by_ref().take(usize::from(was.slot)).next();
            if !is.slot {
                continue;
            }
            let mut slot = kept.unwrap_or_else(|| {
                let mut slot = Slot::unseen();
                slot.see(b"", budget);
                slot
            });
            slot.prepend(&was.constant[usize::from(is.constant_bytes)..], budget);
            slots.push(slot);
        }
        self.texts.slots = slots;
    }
}

fn last_end(ends: &[u16]) -> usize {
    ends.last().map_or(0, |end| usize::from(end & !Plan::FROM_PREVIOUS))
}

/// Spans of the tokens that a plan groups; every end is at most `raw.len()`.
#[inline(always)]
fn grouped(raw: &[RawToken], ends: &[u16]) -> impl Iterator<Item = (usize, usize, bool)> {
    let (mut used, mut at) = (0, 0);
    ends.iter().map(move |mark| {
        let (from_previous, end) =
            (mark & Plan::FROM_PREVIOUS != 0, usize::from(mark & !Plan::FROM_PREVIOUS));
        let tokens = &raw[used..end.max(used)];
        let start = if from_previous { at } else { tokens.first().map_or(at, |t| t.start) };
        used = end.max(used);
        at = tokens.last().map_or(at, |t| t.end);
        (start, at, tokens.iter().any(|t| t.kind == RawKind::Rest))
    })
}
