//! Changes of the logits by what was said before: bias and penalties.

use std::collections::{HashMap, HashSet};

use super::Sampling;

/// Tokens seen so far, as far as the parameters ask for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    prompt: HashSet<u32>,
    output: HashMap<u32, u32>,
}

impl Seen {
    /// Notes the prompt, which only the repetition penalty looks at.
    pub(super) fn new(sampling: &Sampling, prompt: &[u32]) -> Self {
        let prompt =
            if repeats_matter(sampling) { prompt.iter().copied().collect() } else { HashSet::default() };
        Self { prompt, output: HashMap::new() }
    }

    /// Notes an output token.
    pub(super) fn push(&mut self, token: u32) {
        *self.output.entry(token).or_default() += 1;
    }
}

fn repeats_matter(sampling: &Sampling) -> bool {
    sampling.repetition_penalty.to_bits() != 1.0_f32.to_bits()
}

/// Whether [`apply`] would change anything.
pub(super) fn any(sampling: &Sampling) -> bool {
    repeats_matter(sampling)
        || sampling.presence_penalty != 0.0
        || sampling.frequency_penalty != 0.0
        || !sampling.logit_bias.is_empty()
}

/// Applies bias, then penalties, in vLLM's order: the repetition penalty over prompt and output, the other two over the
/// output alone.
pub(super) fn apply(sampling: &Sampling, seen: &Seen, logits: &mut [f32]) {
    for &(id, bias) in &sampling.logit_bias {
        logits[id as usize] += bias;
    }
    if repeats_matter(sampling) {
        let only_output = seen.output.keys().filter(|id| !seen.prompt.contains(id));
        for &id in seen.prompt.iter().chain(only_output) {
            let logit = &mut logits[id as usize];
            if *logit > 0.0 {
                *logit /= sampling.repetition_penalty;
            } else {
                *logit *= sampling.repetition_penalty;
            }
        }
    }
    for (&id, &times) in &seen.output {
        logits[id as usize] -= sampling.frequency_penalty * times as f32 + sampling.presence_penalty;
    }
}
