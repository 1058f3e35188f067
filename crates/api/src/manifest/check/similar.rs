//! The name that was probably meant.

/// The name nearest to the given one, when it is near.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    // Longer texts are no slips of the finger, and the distance costs the product of the lengths.
    let name = if name.len() <= 64 { name.to_lowercase() } else { return None };
    names
        .map(|candidate| (distance(&name, &candidate.to_lowercase()), candidate.as_str()))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements that make one text of the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, from) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, expected) in
            [("", "", 0), ("a", "", 1), ("ttft", "tfft", 1), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let names = ["minRemoteTokens", "policy", "alpha", "a"].map(String::from);
        assert_eq!(nearest("minremotetoken", names.iter()), Some("minRemoteTokens"));
        assert_eq!(nearest("polcy", names.iter()), Some("policy"));
        assert_eq!(nearest("replicas", names.iter()), None);
        assert_eq!(nearest("b", names.iter()), None);
    }
}
