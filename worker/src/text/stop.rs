//! Stop strings across token boundaries.

/// Finds the first stop string in a text that comes in parts, and holds back what may yet become one.
///
/// The stop string that is complete first wins, and of several complete at once the longest: how the text is cut into
/// parts makes no difference.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    include: bool,
    held: String,
}

/// What a part of the text gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Text that can go out.
    pub text: String,
    /// The stop string that was found; the text ends there.
    pub stop: Option<String>,
}

impl StopMatcher {
    /// A matcher of `stops`; with `include` the text keeps the stop string that ended it.
    #[must_use]
    pub fn new(stops: Vec<String>, include: bool) -> Self {
        Self {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            include,
            held: String::new(),
        }
    }

    /// Takes in the next part of the text.
    pub fn push(&mut self, text: &str) -> Stopped {
        if self.stops.is_empty() {
            return Stopped { text: text.to_owned(), stop: None };
        }
        self.held.push_str(text);
        if let Some((end, start, stop)) = self.first_match() {
            let stop = self.stops[stop].clone();
            self.held.truncate(if self.include { end } else { start });
            return Stopped { text: std::mem::take(&mut self.held), stop: Some(stop) };
        }
        let keep = self.longest_beginning();
        let held = self.held.split_off(self.held.len() - keep);
        Stopped { text: std::mem::replace(&mut self.held, held), stop: None }
    }

    /// What was held back: the text has ended without a stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// End, start and index of the stop string that ends first, and of those the one that begins first.
    fn first_match(&self) -> Option<(usize, usize, usize)> {
        let found = self.stops.iter().enumerate().filter_map(|(index, stop)| {
            let start = self.held.find(stop)?;
            Some((start + stop.len(), start, index))
        });
        found.min()
    }

    /// Bytes at the end of the held text that a stop string begins with.
    fn longest_beginning(&self) -> usize {
        let beginnings = self.stops.iter().filter_map(|stop| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1);
            ends.filter(|at| self.held.ends_with(&stop[..*at])).max()
        });
        beginnings.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], include: bool, parts: &[&str]) -> (String, Option<String>) {
        let mut matcher = StopMatcher::new(stops.iter().map(ToString::to_string).collect(), include);
        let mut text = String::new();
        for part in parts {
            let stopped = matcher.push(part);
            text.push_str(&stopped.text);
            if stopped.stop.is_some() {
                return (text, stopped.stop);
            }
        }
        (text + &matcher.finish(), None)
    }

    #[test]
    fn a_stop_string_is_found_across_parts() {
        assert_eq!(run(&["END"], false, &["a E", "N", "D b"]), ("a ".into(), Some("END".into())));
        assert_eq!(run(&["END"], true, &["a E", "N", "D b"]), ("a END".into(), Some("END".into())));
        assert_eq!(run(&["END"], false, &["a E", "N"]), ("a EN".into(), None));
    }

    #[test]
    fn the_first_to_be_complete_wins() {
        assert_eq!(run(&["abcd", "bc"], false, &["xabcd"]), ("xa".into(), Some("bc".into())));
        assert_eq!(run(&["bc", "abc"], false, &["xabcd"]), ("x".into(), Some("abc".into())));
    }

    #[test]
    fn only_what_may_become_a_stop_string_is_held_back() {
        let mut matcher = StopMatcher::new(vec!["\n\n".into()], false);
        assert_eq!(matcher.push("a").text, "a");
        assert_eq!(matcher.push("b\n").text, "b");
        assert_eq!(matcher.push("c").text, "\nc");
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(text in "[abé]{0,24}", stops in prop::collection::vec("[abé]{1,4}", 0..4), cuts in prop::collection::vec(0usize..24, 0..6), include: bool) {
            let letters: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(letters.len())).collect();
            cuts.extend([0, letters.len()]);
            cuts.sort_unstable();
            let parts: Vec<String> = cuts.windows(2).map(|cut| letters[cut[0]..cut[1]].iter().collect()).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let singles: Vec<String> = letters.iter().map(ToString::to_string).collect();
            let singles: Vec<&str> = singles.iter().map(String::as_str).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let whole = run(&stops, include, &[&text]);
            prop_assert_eq!(&run(&stops, include, &parts), &whole);
            prop_assert_eq!(&run(&stops, include, &singles), &whole);
            if whole.1.is_none() {
                prop_assert_eq!(&whole.0, &text);
                prop_assert!(stops.iter().all(|stop| !text.contains(stop)));
            } else if !include {
                prop_assert!(stops.iter().all(|stop| !whole.0.contains(stop)));
            }
        }
    }
}
