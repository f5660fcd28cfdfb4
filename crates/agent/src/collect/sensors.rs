//! Temperatures, where the host tells them: thermal zones and hardware monitors.
//!
//! Which sensors there are is found once: they do not come and go, and looking for them costs more than reading them.

use std::path::{Path, PathBuf};

use crate::samples::Samples;

const SENSORS_MAX: usize = 32;

#[derive(Debug)]
pub(super) struct Sensors {
    found: Vec<(String, PathBuf)>,
}

impl Sensors {
    pub(super) fn new(sys: &Path) -> Sensors {
        let mut found: Vec<(String, PathBuf)> = zones(&sys.join("class/thermal"));
        found.extend(monitors(&sys.join("class/hwmon")));
        found.sort();
        found.truncate(SENSORS_MAX);
        Sensors { found }
    }

    /// Degrees Celsius.
    pub(super) fn measure(&self, out: &mut Samples) {
        for (name, path) in &self.found {
            if let Some(milli) = word(path).and_then(|text| text.parse::<f64>().ok()) {
                out.push("system.temperature", milli / 1_000.0, &[("sensor", name)]);
            }
        }
    }
}

fn zones(dir: &Path) -> Vec<(String, PathBuf)> {
    let zones = entries(dir).filter(|path| name_of(path).starts_with("thermal_zone"));
    zones
        .map(|zone| (word(&zone.join("type")).unwrap_or_else(|| name_of(&zone)), zone.join("temp")))
        .collect()
}

fn monitors(dir: &Path) -> Vec<(String, PathBuf)> {
    let inputs = entries(dir).flat_map(|monitor| {
        let chip = word(&monitor.join("name")).unwrap_or_else(|| name_of(&monitor));
        let inputs: Vec<_> = entries(&monitor).filter(|path| is_temperature(path)).collect();
        inputs.into_iter().map(move |input| {
            let part = name_of(&input).trim_end_matches("_input").to_owned();
            let label = word(&monitor.join(format!("{part}_label"))).unwrap_or(part);
            (format!("{chip} {label}"), input)
        })
    });
    inputs.collect()
}

fn is_temperature(path: &Path) -> bool {
    let name = name_of(path);
    name.starts_with("temp") && name.ends_with("_input")
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn word(path: &Path) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
