//! The members of one record's catch-all object, as JSON text in the making.
//!
//! Invariant: a key occurs once among the live members; the last one written counts.

use heimdall_model::{BatchBuilder, FieldId};

#[derive(Debug)]
struct Member {
    hash: u64,
    /// Start of the quoted key in the text.
    start: usize,
    /// End of the key, its quotes included.
    key_end: usize,
    end: usize,
    is_live: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Members {
    json: String,
    members: Vec<Member>,
    has_dead: bool,
    rebuilt: String,
}

impl Members {
    pub(super) fn clear(&mut self) {
        self.json.clear();
        self.members.clear();
        self.has_dead = false;
    }

    /// Adds a member; `key` is JSON without its quotes, `hash` that of the key. Whether it replaced another.
    pub(super) fn push(&mut self, key: &str, hash: u64, write_value: impl FnOnce(&mut String)) -> bool {
        self.json.push(if self.members.is_empty() { '{' } else { ',' });
        let start = self.json.len();
        push_key(&mut self.json, key);
        let key_end = self.json.len() - 1;
        let replaced = self.kill(key, hash);
        write_value(&mut self.json);
        self.members.push(Member { hash, start, key_end, end: self.json.len(), is_live: true });
        replaced
    }

    fn kill(&mut self, key: &str, hash: u64) -> bool {
        let json = &self.json;
        let is_same = |member: &&mut Member| {
            member.hash == hash && member.is_live && json[member.start + 1..member.key_end - 1] == *key
        };
        let same = self.members.iter_mut().find(is_same);
        let found = same.map(|member| member.is_live = false).is_some();
        self.has_dead |= found;
        found
    }

    /// Sets the object on the current row, unless it is empty.
    pub(super) fn finish(&mut self, builder: &mut BatchBuilder, id: FieldId) {
        if self.members.is_empty() {
            return;
        }
        self.json.push('}');
        if self.has_dead {
            self.rebuild();
            builder.set_text(id, &self.rebuilt);
        } else {
            builder.set_text(id, &self.json);
        }
    }

    fn rebuild(&mut self) {
        self.rebuilt.clear();
        for member in self.members.iter().filter(|member| member.is_live) {
            self.rebuilt.push(if self.rebuilt.is_empty() { '{' } else { ',' });
            self.rebuilt.push_str(&self.json[member.start..member.end]);
        }
        self.rebuilt.push('}');
    }
}

/// Appends `"key":`.
pub(super) fn push_key(out: &mut String, key: &str) {
    out.push('"');
    out.push_str(key);
    out.push_str("\":");
}
