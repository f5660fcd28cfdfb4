//! The shape of a dashboard's spec: checked, described, and kept as it came. What a panel asks, and members not named here,
//! are the app's.

use std::collections::HashSet;

use heimdall_model::Timestamp;
use heimdall_model::time::parse_duration;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::extract::short;
use crate::problem::Problem;
use crate::routes::annotations;

/// Bytes of a spec as JSON.
pub(super) const SPEC_BYTES_MAX: usize = 256 * 1024;
/// Levels of objects and arrays in a spec.
const DEPTH_MAX: usize = 24;
/// Panels of a dashboard.
const PANELS_MAX: usize = 100;
/// Variables of a dashboard.
const VARIABLES_MAX: usize = 20;
/// Values a variable offers.
const VALUES_MAX: usize = 1_000;
/// Characters of an id or a name.
const NAME_CHARS_MAX: usize = 64;
/// Columns of the grid.
const COLUMNS: u64 = 24;
/// Rows of the grid.
const ROWS_MAX: u64 = 10_000;
/// Time between two refreshes at least.
const REFRESH_NS_MIN: i64 = 1_000_000_000;

/// What a dashboard shows.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is kept as it came")]
pub(super) struct DashboardSpec {
    /// What its panels share, and people choose.
    #[schema(required = false)]
    variables: Vec<DashboardVariable>,
    /// Its panels, at most 100.
    panels: Vec<DashboardPanel>,
    /// Where they stand, by the width of the window.
    layouts: Option<DashboardLayouts>,
    /// The range of time it opens with.
    time: Option<DashboardTime>,
    /// How often it asks again, such as `30s`; null: never.
    refresh: Option<String>,
    /// Which annotations it shows.
    annotations: Option<DashboardAnnotations>,
}

/// A choice that stands in queries as `$name`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is kept as it came")]
struct DashboardVariable {
    /// Letters, digits and `_`.
    name: String,
    /// Its name for people.
    label: Option<String>,
    /// A search line whose first column has the values.
    query: Option<String>,
    /// The values, where no query finds them.
    values: Option<Vec<String>>,
    /// Whether several may be chosen.
    multi: Option<bool>,
    /// What is chosen at first: a value, several, or null for all.
    #[schema(value_type = Option<Object>)]
    default: Option<Value>,
}

/// One panel.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is kept as it came")]
struct DashboardPanel {
    /// Its id among the panels.
    id: String,
    /// Its title.
    title: String,
    /// How it is drawn: line, bar, area, table, top, heatmap, number, pie, text …
    viz: String,
    /// What it asks.
    query: String,
    /// In which language: `search` (default) or `sql`.
    language: Option<String>,
    /// Unit of its values, such as `ms`.
    unit: Option<String>,
    /// Values from which on it looks different.
    #[schema(value_type = Option<Vec<Object>>)]
    thresholds: Option<Vec<Value>>,
    /// Whatever else drawing it takes.
    #[schema(value_type = Option<Object>)]
    options: Option<Value>,
}

/// Where panels stand.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is kept as it came")]
struct DashboardLayouts {
    /// From 1,200 pixels on, 24 columns.
    lg: Option<Vec<DashboardPlace>>,
    /// From 996 pixels on, 24 columns.
    md: Option<Vec<DashboardPlace>>,
    /// Below.
    sm: Option<Vec<DashboardPlace>>,
}

/// Where one panel stands.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is kept as it came")]
struct DashboardPlace {
    /// Id of the panel.
    i: String,
    /// Column, from 0.
    x: u64,
    /// Row, from 0.
    y: u64,
    /// Columns.
    w: u64,
    /// Rows.
    h: u64,
}

/// A range of time.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is kept as it came")]
struct DashboardTime {
    /// Start, such as `now-6h`.
    from: String,
    /// End, such as `now`.
    to: String,
}

/// Which annotations a dashboard shows.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is kept as it came")]
struct DashboardAnnotations {
    /// Of these kinds: deployment, incident, investigation.
    kinds: Vec<String>,
}

/// Checks a spec.
///
/// # Errors
/// 422 naming the member at fault.
pub(super) fn check(spec: &Value, now: Timestamp) -> Result<(), Problem> {
    let spec_members = object("spec", spec)?;
    if depth(spec) > DEPTH_MAX {
        return Err(Problem::field("spec", format!("is nested more than {DEPTH_MAX} levels deep")));
    }
    let bytes = serde_json::to_vec(spec).map_or(usize::MAX, |json| json.len());
    if bytes > SPEC_BYTES_MAX {
        return Err(Problem::field("spec", format!("has {bytes} bytes, at most {SPEC_BYTES_MAX} are kept")));
    }
    let panels = spec_members.get("panels").unwrap_or(&Value::Null);
    let ids = check_panels(items("spec.panels", panels, PANELS_MAX)?)?;
    check_variables(present(spec_members, "variables"))?;
    check_layouts(present(spec_members, "layouts"), &ids)?;
    check_time(present(spec_members, "time"), now)?;
    if let Some(refresh) = present(spec_members, "refresh") {
        let is_enough = refresh.as_str().and_then(parse_duration).is_some_and(|ns| ns >= REFRESH_NS_MIN);
        if !is_enough {
            return Err(Problem::field("spec.refresh", "must be null or a duration from `1s` on"));
        }
    }
    if let Some(annotations) = present(spec_members, "annotations") {
        let kinds = object("spec.annotations", annotations)?.get("kinds").unwrap_or(&Value::Null);
        for (index, kind) in items("spec.annotations.kinds", kinds, 10)?.iter().enumerate() {
            let name = kind.as_str().unwrap_or_default();
            annotations::kind(name)
                .map_err(|reason| Problem::field(format!("spec.annotations.kinds[{index}]"), reason))?;
        }
    }
    Ok(())
}

fn check_panels(panels: &[Value]) -> Result<HashSet<&str>, Problem> {
    let mut ids = HashSet::new();
    for (index, panel) in panels.iter().enumerate() {
        let at = format!("spec.panels[{index}]");
        let members = object(&at, panel)?;
        let id = name(&at, members, "id")?;
        if !ids.insert(id) {
            return Err(Problem::field(
                format!("{at}.id"),
                format!("`{}` is the id of another panel", short(id)),
            ));
        }
        name(&at, members, "viz")?;
        for member in ["title", "query"] {
            if !members.get(member).is_some_and(Value::is_string) {
                return Err(Problem::field(format!("{at}.{member}"), "must be a text"));
            }
        }
        let language = present(members, "language").map(|language| language.as_str().unwrap_or_default());
        if language.is_some_and(|language| !["search", "sql"].contains(&language)) {
            return Err(Problem::field(format!("{at}.language"), "must be `search` or `sql`"));
        }
    }
    Ok(ids)
}

fn check_variables(variables: Option<&Value>) -> Result<(), Problem> {
    let Some(variables) = variables else { return Ok(()) };
    let mut names = HashSet::new();
    for (index, variable) in items("spec.variables", variables, VARIABLES_MAX)?.iter().enumerate() {
        let at = format!("spec.variables[{index}]");
        let members = object(&at, variable)?;
        let found = name(&at, members, "name")?;
        let is_plain = found.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_plain || !names.insert(found) {
            return Err(Problem::field(
                format!("{at}.name"),
                "must be letters, digits and `_`, and only once",
            ));
        }
        if let Some(values) = present(members, "values") {
            items(&format!("{at}.values"), values, VALUES_MAX)?;
        }
    }
    Ok(())
}

fn check_layouts(layouts: Option<&Value>, ids: &HashSet<&str>) -> Result<(), Problem> {
    let Some(layouts) = layouts else { return Ok(()) };
    for (width, places) in object("spec.layouts", layouts)? {
        let list = format!("spec.layouts.{}", short(width));
        for (index, place) in items(&list, places, PANELS_MAX)?.iter().enumerate() {
            let at = format!("{list}[{index}]");
            let members = object(&at, place)?;
            let id = name(&at, members, "i")?;
            if !ids.contains(id) {
                return Err(Problem::field(format!("{at}.i"), format!("`{}` is no panel", short(id))));
            }
            let number = |member: &str, max: u64| {
                let number = members.get(member).and_then(Value::as_u64).filter(|number| *number <= max);
                number.ok_or_else(|| {
                    Problem::field(format!("{at}.{member}"), format!("must be a whole number up to {max}"))
                })
            };
            let (x, w) = (number("x", COLUMNS)?, number("w", COLUMNS)?);
            number("y", ROWS_MAX)?;
            number("h", ROWS_MAX)?;
            if w == 0 || x + w > COLUMNS {
                return Err(Problem::field(
                    format!("{at}.w"),
                    format!("it ends beyond column {COLUMNS}, or is empty"),
                ));
            }
        }
    }
    Ok(())
}

fn check_time(time: Option<&Value>, now: Timestamp) -> Result<(), Problem> {
    let Some(time) = time else { return Ok(()) };
    let members = object("spec.time", time)?;
    for member in ["from", "to"] {
        let text = members.get(member).and_then(Value::as_str).unwrap_or_default();
        if Timestamp::parse_when(text, now).is_none() {
            let reason = format!("`{}` is no time, such as `now-6h`", short(text));
            return Err(Problem::field(format!("spec.time.{member}"), reason));
        }
    }
    Ok(())
}

/// A member that is there and not null.
fn present<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn object<'a>(at: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Problem> {
    value.as_object().ok_or_else(|| Problem::field(at.to_owned(), "must be an object"))
}

fn items<'a>(at: &str, value: &'a Value, max: usize) -> Result<&'a [Value], Problem> {
    let items = value.as_array().ok_or_else(|| Problem::field(at.to_owned(), "must be an array"))?;
    if items.len() > max {
        return Err(Problem::field(at.to_owned(), format!("has {} items, at most {max}", items.len())));
    }
    Ok(items)
}

fn name<'a>(at: &str, members: &'a Map<String, Value>, member: &str) -> Result<&'a str, Problem> {
    let name = members.get(member).and_then(Value::as_str).unwrap_or_default();
    match name.chars().count() {
        1..=NAME_CHARS_MAX => Ok(name),
        _ => {
            let reason = format!("must be a text of 1 to {NAME_CHARS_MAX} characters");
            Err(Problem::field(format!("{at}.{member}"), reason))
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn valid() -> Value {
        json!({
            "variables": [{"name": "service", "values": ["a", "b"], "multi": true, "default": null}],
            "panels": [{"id": "a", "title": "A", "viz": "line", "query": "| timechart", "options": {"stack": true}}],
            "layouts": {"lg": [{"i": "a", "x": 0, "y": 0, "w": 24, "h": 8}]},
            "time": {"from": "now-6h", "to": "now"}, "refresh": "30s", "annotations": {"kinds": ["deployment"]},
            "of_the_app": 1,
        })
    }

    /// Puts a value into a valid spec; says which field is at fault then.
    #[track_caller]
    fn check_fault(pointer: &str, value: Value, field: &str) {
        let mut spec = valid();
        match spec.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => panic!("no {pointer}"),
        }
        let fault = check(&spec, Timestamp(0)).err().map(|problem| {
            let document: Value = serde_json::from_slice(&problem.to_json()).unwrap();
            document["errors"][0]["field"].as_str().unwrap().to_owned()
        });
        assert_eq!(fault.as_deref().unwrap_or("none"), field, "{pointer}");
    }

    #[test]
    fn the_member_at_fault_is_named() {
        check_fault("/of_the_app", json!({"any": ["thing"]}), "none");
        check_fault("", json!([]), "spec");
        check_fault("/panels", json!(null), "spec.panels");
        check_fault("/panels", json!(vec![0; 101]), "spec.panels");
        check_fault("/panels/0", json!("a"), "spec.panels[0]");
        check_fault("/panels/0/id", json!(""), "spec.panels[0].id");
        check_fault("/panels/0/query", json!(7), "spec.panels[0].query");
        check_fault("/panels", json!([valid()["panels"][0], valid()["panels"][0]]), "spec.panels[1].id");
        check_fault("/variables/0/name", json!("a b"), "spec.variables[0].name");
        check_fault("/variables/0/values", json!("a"), "spec.variables[0].values");
        check_fault("/layouts/lg/0/i", json!("b"), "spec.layouts.lg[0].i");
        check_fault("/layouts/lg/0/x", json!(1), "spec.layouts.lg[0].w");
        check_fault("/layouts/lg/0/h", json!(-1), "spec.layouts.lg[0].h");
        check_fault("/time/from", json!("yesterday"), "spec.time.from");
        check_fault("/refresh", json!("1ms"), "spec.refresh");
        check_fault("/refresh", json!(null), "none");
        check_fault("/annotations/kinds/0", json!("party"), "spec.annotations.kinds[0]");
        check_fault("/panels/0/options", json!("x".repeat(SPEC_BYTES_MAX)), "spec");
        let deep = (0..DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
        check_fault("/panels/0/options", deep, "spec");
    }
}
