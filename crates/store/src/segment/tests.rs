//! A Parquet file that is not as it was written, though every checksum agrees: a program with a fault wrote it, or somebody who
//! knows the format. What the library makes of it is an error that names the file, or rows; never a panic.

use std::ops::ControlFlow;

use heimdall_journal::disk::OsDisk;
use heimdall_model::{BatchBuilder, Level, Position};

use super::*;
use crate::fields::FieldSet;
use crate::files::Room;
use crate::pages::{Buffers, Columns};

const ROWS: usize = 120;

struct World {
    dir: tempfile::TempDir,
    files: Arc<Files>,
    meta: SegmentMeta,
    bytes: Vec<u8>,
}

fn world() -> World {
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(0));
    for row in 0..ROWS as u64 {
        builder.set_int(schema::TIMESTAMP, i64::try_from(row).expect("small") * 1_000_003);
        builder.set_text(logs::SERVICE, ["auth", "billing"][usize::from(row % 2 == 0)]);
        builder.set_level(Level::ALL[usize::try_from(row % 6).expect("small")]);
        builder.set_text(
            logs::MESSAGE,
            &format!("connection {} refused after {} ms", row % 97, row * 7 % 1_009),
        );
        builder.set_text(logs::USER_ID, &format!("u{}", row % 31));
        builder.set_bytes(logs::TRACE_ID, &(u128::from(row) * 0x9E37_79B9_7F4A_7C15_F39C).to_be_bytes());
        builder.set_float(logs::DURATION_MS, f64::from(u32::try_from(row).expect("small")) / 8.0);
        builder.set_text(logs::ATTRIBUTES, &format!(r#"{{"status":{}}}"#, 200 + row % 4 * 100));
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(1, 0);
    let positions = (0..ROWS as u64).map(|row| batch.base.0 + row).collect();
    let chunk = Arc::new(Chunk::new(RowBlock::from_batch(batch, positions, vec![0; ROWS])));
    let dir = tempfile::tempdir().expect("a folder");
    let files = Arc::new(Files::new(Arc::new(OsDisk), dir.path(), None, Room::SMALL));
    let table = TableKey { tenant: Tenant::default(), dataset: Dataset::Logs };
    let meta = write_chunks(&files, 1, &table, &[chunk], &[]).expect("writes");
    let bytes = std::fs::read(dir.path().join(meta.parquet_name())).expect("reads");
    World { dir, files, meta, bytes }
}

/// Reads everything of the segment whose file has these bytes, in both ways: rows read, or what was wrong.
fn read(world: &World, bytes: &[u8]) -> Result<usize, StoreError> {
    std::fs::write(world.dir.path().join(world.meta.parquet_name()), bytes).expect("writes");
    let segment = Segment::new(&world.files, world.meta.clone());
    let mut sums = Checksums::of(world.meta.id);
    sums.add(bytes);
    world.files.blocks.put(segment.sidecar.number(), kind::CHECKSUMS, Arc::new(sums), 1);
    segment.footer()?;
    let mut rows = 0;
    for coded in [true, false] {
        let columns = Columns { fields: FieldSet::ALL, positions: true, coded };
        segment.read(
            std::slice::from_ref(&(0..ROWS)),
            columns,
            &Arc::new(Buffers::default()),
            &mut |block, numbers| {
                assert_eq!(block.rows(), numbers.len());
                rows += block.rows();
                ControlFlow::Continue(())
            },
        )?;
    }
    for block in segment.blocks(64)? {
        rows += block?.rows();
    }
    Ok(rows)
}

#[test]
fn a_file_that_is_not_as_written_under_right_checksums_is_an_error_that_names_it_or_rows() {
    let world = world();
    assert_eq!(read(&world, &world.bytes).expect("reads"), 3 * ROWS);
    let len = world.bytes.len();
    let footer_bytes: [u8; 4] = world.bytes[len - 8..len - 4].try_into().expect("four");
    let footer = len - 8 - u32::from_le_bytes(footer_bytes) as usize;
    // Page headers of every column: the first bytes of its first page, and what stands in between is data; page index; footer.
    let segment = Segment::new(&world.files, world.meta.clone());
    let metadata = Arc::clone(segment.footer().expect("reads").plain.metadata());
    let starts: Vec<usize> = metadata
        .row_group(0)
        .columns()
        .iter()
        .map(|column| usize::try_from(column.byte_range().0).expect("small"))
        .collect();
    let headers = starts.iter().flat_map(|start| *start..start + 24);
    let data = (0..footer).step_by(97);
    let (mut refused, mut read_rows) = (0_u32, 0_u32);
    for at in headers.chain(data).chain((footer..len).step_by(2)).filter(|at| *at < len) {
        let bit = at / 2 % 8;
        let mut bytes = world.bytes.clone();
        bytes[at] ^= 1 << bit;
        match read(&world, &bytes) {
            Ok(rows) => {
                assert_eq!(rows, 3 * ROWS, "byte {at}, bit {bit}: all rows, or an error");
                read_rows += 1;
            }
            Err(StoreError::Corrupt { path, .. }) => {
                assert!(
                    path.ends_with(world.meta.parquet_name()),
                    "byte {at}, bit {bit}: {}",
                    path.display()
                );
                refused += 1;
            }
            Err(other) => panic!("byte {at}, bit {bit}: {other}"),
        }
    }
    assert!(refused > 50 && read_rows > 50, "{refused} refused, {read_rows} read");
}

/// A column of another physical type than its logical type allows made the library panic, and the error named no file.
#[test]
fn a_footer_with_a_wrong_type_names_its_file() {
    let world = world();
    let len = world.bytes.len();
    let mut refused = 0;
    // A field of a number in the footer: its head, and the number. Among them are the types of the columns.
    let footer_bytes: [u8; 4] = world.bytes[len - 8..len - 4].try_into().expect("four");
    let footer = len - 8 - u32::from_le_bytes(footer_bytes) as usize;
    let numbers: Vec<usize> = (footer + 1..len - 8).filter(|at| world.bytes[at - 1] == 0x15).collect();
    for at in numbers.into_iter().take(120) {
        for wrong in [0_u8, 6] {
            let mut bytes = world.bytes.clone();
            bytes[at] = wrong;
            if let Err(error) = read(&world, &bytes) {
                let StoreError::Corrupt { path, detail } = error else { panic!("byte {at}: {error}") };
                assert!(path.ends_with(world.meta.parquet_name()), "{detail}");
                refused += 1;
            }
        }
    }
    assert!(refused > 20, "{refused} of them cannot be read");
    // Whatever the library panics at: the same error.
    let segment = Segment::new(&world.files, world.meta.clone());
    let given_up = segment.untrusted::<()>(|| panic!("unexpected physical type"));
    let Err(StoreError::Corrupt { path, detail }) = given_up else { panic!("{given_up:?}") };
    assert!(
        path.ends_with(world.meta.parquet_name()) && detail.ends_with("unexpected physical type"),
        "{detail}"
    );
}
