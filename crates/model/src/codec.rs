//! Bytes of a [`Batch`]: the payload of a journal frame. Format: docs/formats/batch.md.
//!
//! Invariant: `decode(encode(batch))` is the batch; any other bytes are an error naming the byte, never a panic.

use crate::batch::{Batch, Column, FixedColumn, Primitive, TextColumn, Validity};
use crate::id::FRAME_ROWS_MAX;
use crate::schema::{Dataset, FieldType};
use crate::{Tenant, Timestamp};

const VERSION: u8 = 1;
const HAS_NULLS: u8 = 1;

/// Bytes that are not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("batch is corrupt at byte {offset}: {detail}")]
pub struct CodecError {
    /// Where reading stopped.
    pub offset: usize,
    /// What was wrong there.
    pub detail: &'static str,
}

/// Writes a batch and its owner.
#[must_use]
pub fn encode(tenant: &Tenant, batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + batch.byte_size());
    let columns: Vec<_> =
        (0_u8..).zip(batch.columns()).filter_map(|(code, column)| Some((code, column.as_ref()?))).collect();
    out.push(VERSION);
    out.push(batch.dataset.code());
    put_len(&mut out, tenant.as_str().len());
    out.extend_from_slice(tenant.as_str().as_bytes());
    out.extend_from_slice(&batch.observed.0.to_le_bytes());
    put_len(&mut out, batch.rows());
    put_len(&mut out, columns.len());
    for (code, column) in columns {
        encode_column(code, column, &mut out);
    }
    out
}

fn encode_column(code: u8, column: &Column, out: &mut Vec<u8>) {
    out.push(code);
    match column.validity().bits() {
        Some(bits) => {
            out.push(HAS_NULLS);
            out.extend_from_slice(bits);
        }
        None => out.push(0),
    }
    match column {
        Column::Int(column) => column.values.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        Column::Float(column) => column.values.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Column::Byte(column) => out.extend_from_slice(&column.values),
        Column::Fixed(column) => out.extend_from_slice(&column.data),
        Column::Text(column) => {
            let mut start = 0;
            for end in &column.ends {
                put_len(out, (end - start) as usize);
                start = *end;
            }
            out.extend_from_slice(column.data.as_bytes());
        }
    }
}

/// LEB128.
fn put_len(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).expect("seven bits") | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).expect("below 0x80"));
}

/// Reads a batch and its owner.
///
/// # Errors
/// [`CodecError`] when the bytes are not exactly one batch.
pub fn decode(bytes: &[u8]) -> Result<(Tenant, Batch), CodecError> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.byte()? != VERSION {
        return Err(reader.fail("unknown version"));
    }
    let dataset = Dataset::from_code(reader.byte()?).ok_or_else(|| reader.fail("unknown dataset"))?;
    let name_len = reader.len()?;
    let name = reader.text(name_len)?;
    let tenant = Tenant::new(&name).map_err(|_| reader.fail("bad tenant name"))?;
    let observed = Timestamp(i64::from_le_bytes(reader.array()?));
    let rows = reader.len()?;
    if rows > FRAME_ROWS_MAX {
        return Err(reader.fail("too many rows"));
    }
    let mut columns: Vec<Option<Column>> = dataset.fields().iter().map(|_| None).collect();
    for _ in 0..reader.len()? {
        let code = usize::from(reader.byte()?);
        let field = dataset.fields().get(code).ok_or_else(|| reader.fail("unknown field"))?;
        columns[code] = Some(reader.column(field.ty, rows)?);
    }
    if reader.at != bytes.len() {
        return Err(reader.fail("bytes after the last column"));
    }
    Ok((tenant, Batch::from_columns(dataset, observed, rows, columns)))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn fail(&self, detail: &'static str) -> CodecError {
        CodecError { offset: self.at, detail }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.fail("bytes end early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        Ok(self.take(N)?.try_into().expect("exactly N bytes were taken"))
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.take(1)?[0])
    }

    fn len(&mut self) -> Result<usize, CodecError> {
        let mut n = 0_usize;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            n |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(self.fail("length is too long"))
    }

    fn text(&mut self, len: usize) -> Result<String, CodecError> {
        let bytes = self.take(len)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.fail("text is not UTF-8"))
    }

    fn values<const N: usize, T>(
        &mut self,
        rows: usize,
        read: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, CodecError> {
        let bytes = self.take(rows * N)?;
        Ok(bytes.chunks_exact(N).map(|chunk| read(chunk.try_into().expect("exact chunks"))).collect())
    }

    fn validity(&mut self, rows: usize) -> Result<Validity, CodecError> {
        let bits = match self.byte()? {
            0 => None,
            HAS_NULLS => Some(self.take(rows.div_ceil(8))?.to_vec()),
            _ => return Err(self.fail("unknown column flag")),
        };
        Ok(Validity::from_bits(bits, rows))
    }

    fn column(&mut self, ty: FieldType, rows: usize) -> Result<Column, CodecError> {
        let validity = self.validity(rows)?;
        Ok(match ty {
            FieldType::Time | FieldType::Int => {
                Column::Int(Primitive { values: self.values(rows, i64::from_le_bytes)?, validity })
            }
            FieldType::Float => {
                Column::Float(Primitive { values: self.values(rows, f64::from_le_bytes)?, validity })
            }
            FieldType::Level => Column::Byte(Primitive { values: self.take(rows)?.to_vec(), validity }),
            FieldType::Id16 => self.fixed(16, rows, validity)?,
            FieldType::Id8 => self.fixed(8, rows, validity)?,
            FieldType::Text | FieldType::Json => self.texts(rows, validity)?,
        })
    }

    fn fixed(&mut self, width: usize, rows: usize, validity: Validity) -> Result<Column, CodecError> {
        let data = self.take(rows * width)?.to_vec();
        Ok(Column::Fixed(FixedColumn { width, data, validity }))
    }

    fn texts(&mut self, rows: usize, validity: Validity) -> Result<Column, CodecError> {
        if rows > self.bytes.len() - self.at {
            return Err(self.fail("bytes end early"));
        }
        let mut ends = Vec::with_capacity(rows);
        let mut total = 0_usize;
        for _ in 0..rows {
            total += self.len()?;
            ends.push(u32::try_from(total).map_err(|_| self.fail("texts are too long"))?);
        }
        let data = self.text(total)?;
        if ends.iter().any(|end| !data.is_char_boundary(*end as usize)) {
            return Err(self.fail("text ends inside a character"));
        }
        Ok(Column::Text(TextColumn { ends, data, validity }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn round_trip_keeps_every_column() {
        let batch = crate::batch::tests::sample();
        let tenant = Tenant::new("team-a").expect("a name");
        assert_eq!(decode(&encode(&tenant, &batch)), Ok((tenant, batch)));
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_an_error_or_a_batch_never_a_panic(cut in 0usize..400, at in 0usize..400, bit in 0u8..8) {
            let bytes = encode(&Tenant::default(), &crate::batch::tests::sample());
            prop_assert!(decode(&bytes[..cut.min(bytes.len() - 1)]).is_err());
            let mut flipped = bytes.clone();
            let at = at % flipped.len();
            flipped[at] ^= 1 << bit;
            if let Ok((_, batch)) = decode(&flipped) {
                for row in batch.iter() {
                    let _ = row.to_json();
                }
            }
        }
    }
}
