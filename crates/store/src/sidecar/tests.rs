use super::*;
use crate::files::{Files, Room};
use heimdall_journal::disk::{Disk, ForgetfulDisk};
use proptest::prelude::*;
use runs::{Run, Zone};
use std::path::Path;

const ROWS: u64 = 12;
const CELLS: u32 = 1_000;

fn runs() -> RunDirectory {
    let runs = vec![
        Run { service: 0, template: 3, rows: 0..10 },
        Run { service: 1, template: 1, rows: 10..11 },
        Run { service: u32::MAX, template: 0, rows: 11..12 },
    ];
    RunDirectory { services: vec!["a".into(), "größe".into()], runs }
}

fn zones() -> Zones {
    Zones(vec![Zone { min_ns: -5, max_ns: 9, levels: 0b1001 }])
}

fn counts() -> Vec<u8> {
    (0..200_u8).map(|n| n / 3).collect()
}

fn content() -> Vec<u8> {
    (0..10_000_u32).flat_map(u32::to_le_bytes).take(9 * CELL_DATA_BYTES).collect()
}

fn bytes() -> Vec<u8> {
    let mut writer = SidecarWriter::default();
    writer.put(&runs());
    let data = content();
    let cells = data.chunks(CELL_DATA_BYTES).flat_map(|data| {
        let mut cell = data.to_vec();
        cell.resize(CELL_BYTES, 0);
        cell
    });
    writer.put_cells(CELLS, cells.collect());
    writer.put(&zones());
    writer.put_bytes(kind::HOUR_COUNTS, &counts());
    writer.finish()
}

/// A sidecar of these bytes, of which the manifest says `len`.
fn open(bytes: &[u8], len: usize) -> SidecarFile {
    let disk: Arc<dyn Disk> = Arc::new(ForgetfulDisk::default());
    disk.create_dir_all(Path::new("/s")).expect("creates");
    let path = Path::new("/s/x.hidx");
    crate::segment::write_whole(disk.as_ref(), path, bytes).expect("writes");
    let files = Arc::new(Files::new(disk, Path::new("/s"), None, Room::SMALL));
    let file = files.file("x.hidx".to_owned(), len as u64, &crate::aside::Aside::default());
    SidecarFile::new(file, ROWS, &files.blocks)
}

/// Everything a sidecar says, as text.
fn read(sidecar: &SidecarFile) -> Result<String, StoreError> {
    let mut data = Vec::new();
    let cells = sidecar.cells(CELLS)?.ok_or_else(|| sidecar.corrupt(0, &"no cells"))?;
    for number in 0..u32::try_from(cells.content_bytes().div_ceil(CELL_DATA_BYTES)).expect("few") {
        data.extend_from_slice(cells.read(number, &mut [0; CELL_BYTES])?);
    }
    let counts = sidecar.bytes(kind::HOUR_COUNTS)?.ok_or_else(|| sidecar.corrupt(0, &"no counts"))?;
    Ok(format!("{:?} {:?} {counts:?} {data:?}", sidecar.runs()?, sidecar.zones()?))
}

#[test]
fn blocks_are_read_when_needed_and_kept() {
    let bytes = bytes();
    let sidecar = open(&bytes, bytes.len());
    assert_eq!(sidecar.bytes_read(), 0);
    assert_eq!(*sidecar.zones().expect("reads"), zones());
    let after_zones = sidecar.bytes_read();
    assert!(after_zones < DIRECTORY_BYTES_MAX as u64 + 64, "{after_zones}");
    assert_eq!(*sidecar.zones().expect("reads"), zones());
    assert_eq!(sidecar.bytes_read(), after_zones);
    assert_eq!(*sidecar.runs().expect("reads"), runs());
    let cells = sidecar.cells(CELLS).expect("reads").expect("is there");
    let before = sidecar.bytes_read();
    let mut buffer = [0; CELL_BYTES];
    let data = cells.read(3, &mut buffer).expect("reads");
    assert_eq!(data, &content()[3 * CELL_DATA_BYTES..4 * CELL_DATA_BYTES]);
    assert_eq!(sidecar.bytes_read() - before, CELL_BYTES as u64);
    assert!(sidecar.cells(77).expect("reads").is_none());
}

#[test]
fn damage_names_file_and_byte() {
    let mut bytes = bytes();
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    let error = open(&bytes, bytes.len()).bytes(kind::HOUR_COUNTS).expect_err("damaged").to_string();
    assert!(error.starts_with("`/s/x.hidx` is corrupt: at byte "), "{error}");
    assert!(error.ends_with("block of kind 10: checksum differs"), "{error}");
}

#[test]
fn a_block_that_does_not_fit_the_segment_is_refused() {
    let mut writer = SidecarWriter::default();
    writer.put(&Zones(Vec::new()));
    writer.put(&RunDirectory {
        services: Vec::new(),
        runs: vec![Run { service: 0, template: 0, rows: 0..12 }],
    });
    let bytes = writer.finish();
    let sidecar = open(&bytes, bytes.len());
    assert!(sidecar.zones().expect_err("no zone").to_string().contains("one zone per page"));
    assert!(sidecar.runs().expect_err("no such service").to_string().contains("unknown service"));
    assert_eq!(sidecar.bytes(kind::HOUR_COUNTS).expect("reads"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn a_damaged_file_is_an_error_or_the_same_answer(
        flips in proptest::collection::vec((0usize..100_000, 0u8..8), 1..4),
        cut in proptest::option::of(0usize..100_000),
        is_known_cut in any::<bool>(),
    ) {
        let whole = bytes();
        let mut damaged = whole.clone();
        for (at, bit) in flips {
            let at = at % damaged.len();
            damaged[at] ^= 1 << bit;
        }
        damaged.truncate(cut.map_or(damaged.len(), |cut| cut % damaged.len()));
        let len = if is_known_cut { damaged.len() } else { whole.len() };
        match read(&open(&damaged, len)) {
            Ok(answer) => prop_assert_eq!(answer, read(&open(&whole, whole.len())).expect("whole")),
            Err(error) => prop_assert!(error.to_string().contains("/x.hidx"), "{}", error),
        }
    }
}
