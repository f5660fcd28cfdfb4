use proptest::prelude::*;

use super::*;

/// A value that follows a command, with some noise: it climbs for as long as the command is given.
fn plant(rows: usize, seed: usize, mut change: impl FnMut(usize, &mut f64)) -> Vec<Vec<f64>> {
    let mut heat = 0.0;
    (0..rows)
        .map(|at| {
            let on = (at / 40) % 3 == 0;
            heat = 0.9 * heat + f64::from(u8::from(on));
            let mut value = heat + ((at + seed) * 7919 % 101) as f64 / 200.0;
            change(at, &mut value);
            vec![value, f64::from(u8::from(on)), 0.0]
        })
        .collect()
}

fn ranges(test: &[Vec<f64>]) -> Vec<Range> {
    Model::train(&plant(2_000, 0, |_, _| ())).unwrap().detect(test)
}

#[test]
fn what_is_like_the_training_is_no_range() {
    assert_eq!(ranges(&plant(2_000, 17, |_, _| ())), []);
}

#[test]
fn a_shift_within_the_usual_values_is_found() {
    let found = ranges(&plant(2_000, 17, |at, value| {
        if (900..1_000).contains(&at) {
            *value += 2.0;
        }
    }));
    assert_eq!(found.len(), 1, "{found:?}");
    let Range { start, end, score } = found[0];
    assert!((900..920).contains(&start) && (990..1_400).contains(&end) && score > 0.5, "{found:?}");
}

#[test]
fn one_row_must_be_very_wild() {
    let spike = |height: f64| {
        ranges(&plant(2_000, 17, move |at, value| {
            if at == 900 {
                *value += height;
            }
        }))
    };
    assert_eq!(spike(0.5), []);
    assert_eq!(spike(100.0).len(), 1);
}

#[test]
fn a_column_that_never_moved_opens_a_range_until_it_is_back() {
    let model = Model::train(&vec![[-1.0, 0.0]; 500]).unwrap();
    let mut rows = vec![[-1.0, 0.0]; 3_000];
    rows[100..200].iter_mut().for_each(|row| row[0] = -0.5);
    let found = model.detect(&rows);
    assert!(found.len() == 1 && found[0].start == 100 && found[0].end < 2_500, "{found:?}");
}

#[test]
fn tables_nothing_can_be_learnt_from_are_refused() {
    let check = |rows: Vec<Vec<f64>>, says: &str| {
        assert_eq!(Model::train(&rows).unwrap_err().to_string(), says);
    };
    check(vec![], "the training table has 0 rows and needs 400");
    check(vec![vec![]; 400], "the training table has 0 columns; 1 to 1024 can be used");
    let mut ragged = vec![vec![1.0, 2.0]; 400];
    ragged[7].pop();
    check(ragged, "row 7 has 1 columns and not 2");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_comes_gives_ordered_ranges(
        train in prop::collection::vec(prop::collection::vec(prop_oneof![-2f64..2.0, Just(0.0), Just(1.0), prop::num::f64::ANY], 4), 400..450),
        test in prop::collection::vec(prop::collection::vec(prop::num::f64::ANY, 0..6), 0..400),
    ) {
        let found = Model::train(&train).unwrap().detect(&test);
        for range in &found {
            prop_assert!(range.start <= range.end && range.end < test.len() as u64);
            prop_assert!((0.5..=1.0).contains(&range.score), "{range:?}");
        }
        prop_assert!(found.windows(2).all(|two| two[0].end + GAP_ROWS < two[1].start));
    }
}
