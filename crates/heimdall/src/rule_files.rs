//! Where rules come from: the ones built in, and a folder of the operator's.
//!
//! Invariant: a file or rule that cannot be used is named; the others work.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use heimdall_api::compile_rules;
use heimdall_detect::{RuleError, RuleFile, RuleSet};

/// The rules of the `rules/` folder, by file name.
const BUILT_IN: &[(&str, &str)] = &[
    ("auth.yaml", include_str!("../../../rules/auth.yaml")),
    ("host.yaml", include_str!("../../../rules/host.yaml")),
    ("service.yaml", include_str!("../../../rules/service.yaml")),
    ("web.yaml", include_str!("../../../rules/web.yaml")),
    ("windows.yaml", include_str!("../../../rules/windows.yaml")),
];
/// Most rule files read from a folder and the folders in it: three times what the Sigma community has.
const FILES_MAX: usize = 10_000;
/// Folders within folders that are searched.
const DEPTH_MAX: usize = 16;

/// Rule files as they were read.
pub(crate) type Files = Vec<(String, String)>;

/// What tells whether a folder changed: its files with their lengths and times.
pub(crate) type Fingerprint = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// The rules that come with the program.
pub(crate) fn built_in() -> Files {
    BUILT_IN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Whether a file is one of those.
pub(crate) fn is_built_in(file: &str) -> bool {
    BUILT_IN.iter().any(|(name, _)| *name == file)
}

/// Compiles rule files; conditions are search lines.
pub(crate) fn parse(files: &Files) -> (RuleSet, Vec<RuleError>) {
    let files: Vec<RuleFile> = files.iter().map(|(name, text)| RuleFile::shared(name, text)).collect();
    compile_rules(&files)
}

/// Reads the given files, and the `.yaml` and `.yml` files of the given folders and the folders in them.
pub(crate) fn read(paths: &[PathBuf]) -> std::io::Result<Files> {
    let mut files = Files::new();
    for path in paths.iter().flat_map(|path| expand(path)) {
        files.push((path.display().to_string(), std::fs::read_to_string(&path)?));
    }
    Ok(files)
}

fn expand(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut paths = Vec::new();
    list(path, 0, &mut paths);
    paths.sort();
    paths.truncate(FILES_MAX);
    paths
}

fn list(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() && depth < DEPTH_MAX && found.len() < FILES_MAX {
            list(&path, depth + 1, found);
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            found.push(path);
        }
    }
}

/// The state of a folder's rule files.
pub(crate) fn fingerprint(dir: &Path) -> Fingerprint {
    let state = |path: PathBuf| {
        let meta = std::fs::metadata(&path).ok()?;
        Some((path, meta.len(), meta.modified().ok()))
    };
    expand(dir).into_iter().filter_map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_rule_loads_and_passes_its_samples() {
        let (rules, errors) = parse(&built_in());
        assert!(errors.is_empty(), "{errors:#?}");
        assert!(rules.rules().len() >= 20, "{} rules", rules.rules().len());
        let failures = rules.check_samples();
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules");
        let names: Vec<String> =
            expand(&dir).iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        assert_eq!(names, BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    }
}
