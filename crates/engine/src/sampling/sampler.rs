//! One round's sampler: adjusts, truncates and draws, repeatably.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::penalties::{self, Seen};
use super::{NonFinite, Sampling};

/// Chooses a round's output tokens.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    seen: Seen,
    random: ChaCha8Rng,
}

impl Sampler {
    /// A sampler for a round with this prompt. Without a seed in `sampling` one is drawn.
    #[must_use]
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Self {
        let seed = sampling.seed.unwrap_or_else(rand::random);
        let mut key = *b"ampd token sampling, key = seed.";
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let seen = Seen::new(&sampling, prompt);
        Self { sampling, seen, random: ChaCha8Rng::from_seed(key) }
    }

    /// Notes an output token.
    pub fn push(&mut self, token: u32) {
        self.seen.push(token);
    }

    /// Chooses the output token at `index` from a row of logits. The draw depends on seed and index alone, not on how
    /// often or in what company the sampler was asked before. `candidates` is overwritten: room for as many entries as
    /// there are tokens, which the caller keeps for the next row.
    ///
    /// # Errors
    /// When any logit is infinite or not a number.
    pub fn sample(
        &mut self,
        logits: &[f32],
        index: usize,
        candidates: &mut Vec<(u32, f32)>,
    ) -> Result<u32, NonFinite> {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(NonFinite);
        }
        let adjusted: Vec<f32>;
        let logits = if penalties::any(&self.sampling) {
            let mut copy = logits.to_vec();
            penalties::apply(&self.sampling, &self.seen, &mut copy);
            adjusted = copy;
            &adjusted
        } else {
            logits
        };
        if self.sampling.is_greedy() {
            return Ok(most_likely(logits));
        }
        weigh(&self.sampling, logits, candidates);
        let weights = candidates;
        let total: f64 = weights.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let point = self.uniform(index) * total;
        let mut sum = 0.0;
        for &(id, weight) in weights.iter() {
            sum += f64::from(weight);
            if sum > point {
                return Ok(id);
            }
        }
        // Rounding can leave the point at the very end.
        Ok(weights.iter().rev().find(|&&(_, weight)| weight > 0.0).map_or(most_likely(logits), |&(id, _)| id))
    }

    /// A number in [0, 1) that belongs to the output index.
    fn uniform(&mut self, index: usize) -> f64 {
        self.random.set_word_pos(2 * index as u128);
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The most likely token, the lowest id among equals.
fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// Leaves in `kept` the tokens that may be drawn with their weights, the most likely one's being 1: temperature, then
/// `min_p`, `top_k` and `top_p`, each over what the one before left.
fn weigh(sampling: &Sampling, logits: &[f32], kept: &mut Vec<(u32, f32)>) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |(id, &logit): (usize, &f32)| (id as u32, ((logit - highest) / sampling.temperature).exp());
    kept.clear();
    let all = logits.iter().enumerate().map(weight);
    let top_k = sampling.top_k as usize;
    if sampling.min_p == 0.0 && top_k == 0 && sampling.top_p >= 1.0 {
        kept.extend(all);
        return;
    }
    kept.extend(all.filter(|&(_, weight)| weight >= sampling.min_p));
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0));
    if top_k > 0 && top_k < kept.len() {
        kept.select_nth_unstable_by(top_k - 1, order);
        kept.truncate(top_k);
    }
    if sampling.top_p >= 1.0 {
        kept.sort_unstable_by(order);
        return;
    }
    let total: f64 = kept.iter().map(|&(_, weight)| f64::from(weight)).sum();
    // Tokens below this weight add up to less than what top_p drops, so they need not be sorted.
    let floor = (1.0 - f64::from(sampling.top_p)) * total / kept.len() as f64;
    kept.retain(|&(_, weight)| f64::from(weight) >= floor);
    kept.sort_unstable_by(order);
    let mut sum = 0.0;
    let enough = kept.iter().position(|&(_, weight)| {
        sum += f64::from(weight);
        sum >= f64::from(sampling.top_p) * total
    });
    kept.truncate(enough.map_or(kept.len(), |last| last + 1));
}
