//! `SentencePiece` vocabularies of GGUF files: pieces with scores, from which merges are derived.

use std::collections::HashMap;

/// The merges that pieces and their scores stand for, the best first: a piece can be made of any two pieces that spell
/// it, and pieces of a higher score are made before those of a lower one.
pub(super) fn merges(pieces: &[String], scores: &[f64]) -> Vec<(String, String)> {
    let known: HashMap<&str, usize> =
        pieces.iter().enumerate().map(|(id, piece)| (piece.as_str(), id)).collect();
    let mut merges: Vec<(f64, usize, usize)> = Vec::new();
    for (piece, score) in pieces.iter().zip(scores) {
        let cuts = piece.char_indices().map(|(at, _)| at).skip(1);
        let pairs = cuts.filter_map(|at| Some((*known.get(&piece[..at])?, *known.get(&piece[at..])?)));
        merges.extend(pairs.map(|(left, right)| (*score, left, right)));
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    merges.into_iter().map(|(_, left, right)| (pieces[left].clone(), pieces[right].clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_pieces_are_made_first() {
        let pieces: Vec<String> = ["a", "b", "c", "ab", "bc", "abc"].map(str::to_owned).into();
        let scores = [-10.0, -10.0, -10.0, -2.0, -1.0, -3.0];
        let pair = |left: &str, right: &str| (left.to_owned(), right.to_owned());
        let expected = vec![pair("b", "c"), pair("a", "b"), pair("a", "bc"), pair("ab", "c")];
        assert_eq!(merges(&pieces, &scores), expected);
    }
}
