//! Sets of a dataset's fields.

use heimdall_model::FieldId;

/// Some fields of one dataset. No dataset has more than 64 (tested below).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(u64);

impl FieldSet {
    /// Every field.
    pub(crate) const ALL: FieldSet = FieldSet(u64::MAX);

    pub(crate) fn contains(self, id: FieldId) -> bool {
        self.0 >> id.index() & 1 == 1
    }

    pub(crate) fn with(self, id: FieldId) -> FieldSet {
        FieldSet(self.0 | 1 << id.index())
    }

    pub(crate) fn without(self, id: FieldId) -> FieldSet {
        FieldSet(self.0 & !(1 << id.index()))
    }

    pub(crate) fn union(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 | other.0)
    }

    pub(crate) fn minus(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 & !other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<FieldId> for FieldSet {
    fn from_iter<I: IntoIterator<Item = FieldId>>(fields: I) -> FieldSet {
        fields.into_iter().fold(FieldSet::default(), FieldSet::with)
    }
}

#[cfg(test)]
mod tests {
    use heimdall_model::Dataset;

    #[test]
    fn every_field_has_a_bit() {
        assert!(Dataset::ALL.iter().all(|dataset| dataset.fields().len() <= 64));
    }
}
