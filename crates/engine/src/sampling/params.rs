//! What a request may say about sampling, and the ranges it must keep to.

/// Most entries of a logit bias.
const MAX_LOGIT_BIAS: usize = 1024;

/// Temperatures below this are greedy: dividing by them leaves one token with any probability.
pub(crate) const GREEDY_BELOW: f32 = 1e-5;

/// How a round's output tokens are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token, the lowest id among equals.
    pub temperature: f32,
    /// Keeps the smallest set of most likely tokens with at least this probability together; 1 keeps all.
    pub top_p: f32,
    /// Keeps this many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Drops tokens less likely than this share of the most likely one's probability; 0 drops none.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen in prompt or output; 1 is neutral.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens seen in the output.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens once for each time they occur in the output.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Makes the draws repeatable: the same seed and prompt give the same output. None draws a seed.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    /// Greedy, nothing penalised.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// A sampling parameter outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct InvalidSampling {
    /// The parameter, as the API names it.
    pub field: &'static str,
    /// What it must be.
    pub reason: String,
}

impl Sampling {
    /// Whether the most likely token is always taken.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature < GREEDY_BELOW
    }

    /// Checks every parameter against its range; `vocab` bounds the token ids of the bias.
    ///
    /// # Errors
    /// Names the first parameter that is not finite or out of range.
    pub fn validate(&self, vocab: usize) -> Result<(), InvalidSampling> {
        let within = |field: &'static str, value: f32, low: f32, high: f32| {
            if value.is_finite() && (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(InvalidSampling {
                    field,
                    reason: format!("must be between {low} and {high}, got {value}"),
                })
            }
        };
        within("temperature", self.temperature, 0.0, 100.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("repetition_penalty", self.repetition_penalty, 0.01, 100.0)?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        if self.top_p == 0.0 {
            return Err(InvalidSampling { field: "top_p", reason: "must be greater than 0".to_owned() });
        }
        if self.logit_bias.len() > MAX_LOGIT_BIAS {
            let reason = format!("may have at most {MAX_LOGIT_BIAS} entries, got {}", self.logit_bias.len());
            return Err(InvalidSampling { field: "logit_bias", reason });
        }
        for &(id, bias) in &self.logit_bias {
            within("logit_bias", bias, -100.0, 100.0)?;
            if id as usize >= vocab {
                let reason = format!("names token {id}, but the vocabulary has {vocab} tokens");
                return Err(InvalidSampling { field: "logit_bias", reason });
            }
        }
        Ok(())
    }
}
