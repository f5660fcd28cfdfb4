use std::fs::{self, OpenOptions};
use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

/// A folder, a tailer on `log` in it, and what was kept so far: records and marks together, as the buffer does.
struct Desk {
    dir: tempfile::TempDir,
    config: TailConfig,
    tailer: Tailer,
    now: i64,
    messages: Vec<String>,
    marks: Marks,
}

impl Desk {
    fn new(change: impl FnOnce(&mut TailConfig)) -> Desk {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log").display().to_string();
        let mut config =
            TailConfig { paths: vec![path], format: "plain".to_owned(), ..TailConfig::default() };
        change(&mut config);
        let tailer = Tailer::new(config.clone(), &Marks::new()).unwrap();
        Desk { dir, config, tailer, now: SECOND, messages: Vec::new(), marks: Marks::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    /// Reads what is there and keeps it: until nothing came for a few seconds, which ends what waits for more lines.
    fn keep(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            self.now += 2 * SECOND;
            let gathered = self.tailer.poll(Timestamp(self.now));
            quiet = if gathered.more || gathered.batch.is_some() { 0 } else { quiet + 1 };
            self.take(gathered);
        }
    }

    fn take(&mut self, gathered: Gathered) {
        for row in gathered.batch.iter().flat_map(Batch::iter) {
            self.messages.push(row.text(logs::MESSAGE).unwrap_or_default().to_owned());
        }
        for (source, mark) in gathered.marks {
            match mark {
                Mark::Gone => drop(self.marks.remove(&source)),
                mark => drop(self.marks.insert(source, mark)),
            }
        }
    }

    /// The process ends at once after a poll that was not kept, and a new one begins from what was.
    fn crash(&mut self) {
        self.now += 2 * SECOND;
        drop(self.tailer.poll(Timestamp(self.now)));
        self.tailer = Tailer::new(self.config.clone(), &self.marks).unwrap();
    }

    fn lines(&self) -> Vec<&str> {
        self.messages.iter().flat_map(|message| message.lines()).collect()
    }
}

#[test]
fn lines_are_read_once_and_a_line_without_its_end_waits() {
    let mut desk = Desk::new(|_| {});
    desk.write("log", "one\ntwo\nthr");
    desk.keep();
    assert_eq!(desk.lines(), ["one", "two"]);
    desk.write("log", "ee\r\n\nfour\n");
    desk.keep();
    assert_eq!(desk.lines(), ["one", "two", "three", "four"]);
    assert_eq!(desk.tailer.counts().lines, 5);
}

#[test]
fn a_record_has_time_level_path_and_service() {
    let mut desk = Desk::new(|config| config.format = "logfmt".to_owned());
    desk.write("log", "time=2026-02-09T20:25:01Z level=warn msg=slow shard=3\n");
    let batch = desk.tailer.poll(Timestamp(5)).batch.unwrap();
    let row = batch.row(0);
    assert_eq!(row.timestamp().to_string(), "2026-02-09T20:25:01.000000000Z");
    assert_eq!((row.level(), row.service()), (Some(heimdall_model::Level::Warn), Some("log")));
    assert!(row.attributes().unwrap().contains(desk.path("log").to_str().unwrap()));
    assert!(row.attributes().unwrap().contains(r#""shard":3"#), "{:?}", row.attributes());
}

#[test]
fn rotation_by_rename_reads_the_old_file_to_its_end_and_the_new_one_from_its_beginning() {
    let mut desk = Desk::new(|_| {});
    desk.write("log", "a1\na2\n");
    desk.keep();
    fs::rename(desk.path("log"), desk.path("log.1")).unwrap();
    desk.write("log.1", "a3, written after the rename\n");
    desk.write("log", "b1\n");
    desk.keep();
    let mut lines = desk.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["a1", "a2", "a3, written after the rename", "b1"]);
    assert_eq!(desk.tailer.counts().rotations, 1);
}

#[test]
fn a_file_renamed_while_nobody_looked_is_read_on() {
    let mut desk = Desk::new(|_| {});
    desk.write("log", "a1\n");
    desk.keep();
    desk.write("log", "a2\n");
    fs::rename(desk.path("log"), desk.path("log.1")).unwrap();
    desk.write("log", "b1\n");
    desk.tailer = Tailer::new(desk.config.clone(), &desk.marks).unwrap();
    desk.keep();
    let mut lines = desk.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["a1", "a2", "b1"]);
}

#[test]
fn truncation_in_place_begins_again_also_when_the_file_has_grown_past_the_old_place() {
    let mut desk = Desk::new(|_| {});
    desk.write("log", "a1\na2\n");
    desk.keep();
    fs::write(desk.path("log"), "b1\nb2\nb3, longer than before\n").unwrap();
    desk.keep();
    fs::write(desk.path("log"), "c1\n").unwrap();
    desk.keep();
    assert_eq!(desk.lines(), ["a1", "a2", "b1", "b2", "b3, longer than before", "c1"]);
    assert_eq!(desk.tailer.counts().truncations, 2);
}

#[test]
fn an_inode_given_to_another_file_is_not_read_from_the_old_place() {
    let mut desk = Desk::new(|_| {});
    desk.write("log", "a1\na2\n");
    desk.keep();
    let other = Mark::File(FileMark { path: desk.path("log"), offset: 3, head_len: 3, head: 1, last: 1 });
    let marks = desk.marks.keys().map(|source| (source.clone(), other.clone())).collect();
    desk.messages.clear();
    desk.tailer = Tailer::new(desk.config.clone(), &marks).unwrap();
    desk.keep();
    assert_eq!(desk.lines(), ["a1", "a2"]);
}

#[test]
fn stack_traces_and_own_rules_join_lines() {
    let mut desk = Desk::new(|_| {});
    desk.write("log", "ERROR x\n  at a.B\nCaused by: y\nINFO z\n");
    desk.keep();
    assert_eq!(desk.messages, ["ERROR x\n  at a.B\nCaused by: y", "INFO z"]);
    let mut desk = Desk::new(|config| config.record_start = Some("^#".to_owned()));
    desk.write("log", "#1\nmore\n#2\n");
    desk.keep();
    assert_eq!(desk.messages, ["#1\nmore", "#2"]);
}

#[test]
fn long_lines_are_cut_and_foreign_bytes_replaced_and_both_are_counted() {
    let mut desk = Desk::new(|config| config.line_bytes_max = 256);
    desk.write("log", format!("{}\nnext\n", "x".repeat(100_000)));
    desk.write("log", b"caf\xe9\n");
    desk.keep();
    let counts = desk.tailer.counts();
    assert_eq!(desk.messages.iter().map(String::len).collect::<Vec<_>>(), [256, 4, 6]);
    assert_eq!((counts.lines_cut, counts.bytes_cut, counts.lines_not_utf8), (1, 100_000 - 256, 1));
}

#[test]
fn json_lines_keep_their_fields_and_what_is_none_is_a_message() {
    let mut desk = Desk::new(|config| config.format = "auto".to_owned());
    desk.write(
        "log",
        "{\"level\":\"error\",\"msg\":\"boom\",\"n\":12345678901234567890}\n{}\nPanic: not JSON\n",
    );
    let batch = desk.tailer.poll(Timestamp(5)).batch.unwrap();
    assert_eq!(batch.rows(), 3);
    assert_eq!(batch.row(0).text(logs::MESSAGE), Some("boom"));
    assert!(
        batch.row(0).attributes().unwrap().contains("12345678901234567890"),
        "{:?}",
        batch.row(0).attributes()
    );
    assert_eq!(batch.row(2).text(logs::MESSAGE), Some("Panic: not JSON"));
    assert_eq!(desk.tailer.counts().lines_not_of_format, 1);
    let many: Vec<String> = (0..1_500).map(|n| format!("\"k{n}\":{n}")).collect();
    desk.write("log", format!("{{{}}}\n", many.join(",")));
    desk.keep();
    assert!(desk.messages[0].contains("\"k1499\":1499"), "a record beyond a limit is kept whole");
}

#[test]
fn an_old_file_can_be_left_as_it_is_and_new_ones_are_read_whole() {
    let mut desk = Desk::new(|config| config.start_at = StartAt::End);
    desk.config.paths = vec![desk.path("*").display().to_string()];
    desk.tailer = Tailer::new(desk.config.clone(), &Marks::new()).unwrap();
    desk.write("old", "o1\no2 has no e");
    desk.keep();
    desk.write("old", "nd\no3\n");
    desk.write("new", "n1\n");
    desk.write("new.gz", "packed\n");
    desk.keep();
    let mut lines = desk.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["n1", "o2 has no end", "o3"]);
}

#[test]
fn more_than_a_batch_comes_in_batches_and_no_file_starves() {
    let mut desk = Desk::new(|_| {});
    desk.config.paths = vec![desk.path("*").display().to_string()];
    desk.tailer = Tailer::new(desk.config.clone(), &Marks::new()).unwrap();
    let lines: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
    desk.write("a", &lines);
    desk.write("b", "b1\n");
    let first = desk.tailer.poll(Timestamp(5));
    assert!(first.more);
    assert!(first.batch.as_ref().is_some_and(|batch| batch.byte_size() < 16 * BLOCK_BYTES_MAX));
    desk.take(first);
    for n in 1..4 {
        let next = desk.tailer.poll(Timestamp(n * SECOND));
        desk.take(next);
    }
    assert!(desk.lines().contains(&"b1"), "the other file had its turn");
    assert!(desk.lines().len() < 200_000, "while the first is not at its end");
    desk.keep();
    assert_eq!(desk.lines().len(), 200_001);
}

#[test]
fn too_many_files_are_left_out_and_counted() {
    let mut desk = Desk::new(|config| config.files_max = 2);
    desk.config.paths = vec![desk.path("*").display().to_string()];
    desk.tailer = Tailer::new(desk.config.clone(), &Marks::new()).unwrap();
    ["a", "b", "c"].iter().for_each(|name| desk.write(name, "x\n"));
    desk.keep();
    let counts = desk.tailer.counts();
    assert_eq!((counts.files, counts.files_left_out, desk.lines().len()), (2, 1, 2));
}

#[derive(Debug, Clone)]
enum Step {
    /// Writes lines, the last one perhaps without its end.
    Write {
        lines: u8,
        continued: bool,
        ended: bool,
    },
    Keep,
    /// The file gets another name, and a new one begins.
    Rotate,
    /// The file is emptied in place.
    Truncate,
    /// The process ends between reading and keeping.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6_u8, any::<bool>(), any::<bool>())
            .prop_map(|(lines, continued, ended)| Step::Write { lines, continued, ended }),
        3 => Just(Step::Keep),
        1 => Just(Step::Rotate),
        1 => Just(Step::Truncate),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happens to file and process, every line is kept exactly once.
    #[test]
    fn every_line_is_kept_exactly_once(steps in prop::collection::vec(step(), 1..30)) {
        let mut desk = Desk::new(|_| {});
        let (mut written, mut open, mut rotated) = (Vec::new(), String::new(), 0);
        for step in steps {
            match step {
                Step::Write { lines, continued, ended } => {
                    for n in 0..lines {
                        let text = format!("line {} of the log{}", written.len(), "!".repeat(usize::from(n) * 40));
                        let text = if continued && open.is_empty() { format!("  {text}") } else { text };
                        desk.write("log", &text);
                        open.push_str(&text);
                        if n + 1 < lines || ended {
                            desk.write("log", "\n");
                            written.push(std::mem::take(&mut open));
                        }
                    }
                }
                Step::Keep => desk.keep(),
                // What is in the file must be kept before it goes: a reader cannot bring back what is gone.
                Step::Rotate | Step::Truncate => {
                    if !open.is_empty() {
                        desk.write("log", "\n");
                        written.push(std::mem::take(&mut open));
                    }
                    desk.keep();
                    if matches!(step, Step::Truncate) {
                        fs::write(desk.path("log"), "").unwrap();
                    } else if desk.path("log").exists() {
                        rotated += 1;
                        fs::rename(desk.path("log"), desk.path(&format!("log.{rotated}"))).unwrap();
                    }
                }
                Step::Crash => desk.crash(),
            }
        }
        if !open.is_empty() {
            desk.write("log", "\n");
            written.push(open);
        }
        desk.keep();
        prop_assert_eq!(desk.lines(), written);
    }
}
