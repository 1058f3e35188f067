//! Which tokens of a range have arrived.

use std::ops::Range;

/// A set of tokens as disjoint ranges in order, none touching the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    ranges: Vec<Range<usize>>,
}

impl Coverage {
    /// Adds a range.
    pub(super) fn add(&mut self, added: Range<usize>) {
        if added.is_empty() {
            return;
        }
        // Ranges from `first` up to `last` overlap or touch the new one.
        let first = self.ranges.partition_point(|range| range.end < added.start);
        let last = self.ranges.partition_point(|range| range.start <= added.end);
        let merged = match self.ranges.get(first..last) {
            Some([head, .., tail]) => head.start.min(added.start)..tail.end.max(added.end),
            Some([only]) => only.start.min(added.start)..only.end.max(added.end),
            _ => added,
        };
        self.ranges.splice(first..last, [merged]);
    }

    /// Whether all of the range has arrived.
    pub(super) fn covers(&self, asked: &Range<usize>) -> bool {
        asked.is_empty() || self.ranges.iter().any(|have| have.start <= asked.start && asked.end <= have.end)
    }

    /// How many tokens of the range have arrived.
    pub(super) fn count(&self, asked: &Range<usize>) -> usize {
        let inside =
            |have: &Range<usize>| have.end.min(asked.end).saturating_sub(have.start.max(asked.start));
        self.ranges.iter().map(inside).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set(ranges in prop::collection::vec((0_usize..60, 0_usize..20), 0..20), asked in (0_usize..60, 0_usize..20)) {
            let mut coverage = Coverage::default();
            let mut set = [false; 100];
            for (start, length) in ranges {
                coverage.add(start..start + length);
                set[start..start + length].fill(true);
            }
            let asked = asked.0..asked.0 + asked.1;
            let inside = &set[asked.clone()];
            prop_assert_eq!(coverage.covers(&asked), inside.iter().all(|&have| have));
            prop_assert_eq!(coverage.count(&asked), inside.iter().filter(|&&have| have).count());
            prop_assert!(coverage.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
