//! "Did you mean": the known name nearest to one that is not known.

/// The known name nearest to `given`, if one is near enough to be what was meant: at most a third of
/// its characters differ, and never more than three.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance is quadratic in the length, and nobody means a known name with a long text.
    const LENGTH_MAX: usize = 80;
    if given.len() > LENGTH_MAX {
        return None;
    }
    let limit = (given.chars().count() / 3).clamp(1, 3);
    let given = given.to_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&given, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance, with the swap of two neighbours as one step.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_the_name_that_was_meant() {
        let known = ["effect", "match", "when", "principals", "params.replicas", "target.replicas"];
        for (given, meant) in [
            ("efect", Some("effect")),
            ("Match", Some("match")),
            ("wehn", Some("when")),
            ("principal", Some("principals")),
            ("param.replicas", Some("params.replicas")),
            ("approvals", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
    }

    #[test]
    fn a_very_long_name_costs_nothing() {
        assert_eq!(nearest(&"a".repeat(1_000_000), ["effect"]), None);
    }
}
