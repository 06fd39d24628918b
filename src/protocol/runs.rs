//! Values that come in runs of neighbours: a run is told by two integers, its first value and its length, however long
//! it is. Where clients count, most values have neighbours.

use super::Value;

/// The most values that one message may tell by runs.
pub const RUNS_VALUES_MAX: usize = 1024;

/// The runs of values in ascending order.
pub(super) fn runs(values: &[Value]) -> impl Iterator<Item = &[Value]> {
    values.chunk_by(|&one, &next| one.checked_add(1) == Some(next))
}

/// How many integers it takes to tell values in ascending order by runs.
#[must_use]
pub fn integers_by_runs(values: &[Value]) -> usize {
    2 * runs(values).count()
}

/// Appends the values that runs stand for. None if they are not as they should be: not in pairs, empty, more
/// than [`RUNS_VALUES_MAX`] in all, or beyond what integers hold.
pub(crate) fn expand(integers: &[i64], into: &mut Vec<Value>) -> Option<()> {
    let (runs, rest) = integers.as_chunks::<2>();
    let mut left = RUNS_VALUES_MAX;
    for &[first, length] in runs {
        let length = usize::try_from(length).ok().filter(|&length| length > 0)?;
        left = left.checked_sub(length)?;
        into.extend(first..=first.checked_add(length as i64 - 1)?);
    }
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stand_for_the_values_that_they_were_made_of() {
        for values in [
            vec![],
            vec![7],
            vec![1, 2, 3, 5, 6, 9],
            vec![i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX],
            Vec::from_iter(0..RUNS_VALUES_MAX as i64),
        ] {
            let integers: Vec<i64> = runs(&values).flat_map(|run| [run[0], run.len() as i64]).collect();
            let mut expanded = Vec::new();
            assert_eq!(expand(&integers, &mut expanded), Some(()));
            assert_eq!(expanded, values);
            assert_eq!(integers_by_runs(&values), integers.len());
        }
    }

    #[test]
    fn runs_that_are_not_as_they_should_be_are_none() {
        let most = RUNS_VALUES_MAX as i64;
        for integers in [
            &[1][..],
            &[1, 2, 3],
            &[1, 0],
            &[1, -1],
            &[1, most + 1],
            &[1, most, -5, 1],
            &[i64::MAX, 2],
            &[0, i64::MAX],
        ] {
            assert_eq!(expand(integers, &mut Vec::new()), None, "{integers:?}");
        }
    }
}
