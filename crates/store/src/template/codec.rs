//! Codec: a miner as bytes and back.
//!
//! Invariants: `decode(encode(m)) == m`; a decoded miner satisfies every invariant of `Miner`, whatever the bytes were.
//! Format: docs/formats/templates.md.

use super::catalog::{Layout, Template, TemplateId};
use super::limits::{ENCODED_BYTES_MAX, SLOT_VALUES_MAX, VALUES_BYTES_MAX};
use super::miner::{Family, HashKeyMap, Member, Miner, MinerConfig, Shape, ShapeMap};
use super::slot::Slot;
use super::texts::Texts;
use super::words::Words;

const MAGIC: [u8; 8] = *b"HDLTMPL1";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
const ZSTD_LEVEL: i32 = 1;

const SECTION_CONFIG: u8 = 1;
const SECTION_TEMPLATES: u8 = 2;
const SECTION_SHAPES_YOUNG: u8 = 3;
const SECTION_SHAPES_OLD: u8 = 4;
const SECTION_SKELETONS: u8 = 5;
const SECTION_FAMILIES: u8 = 6;
const SECTION_MEMBERS: u8 = 7;
/// From here on a reader skips sections it does not know.
const SECTION_OPTIONAL: u8 = 128;
const SECTION_TEXTS: u8 = 128;
const SECTION_WORDS: u8 = 129;

/// Forms of a slot.
const FORM_ANYTHING: u8 = 0;
const FORM_VALUES: u8 = 1;
const FORM_ASCII: u8 = 2;
const FORM_BEYOND_ASCII: u8 = 3;

const FLAG_GAP: u64 = 1;
const FLAG_SLOT: u64 = 2;

/// Why an encoded catalog could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The bytes are not a template catalog.
    #[error("not a template catalog")]
    Magic,
    /// Written by a newer release.
    #[error("template catalog has version {found}, this release reads {VERSION}")]
    Version {
        /// Version in the header.
        found: u32,
    },
    /// The checksum does not match.
    #[error("template catalog is damaged: checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// CRC-32C of the bytes.
        found: u32,
        /// CRC-32C in the header.
        expected: u32,
    },
    /// The content contradicts itself.
    #[error("template catalog is corrupt: {detail}")]
    Corrupt {
        /// What is wrong.
        detail: &'static str,
    },
    /// The payload cannot be decompressed.
    #[error("could not decompress the template catalog")]
    Decompress {
        /// Error of the decompressor.
        source: std::io::Error,
    },
}

impl Miner {
    /// Returns the whole miner as bytes; [`Miner::decode`] continues exactly where this one stands.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        section(&mut payload, SECTION_CONFIG, |out| self.put_config(out));
        section(&mut payload, SECTION_TEMPLATES, |out| self.put_templates(out));
        section(&mut payload, SECTION_SHAPES_YOUNG, |out| put_ids(out, shape_ids(&self.shapes.young)));
        section(&mut payload, SECTION_SHAPES_OLD, |out| put_ids(out, shape_ids(&self.shapes.old)));
        section(&mut payload, SECTION_SKELETONS, |out| {
            put_ids(out, self.skeletons.iter().map(|(hash, id)| (*hash, *id)).collect());
        });
        section(&mut payload, SECTION_FAMILIES, |out| self.put_families(out));
        section(&mut payload, SECTION_MEMBERS, |out| self.put_members(out));
        section(&mut payload, SECTION_TEXTS, |out| self.put_texts(out));
        section(&mut payload, SECTION_WORDS, |out| self.put_words(out));
        let body = zstd::bulk::compress(&payload, ZSTD_LEVEL)
            .expect("compression into memory fails only without memory");
        let mut file = Vec::with_capacity(HEADER_BYTES + body.len());
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&file), &body);
        file.extend_from_slice(&crc.to_le_bytes());
        file.extend_from_slice(&body);
        file
    }

    /// Reads what [`Miner::encode`] wrote.
    ///
    /// # Errors
    /// Any [`TemplateError`]; damaged or hostile bytes never panic and never take more than `limits::ENCODED_BYTES_MAX` of memory.
    pub fn decode(bytes: &[u8]) -> Result<Self, TemplateError> {
        let payload = payload(bytes)?;
        let mut miner = Self::new(MinerConfig::default());
        miner.templates.clear();
        let mut rest = Reader(&payload);
        while !rest.0.is_empty() {
            let tag = rest.byte()?;
            let length = rest.size()?;
            let mut body = Reader(rest.take(length)?);
            miner.read_section(tag, &mut body)?;
            if tag < SECTION_OPTIONAL && !body.0.is_empty() {
                return Err(corrupt("a section is longer than its content"));
            }
        }
        miner.validate()?;
        Ok(miner)
    }

    fn read_section(&mut self, tag: u8, body: &mut Reader<'_>) -> Result<(), TemplateError> {
        match tag {
            SECTION_CONFIG => self.read_config(body),
            SECTION_TEMPLATES => self.read_templates(body),
            SECTION_SHAPES_YOUNG => body.shapes().map(|shapes| self.shapes.young = shapes),
            SECTION_SHAPES_OLD => body.shapes().map(|shapes| self.shapes.old = shapes),
            SECTION_SKELETONS => body.ids().map(|ids| self.skeletons = ids),
            SECTION_FAMILIES => self.read_families(body),
            SECTION_MEMBERS => self.read_members(body),
            SECTION_TEXTS => self.read_texts(body),
            SECTION_WORDS => self.read_words(body),
            tag if tag >= SECTION_OPTIONAL => Ok(()),
            _ => Err(corrupt("unknown section")),
        }
    }

    fn put_config(&self, out: &mut Vec<u8>) {
        let sizes =
            [self.config.clusters_max, self.config.templates_max, self.config.shapes_max, self.cluster_count];
        sizes.iter().for_each(|size| put(out, *size as u64));
        out.extend_from_slice(&self.config.seed.to_le_bytes());
    }

    fn read_config(&mut self, body: &mut Reader<'_>) -> Result<(), TemplateError> {
        let config = MinerConfig {
            clusters_max: body.size()?,
            templates_max: body.size()?,
            shapes_max: body.size()?,
            seed: self.config.seed,
        };
        self.cluster_count = body.size()?;
        self.config = MinerConfig { seed: body.u64()?, ..config };
        self.shapes.generation_max = ShapeMap::new(config.shapes_max).generation_max;
        Ok(())
    }

    fn put_templates(&self, out: &mut Vec<u8>) {
        put(out, self.templates.len() as u64);
        for (template, shapes) in self.templates.iter().zip(&self.shapes_of) {
            put(out, u64::from(template.parent.0));
            put(out, template.count);
            put(out, u64::from(*shapes));
            put(out, template.layout.len() as u64);
            for layout in &template.layout {
                let flags = (u64::from(layout.gap) * FLAG_GAP) | (u64::from(layout.slot) * FLAG_SLOT);
                put(out, u64::from(layout.constant_bytes) << 2 | flags);
            }
            out.extend_from_slice(template.constants.as_bytes());
        }
    }

    fn read_templates(&mut self, body: &mut Reader<'_>) -> Result<(), TemplateError> {
        for _ in 0..body.size()? {
            let parent = body.id()?;
            let count = body.varint()?;
            self.shapes_of.push(u16::try_from(body.varint()?).map_err(|_| corrupt("too many shapes"))?);
            let layout = (0..body.size()?).map(|_| body.layout()).collect::<Result<Box<[_]>, _>>()?;
            let constants = body.text(&layout)?;
            self.templates.push(Template { constants, layout, count, parent, texts: Texts::unknown() });
        }
        self.shapes_of.remove(0); // the one of `Miner::new`
        Ok(())
    }

    fn put_families(&self, out: &mut Vec<u8>) {
        let mut families: Vec<_> = self.families.iter().collect();
        families.sort_unstable_by_key(|(key, _)| **key);
        put(out, families.len() as u64);
        for (key, family) in families {
            out.extend_from_slice(&key.to_le_bytes());
            put(
                out,
                match family {
                    Family::Open(newest) => u64::from(*newest) << 1,
                    Family::Merged(cluster) => u64::from(cluster.0) << 1 | 1,
                },
            );
        }
    }

    fn read_families(&mut self, body: &mut Reader<'_>) -> Result<(), TemplateError> {
        for _ in 0..body.size()? {
            let key = body.u64()?;
            let value = body.varint()?;
            let target = u32::try_from(value >> 1).map_err(|_| corrupt("family out of range"))?;
            let family =
                if value & 1 == 0 { Family::Open(target) } else { Family::Merged(TemplateId(target)) };
            self.families.insert(key, family);
        }
        Ok(())
    }

    fn put_members(&self, out: &mut Vec<u8>) {
        put(out, self.members.len() as u64);
        for member in &self.members {
            put(out, u64::from(member.cluster.0));
            put(out, member.older.map_or(0, |older| u64::from(older) + 1));
        }
    }

    fn read_members(&mut self, body: &mut Reader<'_>) -> Result<(), TemplateError> {
        for _ in 0..body.size()? {
            let cluster = body.id()?;
            let older = body.varint()?.checked_sub(1).map(u32::try_from).transpose();
            self.members.push(Member { cluster, older: older.map_err(|_| corrupt("member out of range"))? });
        }
        Ok(())
    }

    fn put_texts(&self, out: &mut Vec<u8>) {
        put(out, self.changes);
        put(out, self.templates.len() as u64);
        for texts in self.templates.iter().map(|template| &template.texts) {
            put(out, texts.changed_at << 1 | u64::from(texts.anything));
            texts.slots.iter().for_each(|slot| put_slot(out, slot));
            put(out, texts.spaces.len() as u64);
            for (token, slot) in &texts.spaces {
                put(out, u64::from(*token));
                put_slot(out, slot);
            }
        }
    }

    fn read_texts(&mut self, body: &mut Reader<'_>) -> Result<(), TemplateError> {
        self.changes = body.varint()?;
        if body.size()? != self.templates.len() {
            return Err(corrupt("slot statistics are of other templates"));
        }
        for template in &mut self.templates {
            template.texts = body.texts(&template.layout)?;
        }
        self.weigh_texts()?;
        if !body.0.is_empty() {
            return Err(corrupt("slot statistics are larger than they can be"));
        }
        Ok(())
    }

    fn weigh_texts(&mut self) -> Result<(), TemplateError> {
        self.value_bytes = self.templates.iter().map(|template| template.texts.weight()).sum();
        if self.value_bytes > VALUES_BYTES_MAX {
            return Err(corrupt("slot statistics are larger than they can be"));
        }
        Ok(())
    }

    /// Words of the slots that have them: template, slot and hashes.
    fn put_words(&self, out: &mut Vec<u8>) {
        for (id, template) in self.templates.iter().enumerate() {
            for (place, slot) in template.texts.slots.iter().enumerate() {
                let Some(words) = &slot.words else { continue };
                let hashes = words.hashes();
                [id, place, hashes.len()].iter().for_each(|number| put(out, *number as u64));
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
        }
    }

    fn read_words(&mut self, body: &mut Reader<'_>) -> Result<(), TemplateError> {
        while !body.0.is_empty() {
            let (id, place, count) = (body.size()?, body.size()?, body.size()?);
            let bytes = count.checked_mul(4).ok_or_else(|| corrupt("a slot has too many words"))?;
            let hashes: Vec<u32> = body
                .take(bytes)?
                .chunks_exact(4)
                .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
                .collect();
            let words = Words::of_hashes(&hashes).ok_or_else(|| corrupt("the words of a slot are no set"))?;
            let slot = self.templates.get_mut(id).and_then(|template| template.texts.slots.get_mut(place));
            let slot = slot.filter(|slot| slot.values.is_none() && slot.words.is_none() && !slot.anything);
            slot.ok_or_else(|| corrupt("words of no slot"))?.words = Some(Box::new(words));
        }
        self.weigh_texts()
    }

    /// Checks the references between the sections, so that no later call can go out of bounds or round in circles.
    fn validate(&self) -> Result<(), TemplateError> {
        let known = |id: &TemplateId| (id.0 as usize) < self.templates.len();
        let shapes = [&self.shapes.young, &self.shapes.old];
        let mut ids = shapes.into_iter().flat_map(|map| map.values().map(|shape| shape.id));
        let member = |at: u32| (at as usize) < self.members.len();
        let rules = [
            (
                self.templates.first() == Some(&self.catch_all_with_count()),
                "the catch-all template is missing",
            ),
            (self.shapes_of.len() == self.templates.len(), "templates are given twice"),
            (
                self.templates.iter().enumerate().all(|(i, t)| t.parent.0 as usize <= i),
                "a parent is younger than its child",
            ),
            (
                self.templates.iter().all(|t| self.same_form_as_parent(t)),
                "a parent has another form than its child",
            ),
            (
                ids.all(|id| known(&id)) && self.skeletons.values().all(known),
                "a map names an unknown template",
            ),
            (
                self.templates.iter().all(|t| t.texts.changed_at <= self.changes),
                "slot statistics changed in the future",
            ),
            (self.members.iter().all(|m| known(&m.cluster)), "a member names an unknown template"),
            (
                self.members
                    .iter()
                    .enumerate()
                    .all(|(i, m)| m.older.is_none_or(|older| (older as usize) < i)),
                "a member is younger than its successor",
            ),
            (
                self.families.values().all(|family| match family {
                    Family::Open(newest) => member(*newest),
                    Family::Merged(cluster) => known(cluster),
                }),
                "a family names something unknown",
            ),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, detail)| Err(corrupt(detail)))
    }

    fn catch_all_with_count(&self) -> Template {
        let count = self.templates.first().map_or(0, |t| t.count);
        Template { count, ..Template::catch_all() }
    }

    fn same_form_as_parent(&self, template: &Template) -> bool {
        self.templates
            .get(template.parent.0 as usize)
            .is_some_and(|parent| parent.layout.len() == template.layout.len())
    }
}

fn payload(bytes: &[u8]) -> Result<Vec<u8>, TemplateError> {
    let mut header = Reader(bytes);
    if header.take(MAGIC.len()).ok() != Some(&MAGIC[..]) {
        return Err(TemplateError::Magic);
    }
    let version = header.u32()?;
    if version != VERSION {
        return Err(TemplateError::Version { found: version });
    }
    let length = usize::try_from(header.u64()?).ok().filter(|length| *length <= ENCODED_BYTES_MAX);
    let expected = header.u32()?;
    let found = crc32c::crc32c_append(crc32c::crc32c(&bytes[..HEADER_BYTES - 4]), header.0);
    if found != expected {
        return Err(TemplateError::Checksum { found, expected });
    }
    let length = length.ok_or_else(|| corrupt("the payload is larger than the limit"))?;
    let payload =
        zstd::bulk::decompress(header.0, length).map_err(|source| TemplateError::Decompress { source })?;
    if payload.len() == length {
        Ok(payload)
    } else {
        Err(corrupt("the payload has another length than the header says"))
    }
}

fn corrupt(detail: &'static str) -> TemplateError {
    TemplateError::Corrupt { detail }
}

fn section(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    write(&mut body);
    out.push(tag);
    put(out, body.len() as u64);
    out.extend_from_slice(&body);
}

fn shape_ids(shapes: &HashKeyMap<Shape>) -> Vec<(u64, TemplateId)> {
    shapes.iter().map(|(hash, shape)| (*hash, shape.id)).collect()
}

fn put_ids(out: &mut Vec<u8>, mut ids: Vec<(u64, TemplateId)>) {
    ids.sort_unstable_by_key(|(key, _)| *key);
    put(out, ids.len() as u64);
    for (key, id) in ids {
        out.extend_from_slice(&key.to_le_bytes());
        put(out, u64::from(id.0));
    }
}

fn put_slot(out: &mut Vec<u8>, slot: &Slot) {
    if slot.anything {
        return out.push(FORM_ANYTHING);
    }
    if let Some(values) = &slot.values {
        out.push(FORM_VALUES);
        put(out, values.iter().len() as u64);
        for value in values.iter() {
            put(out, value.len() as u64);
            out.extend_from_slice(value);
        }
        return;
    }
    out.push(if slot.beyond_ascii { FORM_BEYOND_ASCII } else { FORM_ASCII });
    slot.ascii.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    put(out, u64::from(slot.shortest));
    put(out, u64::from(slot.longest));
}

/// Appends an unsigned LEB128 number.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

/// What is left to read. Every read checks the length.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], TemplateError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| corrupt("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, TemplateError> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Result<u32, TemplateError> {
        self.take(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    fn u64(&mut self) -> Result<u64, TemplateError> {
        self.take(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    fn varint(&mut self) -> Result<u64, TemplateError> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(corrupt("a number is too long"))
    }

    fn size(&mut self) -> Result<usize, TemplateError> {
        usize::try_from(self.varint()?).map_err(|_| corrupt("a size is too large"))
    }

    fn id(&mut self) -> Result<TemplateId, TemplateError> {
        u32::try_from(self.varint()?).map(TemplateId).map_err(|_| corrupt("an id is too large"))
    }

    fn ids(&mut self) -> Result<HashKeyMap<TemplateId>, TemplateError> {
        (0..self.size()?).map(|_| Ok((self.u64()?, self.id()?))).collect()
    }

    fn shapes(&mut self) -> Result<HashKeyMap<Shape>, TemplateError> {
        (0..self.size()?).map(|_| Ok((self.u64()?, Shape::unplanned(self.id()?)))).collect()
    }

    /// The description of the messages of a template with this layout.
    fn texts(&mut self, layout: &[Layout]) -> Result<Texts, TemplateError> {
        let head = self.varint()?;
        let anything = head & 1 == 1;
        let slots = if anything { 0 } else { layout.iter().filter(|part| part.slot).count() };
        let slots = (0..slots).map(|_| self.slot()).collect::<Result<_, _>>()?;
        let mut spaces: Vec<(u16, Slot)> = Vec::new();
        for _ in 0..self.size()? {
            let token =
                u16::try_from(self.varint()?).ok().filter(|token| usize::from(*token) <= layout.len());
            let token = token.ok_or_else(|| corrupt("white space before no token"))?;
            if anything || spaces.last().is_some_and(|(last, _)| *last >= token) {
                return Err(corrupt("white space out of order"));
            }
            spaces.push((token, self.slot()?));
        }
        Ok(Texts { slots, spaces, anything, changed_at: head >> 1 })
    }

    fn slot(&mut self) -> Result<Slot, TemplateError> {
        match self.byte()? {
            FORM_ANYTHING => Ok(Slot::anything()),
            FORM_VALUES => {
                let count = self.size()?;
                if count > SLOT_VALUES_MAX {
                    return Err(corrupt("a slot has too many values"));
                }
                let values = (0..count)
                    .map(|_| self.size().and_then(|length| self.take(length)))
                    .collect::<Result<Vec<_>, _>>()?;
                Slot::of_values(values.into_iter()).ok_or_else(|| corrupt("the values of a slot are no set"))
            }
            form @ (FORM_ASCII | FORM_BEYOND_ASCII) => {
                let ascii = [self.u64()?, self.u64()?];
                let mut length = || {
                    u32::try_from(self.varint()?).map_err(|_| corrupt("the length of a text is too large"))
                };
                let (shortest, longest) = (length()?, length()?);
                let beyond_ascii = form == FORM_BEYOND_ASCII;
                Ok(Slot {
                    ascii,
                    beyond_ascii,
                    anything: false,
                    shortest,
                    longest,
                    values: None,
                    words: None,
                })
            }
            _ => Err(corrupt("unknown form of a slot")),
        }
    }

    fn layout(&mut self) -> Result<Layout, TemplateError> {
        let packed = self.varint()?;
        let constant_bytes = u16::try_from(packed >> 2).map_err(|_| corrupt("a constant is too long"))?;
        Ok(Layout { constant_bytes, gap: packed & FLAG_GAP != 0, slot: packed & FLAG_SLOT != 0 })
    }

    /// The constants of `layout`; each must be valid text by itself.
    fn text(&mut self, layout: &[Layout]) -> Result<Box<str>, TemplateError> {
        let mut constants = String::new();
        for part in layout {
            let bytes = self.take(usize::from(part.constant_bytes))?;
            constants.push_str(std::str::from_utf8(bytes).map_err(|_| corrupt("a constant is not UTF-8"))?);
        }
        Ok(constants.into_boxed_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let body = zstd::bulk::compress(payload, ZSTD_LEVEL).expect("small");
        let mut file = [&MAGIC[..], &VERSION.to_le_bytes(), &(payload.len() as u64).to_le_bytes()].concat();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&file), &body);
        file.extend_from_slice(&crc.to_le_bytes());
        file.extend_from_slice(&body);
        file
    }

    /// Whoever can write the file can write the checksum too: the content must be refused or taken, and taken it must work.
    #[test]
    fn content_made_to_hurt_never_panics() {
        let messages = [
            "session closed for user cyrus",
            "session  closed for user é9",
            "sent 9 bytes (2 KB)  now\nat x",
        ];
        let mut miner = Miner::new(MinerConfig::default());
        messages.iter().for_each(|message| {
            miner.assign(message);
        });
        let good = payload(&miner.encode()).expect("just encoded");
        for at in 0..good.len() {
            for change in [1, 2, 0x40, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= change;
                if let Ok(mut miner) = Miner::decode(&sealed(&bad)) {
                    messages.iter().for_each(|message| {
                        miner.assign(message);
                    });
                    miner.encode();
                }
            }
            let _ = Miner::decode(&sealed(&good[..at]));
        }
    }
}
