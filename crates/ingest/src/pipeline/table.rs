//! Tables that records are enriched from: CSV by key or by network, and MaxMind databases.
//!
//! Invariants:
//! - a table is a file of the pipelines folder: its name leads nowhere else;
//! - a table has at most [`ROWS_MAX`] rows and [`BYTES_MAX`] bytes; a larger one does not load, and its pipeline neither.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use parking_lot::Mutex;

/// Largest table file.
pub(crate) const BYTES_MAX: u64 = 128 << 20;
/// Most rows of a CSV table.
pub(crate) const ROWS_MAX: usize = 1_000_000;
/// Most tables.
const TABLES_MAX: usize = 64;

/// How a CSV table is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum KeyColumn {
    /// The value of this column, without regard to case; the first column when it has no name.
    Key(Option<String>),
    /// The network in this column that holds the address, the smallest one.
    Network(String),
}

/// A table in memory.
#[derive(Debug)]
pub(crate) enum Table {
    Key { columns: Vec<String>, rows: HashMap<String, Vec<String>> },
    Network { columns: Vec<String>, v4: Prefixes, v6: Prefixes },
    Mmdb(Box<maxminddb::Reader<Vec<u8>>>),
}

/// Rows by network: one map for each length of prefix, longest first.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    by_length: Vec<(u8, HashMap<u128, Vec<String>>)>,
}

impl Prefixes {
    fn insert(&mut self, network: IpNet, row: Vec<String>) {
        let length = network.prefix_len();
        let bits = bits(network.network());
        let at = self.by_length.partition_point(|(other, _)| *other > length);
        if self.by_length.get(at).is_none_or(|(other, _)| *other != length) {
            self.by_length.insert(at, (length, HashMap::new()));
        }
        self.by_length[at].1.insert(bits, row);
    }

    fn find(&self, address: IpAddr) -> Option<&Vec<String>> {
        let width: u8 = if address.is_ipv4() { 32 } else { 128 };
        let address = bits(address);
        self.by_length.iter().find_map(|(length, rows)| {
            let host = u32::from(width - length);
            let mask = if host >= 128 { 0 } else { u128::MAX << host };
            rows.get(&(address & mask))
        })
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl Table {
    fn read(path: &Path, key: &KeyColumn) -> Result<Table, String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        if path.extension().is_some_and(|extension| extension == "mmdb") {
            let reader = maxminddb::Reader::from_source(bytes).map_err(|error| error.to_string())?;
            return Ok(Table::Mmdb(Box::new(reader)));
        }
        Table::csv(&bytes, key)
    }

    fn csv(bytes: &[u8], key: &KeyColumn) -> Result<Table, String> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let columns: Vec<String> =
            reader.headers().map_err(|error| error.to_string())?.iter().map(str::to_owned).collect();
        let at = |name: &String| {
            let found = columns.iter().position(|column| column == name);
            found.ok_or_else(|| format!("it has no column `{name}`; it has {}", columns.join(", ")))
        };
        let index = match key {
            KeyColumn::Key(None) => 0,
            KeyColumn::Key(Some(name)) | KeyColumn::Network(name) => at(name)?,
        };
        let mut rows = HashMap::new();
        let (mut v4, mut v6) = (Prefixes::default(), Prefixes::default());
        for (n, row) in reader.records().enumerate() {
            let row = row.map_err(|error| error.to_string())?;
            if n == ROWS_MAX {
                return Err(format!("it has more than {ROWS_MAX} rows"));
            }
            let Some(name) = row.get(index) else { return Err(format!("row {} is empty", n + 1)) };
            let cells: Vec<String> = row.iter().map(str::to_owned).collect();
            match key {
                KeyColumn::Key(_) => {
                    rows.insert(name.to_lowercase(), cells);
                }
                KeyColumn::Network(_) => {
                    let network: Option<IpNet> =
                        name.parse().ok().or_else(|| name.parse::<IpAddr>().ok().map(IpNet::from));
                    let network = network.ok_or_else(|| format!("row {}: `{name}` is no network", n + 1))?;
                    if network.addr().is_ipv4() {
                        v4.insert(network, cells)
                    } else {
                        v6.insert(network, cells)
                    }
                }
            }
        }
        Ok(match key {
            KeyColumn::Key(_) => Table::Key { columns, rows },
            KeyColumn::Network(_) => Table::Network { columns, v4, v6 },
        })
    }

    /// Names of the columns; none are known of a database.
    pub(crate) fn columns(&self) -> Option<&[String]> {
        match self {
            Table::Key { columns, .. } | Table::Network { columns, .. } => Some(columns),
            Table::Mmdb(_) => None,
        }
    }

    /// The values of columns (of a database: paths such as `country.iso_code`) for a key, each with its index in `wanted`.
    ///
    /// # Errors
    /// The key is no address where one is needed. A key that is not there is `Ok(None)`.
    pub(crate) fn find(
        &self,
        key: &str,
        wanted: &[String],
    ) -> Result<Option<Vec<(usize, serde_json::Value)>>, &'static str> {
        let cells = |columns: &[String], row: &Vec<String>| {
            let cell = |(n, name): (usize, &String)| {
                let at = columns.iter().position(|column| column == name)?;
                let cell = row.get(at).filter(|cell| !cell.is_empty())?;
                Some((n, serde_json::Value::from(cell.as_str())))
            };
            wanted.iter().enumerate().filter_map(cell).collect()
        };
        let address = || {
            key.trim().parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| "is no address")
        };
        match self {
            Table::Key { columns, rows } => Ok(rows.get(&key.to_lowercase()).map(|row| cells(columns, row))),
            Table::Network { columns, v4, v6 } => {
                let address = address()?;
                let networks = if address.is_ipv4() { v4 } else { v6 };
                Ok(networks.find(address).map(|row| cells(columns, row)))
            }
            Table::Mmdb(reader) => {
                let found = reader.lookup(address()?).map_err(|_| "cannot be looked up in the database")?;
                let record: Option<serde_json::Value> =
                    found.decode().map_err(|_| "has a record that cannot be read")?;
                Ok(record.map(|record| {
                    let pointer = |path: &String| format!("/{}", path.replace('.', "/"));
                    let value = |(n, path)| Some((n, record.pointer(&pointer(path))?.clone()));
                    wanted.iter().enumerate().filter_map(value).collect()
                }))
            }
        }
    }
}

/// Tables that are in memory, each read once for as long as its file stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    dir: Option<PathBuf>,
    kept: Mutex<HashMap<(PathBuf, KeyColumn), Kept>>,
}

#[derive(Debug)]
struct Kept {
    changed: Option<SystemTime>,
    bytes: u64,
    table: Arc<Table>,
}

impl Tables {
    pub(crate) fn new(dir: Option<PathBuf>) -> Tables {
        Tables { dir, kept: Mutex::default() }
    }

    /// The table in a file of the folder.
    pub(crate) fn get(&self, name: &str, key: KeyColumn) -> Result<Arc<Table>, String> {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || !inside {
            return Err(format!("table `{name}`: a table is a file in the pipelines folder"));
        }
        let dir =
            self.dir.as_deref().ok_or_else(|| format!("table `{name}`: there is no pipelines folder"))?;
        let path = dir.join(name);
        let about = std::fs::metadata(&path).map_err(|error| format!("table `{name}`: {error}"))?;
        if about.len() > BYTES_MAX {
            return Err(format!("table `{name}` is larger than {} MiB", BYTES_MAX >> 20));
        }
        let (changed, bytes) = (about.modified().ok(), about.len());
        let mut kept = self.kept.lock();
        let place = (path.clone(), key.clone());
        if let Some(same) = kept.get(&place).filter(|kept| kept.changed == changed && kept.bytes == bytes) {
            return Ok(Arc::clone(&same.table));
        }
        let table = Arc::new(Table::read(&path, &key).map_err(|error| format!("table `{name}`: {error}"))?);
        if kept.len() >= TABLES_MAX && !kept.contains_key(&place) {
            // Those only the cache holds are of no pipeline any more.
            kept.retain(|_, kept| Arc::strong_count(&kept.table) > 1);
            if kept.len() >= TABLES_MAX {
                return Err(format!("there are more than {TABLES_MAX} tables"));
            }
        }
        kept.insert(place, Kept { changed, bytes, table: Arc::clone(&table) });
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn rows_are_found_by_key_and_by_the_smallest_network() {
        let table = Table::csv(b"id,team\nPay,blue\n", &KeyColumn::Key(None)).expect("a table");
        assert_eq!(table.find("PAY", &wanted(&["x", "team"])), Ok(Some(vec![(1, "blue".into())])));
        assert_eq!(table.find("other", &wanted(&["team"])), Ok(None));
        let text =
            b"net,zone\n10.0.0.0/8,all\n10.1.0.0/16,dmz\n10.1.2.3,host\n0.0.0.0/0,world\n2001:db8::/32,doc\n";
        let table = Table::csv(text, &KeyColumn::Network("net".to_owned())).expect("a table");
        let zone = |address: &str| {
            let found = table.find(address, &wanted(&["zone"])).expect("an address");
            found.map(|found| found[0].1.as_str().expect("text").to_owned())
        };
        assert_eq!(zone("10.1.2.3").as_deref(), Some("host"));
        assert_eq!(zone("10.1.9.9").as_deref(), Some("dmz"));
        assert_eq!(zone("10.9.9.9").as_deref(), Some("all"));
        assert_eq!(zone("::ffff:10.9.9.9").as_deref(), Some("all"));
        assert_eq!(zone("8.8.8.8").as_deref(), Some("world"));
        assert_eq!(zone("2001:db8::1").as_deref(), Some("doc"));
        assert_eq!(zone("2002::1"), None);
        assert_eq!(table.find("x", &wanted(&["zone"])), Err("is no address"));
        assert!(Table::csv(text, &KeyColumn::Key(Some("nothing".to_owned()))).is_err());
        assert!(Table::csv(b"a\nx\n", &KeyColumn::Network("a".to_owned())).is_err());
    }

    #[test]
    fn a_table_is_a_file_of_the_folder_and_read_again_when_it_changes() {
        let dir = tempfile::tempdir().expect("a folder");
        let tables = Tables::new(Some(dir.path().to_owned()));
        for name in ["../x.csv", "/etc/passwd", "", "a/../../x"] {
            assert!(
                tables.get(name, KeyColumn::Key(None)).expect_err("outside").contains("pipelines folder"),
                "{name}"
            );
        }
        std::fs::write(dir.path().join("t.csv"), "a,b\n1,2\n").expect("written");
        let first = tables.get("t.csv", KeyColumn::Key(None)).expect("a table");
        assert!(Arc::ptr_eq(&first, &tables.get("t.csv", KeyColumn::Key(None)).expect("a table")));
        std::fs::write(dir.path().join("t.csv"), "a,b\n1,2\n3,4\n").expect("written");
        let second = tables.get("t.csv", KeyColumn::Key(None)).expect("a table");
        assert_eq!(second.find("3", &wanted(&["b"])), Ok(Some(vec![(0, "4".into())])));
        std::fs::write(dir.path().join("g.mmdb"), "no database").expect("written");
        assert!(tables.get("g.mmdb", KeyColumn::Key(None)).is_err());
    }
}
