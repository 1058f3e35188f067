//! Which tokens of which layers have been pushed.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint token ranges of each layer, none touching the next.
#[derive(Debug)]
pub(crate) struct Coverage {
    /// For each layer, the end of each range by its start.
    layers: Vec<BTreeMap<usize, usize>>,
}

impl Coverage {
    pub(crate) fn new(layers: usize) -> Self {
        Self { layers: vec![BTreeMap::new(); layers] }
    }

    /// Adds a range that is not empty; false, and nothing is added, if the layer does not exist or has some of it.
    pub(crate) fn add(&mut self, layer: usize, tokens: Range<usize>) -> bool {
        let Some(ranges) = self.layers.get_mut(layer) else { return false };
        let Range { mut start, mut end } = tokens;
        if let Some((&before, &before_end)) = ranges.range(..end).next_back() {
            if before_end > start {
                return false;
            }
            if before_end == start {
                ranges.remove(&before);
                start = before;
            }
        }
        if let Some(after_end) = ranges.remove(&end) {
            end = after_end;
        }
        ranges.insert(start, end);
        true
    }

    /// Whether every layer has the whole range.
    pub(crate) fn complete(&self, tokens: &Range<usize>) -> bool {
        let whole = |ranges: &BTreeMap<usize, usize>| {
            ranges.range(..=tokens.start).next_back().is_some_and(|(_, end)| *end >= tokens.end)
        };
        self.layers.iter().all(whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set(ranges in prop::collection::vec((0_usize..3, 0_usize..30, 1_usize..8), 0..40)) {
            let mut coverage = Coverage::new(2);
            let mut set = [[false; 40]; 2];
            for (layer, start, count) in ranges {
                let tokens = start..start + count;
                let free = layer < 2 && !set[layer][tokens.clone()].contains(&true);
                prop_assert_eq!(coverage.add(layer, tokens.clone()), free);
                if free {
                    set[layer][tokens.clone()].fill(true);
                }
                let all = set.iter().all(|layer| !layer[tokens.clone()].contains(&false));
                prop_assert_eq!(coverage.complete(&tokens), all);
            }
        }
    }
}
