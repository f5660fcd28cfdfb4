//! The state of one aggregate of one group.

use heimdall_model::Value;
use heimdall_store::summary::{Distinct, Latency, Sketch};

use crate::cell::Cell;
use crate::query::Func;

/// What an aggregate has seen.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// `count` and `rate`.
    Count(u64),
    Distinct(Box<Distinct>),
    /// Different values counted elsewhere, each once.
    Known(u64),
    Sum(Box<Sum>),
    /// Mean and squared distances from it. Source: Welford, "Note on a method for calculating corrected sums of
    /// squares and products", Technometrics 4(3), 1962.
    Moments {
        count: u64,
        mean: f64,
        m2: f64,
    },
    Least(Value),
    Greatest(Value),
    Percentile(Box<Sketch>),
    Earliest(Box<Placed>),
    Latest(Box<Placed>),
}

/// A sum that stays whole while its numbers are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sum {
    whole: i128,
    float: f64,
    has_whole: bool,
    has_float: bool,
}

/// A value with its place among the records.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    place: Option<(i64, u64)>,
    value: Value,
}

impl State {
    pub(crate) fn new(func: Func) -> State {
        let placed = || Box::new(Placed { place: None, value: Value::Null });
        match func {
            Func::Count | Func::Rate => State::Count(0),
            Func::CountDistinct => State::Distinct(Box::default()),
            Func::Sum => State::Sum(Box::default()),
            Func::Avg | Func::Stddev => State::Moments { count: 0, mean: 0.0, m2: 0.0 },
            Func::Min => State::Least(Value::Null),
            Func::Max => State::Greatest(Value::Null),
            Func::Percentile(_) => State::Percentile(Box::default()),
            Func::First => State::Earliest(placed()),
            Func::Last => State::Latest(placed()),
        }
    }

    /// Adds rows without looking at a value.
    pub(crate) fn add_rows(&mut self, rows: u64) {
        if let State::Count(count) = self {
            *count += rows;
        }
    }

    /// Adds a present value that `rows` records have. Not for functions that look at the place of a record, nor for
    /// percentiles.
    pub(crate) fn add_alike(&mut self, cell: &Cell<'_>, rows: u64) -> usize {
        match self {
            State::Count(count) => *count += rows,
            State::Sum(sum) => sum.add_alike(cell, rows),
            State::Moments { count, mean, m2 } => {
                if let Some(x) = cell.number() {
                    merge_moments((count, mean, m2), (rows, x, 0.0));
                }
            }
            _ => return self.add(cell, || (0, 0)),
        }
        0
    }

    /// Adds durations that were summed up elsewhere; returns by how many bytes the state grew.
    pub(crate) fn add_durations(&mut self, durations: &Latency) -> usize {
        if durations.count == 0 {
            return 0;
        }
        match self {
            State::Count(count) => *count += durations.count,
            State::Sum(sum) => sum.add_float(durations.sum),
            State::Moments { count, mean, m2 } => {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
                let theirs = durations.sum / durations.count as f64;
                merge_moments((count, mean, m2), (durations.count, theirs, 0.0));
            }
            State::Percentile(sketch) => return sketch.merge(&durations.buckets),
            State::Least(_) => return self.add(&Cell::Float(durations.min), || (0, 0)),
            State::Greatest(_) => return self.add(&Cell::Float(durations.max), || (0, 0)),
            State::Distinct(_) | State::Known(_) | State::Earliest(_) | State::Latest(_) => {
                debug_assert!(false, "durations do not tell");
            }
        }
        0
    }

    /// Adds a present value of a record, whose place is asked for where it matters; returns by how many bytes the state
    /// grew.
    pub(crate) fn add(&mut self, cell: &Cell<'_>, place: impl FnOnce() -> (i64, u64)) -> usize {
        match self {
            State::Count(count) => *count += 1,
            State::Distinct(distinct) => return distinct.add(cell.summary().hash()),
            // What is counted elsewhere is all there is.
            State::Known(_) => {}
            State::Sum(sum) => sum.add(cell),
            State::Moments { count, mean, m2 } => {
                if let Some(x) = cell.number() {
                    add_moment(count, mean, m2, x);
                }
            }
            State::Percentile(sketch) => return cell.number().map_or(0, |x| sketch.add(x)),
            State::Least(value) => {
                if value.is_null() || cell.cmp_value(value).is_lt() {
                    return replace(value, cell);
                }
            }
            State::Greatest(value) => {
                if value.is_null() || cell.cmp_value(value).is_gt() {
                    return replace(value, cell);
                }
            }
            State::Earliest(placed) => {
                let place = place();
                if placed.place.is_none_or(|earliest| place < earliest) {
                    placed.place = Some(place);
                    return replace(&mut placed.value, cell);
                }
            }
            State::Latest(placed) => {
                let place = place();
                if placed.place.is_none_or(|latest| place > latest) {
                    placed.place = Some(place);
                    return replace(&mut placed.value, cell);
                }
            }
        }
        0
    }

    /// Adds what another state of the same function has seen; returns by how many bytes this one grew. Which of two
    /// states is added to the other matters in the last digits of sums of floats only.
    pub(crate) fn merge(&mut self, other: State) -> usize {
        match (self, other) {
            (State::Count(count), State::Count(more)) => *count += more,
            (State::Distinct(distinct), State::Distinct(more)) => return distinct.merge(&more),
            // One of them has seen nothing: see `Grouping::only`.
            (State::Known(count), State::Known(more)) => *count += more,
            (ours @ State::Distinct(_), State::Known(more)) => *ours = State::Known(more),
            (State::Known(_), State::Distinct(_)) => {}
            (State::Sum(sum), State::Sum(more)) => sum.merge(&more),
            (
                State::Moments { count, mean, m2 },
                State::Moments { count: more, mean: more_mean, m2: more_m2 },
            ) => merge_moments((count, mean, m2), (more, more_mean, more_m2)),
            (State::Percentile(sketch), State::Percentile(more)) => return sketch.absorb(&more),
            (State::Least(value), State::Least(other)) => {
                if !other.is_null() && (value.is_null() || other.total_cmp(value).is_lt()) {
                    return replace_value(value, other);
                }
            }
            (State::Greatest(value), State::Greatest(other)) => {
                if !other.is_null() && (value.is_null() || other.total_cmp(value).is_gt()) {
                    return replace_value(value, other);
                }
            }
            (State::Earliest(placed), State::Earliest(other)) => {
                if other.place.is_some_and(|place| placed.place.is_none_or(|earliest| place < earliest)) {
                    placed.place = other.place;
                    return replace_value(&mut placed.value, other.value);
                }
            }
            (State::Latest(placed), State::Latest(other)) => {
                if other.place.is_some_and(|place| placed.place.is_none_or(|latest| place > latest)) {
                    placed.place = other.place;
                    return replace_value(&mut placed.value, other.value);
                }
            }
            _ => debug_assert!(false, "states of two functions"),
        }
        0
    }

    /// Whether the result is an estimate by now.
    pub(crate) fn is_estimate(&self) -> bool {
        match self {
            State::Distinct(distinct) => distinct.is_estimate(),
            State::Percentile(sketch) => sketch.is_estimate(),
            _ => false,
        }
    }

    /// The result. `seconds` is the length of time that `rate` divides by.
    pub(crate) fn result(self, func: Func, seconds: Option<f64>) -> Value {
        match (self, func) {
            (State::Count(count), Func::Rate) => rate(count, seconds),
            (State::Count(count), _) => whole(count),
            (State::Distinct(distinct), _) => whole(distinct.count()),
            (State::Known(count), _) => whole(count),
            (State::Sum(sum), _) => sum.result(),
            (State::Moments { count, mean, .. }, Func::Avg) => float((count > 0).then_some(mean)),
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
            (State::Moments { count, m2, .. }, _) => {
                float((count > 1).then(|| (m2 / (count - 1) as f64).max(0.0).sqrt()))
            }
            (State::Least(value) | State::Greatest(value), _) => value,
            (State::Percentile(sketch), Func::Percentile(percent)) => float(sketch.quantile(percent / 100.0)),
            (State::Percentile(_), _) => Value::Null,
            (State::Earliest(placed) | State::Latest(placed), _) => placed.value,
        }
    }
}

fn add_moment(count: &mut u64, mean: &mut f64, m2: &mut f64, x: f64) {
    *count += 1;
    let delta = x - *mean;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let n = *count as f64;
    *mean += delta / n;
    *m2 += delta * (x - *mean);
}

/// Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn merge_moments(
    (count, mean, m2): (&mut u64, &mut f64, &mut f64),
    (more, more_mean, more_m2): (u64, f64, f64),
) {
    if *count == 0 {
        (*count, *mean, *m2) = (more, more_mean, more_m2);
    } else if more > 0 {
        let (ours, theirs) = (*count as f64, more as f64);
        let delta = more_mean - *mean;
        *mean += delta * theirs / (ours + theirs);
        *m2 += more_m2 + delta * delta * ours * theirs / (ours + theirs);
        *count += more;
    }
}

/// Puts a cell in place of a value; returns by how many bytes its text grew.
fn replace(value: &mut Value, cell: &Cell<'_>) -> usize {
    replace_value(value, cell.to_value())
}

fn replace_value(value: &mut Value, other: Value) -> usize {
    let text_bytes = |value: &Value| match value {
        Value::Text(text) => text.len(),
        _ => 0,
    };
    let before = text_bytes(value);
    *value = other;
    text_bytes(value).saturating_sub(before)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn rate(count: u64, seconds: Option<f64>) -> Value {
    float(seconds.filter(|seconds| *seconds > 0.0).map(|seconds| count as f64 / seconds))
}

fn whole(count: u64) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn float(x: Option<f64>) -> Value {
    x.map_or(Value::Null, Value::Float)
}

impl Sum {
    fn add(&mut self, cell: &Cell<'_>) {
        if let Cell::Int(n) = cell {
            self.whole += i128::from(*n);
            self.has_whole = true;
        } else if let Some(x) = cell.number() {
            self.add_float(x);
        }
    }

    fn add_alike(&mut self, cell: &Cell<'_>, rows: u64) {
        if let Cell::Int(n) = cell {
            self.whole += i128::from(*n) * i128::from(rows);
            self.has_whole = true;
        } else if let Some(x) = cell.number() {
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
            self.add_float(x * rows as f64);
        }
    }

    fn add_float(&mut self, x: f64) {
        self.float += x;
        self.has_float = true;
    }

    fn merge(&mut self, other: &Sum) {
        self.whole += other.whole;
        self.float += other.float;
        self.has_whole |= other.has_whole;
        self.has_float |= other.has_float;
    }

    #[expect(clippy::cast_precision_loss, reason = "beyond i64 a sum is given as f64")]
    fn result(&self) -> Value {
        match (self.has_whole, self.has_float, i64::try_from(self.whole)) {
            (false, false, _) => Value::Null,
            (true, false, Ok(n)) => Value::Int(n),
            _ => Value::Float(self.float + self.whole as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(func: Func, values: &[Value]) -> String {
        let mut state = State::new(func);
        for (index, value) in values.iter().enumerate() {
            let place = (i64::try_from(index % 2).expect("small"), index as u64);
            state.add(&Cell::from(value), || place);
        }
        state.result(func, Some(2.0)).to_string()
    }

    /// However values are divided among states, the merged one knows what one state would.
    #[test]
    fn merged_states_are_the_whole() {
        let values =
            [Value::Int(2), Value::Text("4".into()), Value::Null, Value::Text("x".into()), Value::Float(6.0)];
        let funcs = [
            Func::Count,
            Func::Rate,
            Func::CountDistinct,
            Func::Sum,
            Func::Avg,
            Func::Stddev,
            Func::Min,
            Func::Max,
            Func::Percentile(50.0),
            Func::First,
            Func::Last,
        ];
        let state = |func: Func, values: &[(usize, &Value)]| {
            let mut state = State::new(func);
            for (index, value) in values.iter().filter(|(_, value)| !value.is_null()) {
                state.add(&Cell::from(*value), || (0, *index as u64));
            }
            state
        };
        let all: Vec<(usize, &Value)> = values.iter().enumerate().collect();
        for func in funcs {
            let whole = state(func, &all).result(func, Some(2.0));
            for chosen in 0..1_u32 << all.len() {
                let (ours, theirs): (Vec<_>, Vec<_>) =
                    all.iter().copied().partition(|(index, _)| chosen >> index & 1 == 1);
                let mut merged = state(func, &ours);
                merged.merge(state(func, &theirs));
                assert_eq!(merged.result(func, Some(2.0)), whole, "{func:?} of {ours:?} and {theirs:?}");
            }
        }
    }

    #[test]
    fn each_function_on_mixed_values() {
        let values = [Value::Int(2), Value::Text("4".into()), Value::Text("x".into()), Value::Float(6.0)];
        assert_eq!(result(Func::Count, &values), "4");
        assert_eq!(result(Func::Rate, &values), "2");
        assert_eq!(result(Func::CountDistinct, &values), "4");
        assert_eq!(result(Func::Sum, &values), "12");
        assert_eq!(result(Func::Avg, &values), "4");
        assert_eq!(result(Func::Stddev, &values), "2");
        assert_eq!(result(Func::Min, &values), "2");
        assert_eq!(result(Func::Max, &values), "x");
        assert_eq!(result(Func::Percentile(50.0), &values), "4");
        assert_eq!(result(Func::First, &values), "2", "the place decides, not the order of arrival");
        assert_eq!(result(Func::Last, &values), "6");
        assert_eq!(result(Func::Sum, &[Value::Int(i64::MAX), Value::Int(1)]), "9223372036854776000");
        assert_eq!(result(Func::Avg, &[]), "");
        assert_eq!(result(Func::Stddev, &values[..1]), "");
    }
}
