//! Sampling parameters within their ranges.

use ampd_engine::sampling::Sampling;

use super::body::Body;
use super::limits;
use crate::openai::ApiError;
use crate::protocol::SamplingParams;

/// The parameters of a body. The engine's own check decides, so that no round is refused later for what it would have
/// found; only the temperature's range is OpenAI's.
pub(super) fn checked(body: &Body, vocab: usize) -> Result<SamplingParams, ApiError> {
    let temperature = body.temperature.unwrap_or(1.0);
    if !(0.0..=limits::TEMPERATURE).contains(&temperature) {
        let message = format!("\"temperature\" must be between 0 and 2, got {temperature}.");
        return Err(ApiError::invalid("temperature", message));
    }
    let or = |value: Option<f64>, neutral: f32| value.map_or(neutral, |value| value as f32);
    let sampling = Sampling {
        temperature: temperature as f32,
        top_p: or(body.top_p, 1.0),
        top_k: top_k(body.top_k)?,
        min_p: or(body.min_p, 0.0),
        repetition_penalty: or(body.repetition_penalty, 1.0),
        presence_penalty: or(body.presence_penalty, 0.0),
        frequency_penalty: or(body.frequency_penalty, 0.0),
        logit_bias: body.logit_bias.as_ref().map(|bias| bias.0.clone()).unwrap_or_default(),
        // Any 64 bits make a seed.
        seed: body.seed.map(i64::cast_unsigned),
    };
    sampling
        .validate(vocab)
        .map_err(|error| ApiError::invalid(error.field, format!("{:?} {}.", error.field, error.reason)))?;
    Ok(SamplingParams {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logit_bias: sampling.logit_bias,
        seed: sampling.seed,
    })
}

/// Both 0 and -1 keep all tokens.
fn top_k(given: Option<i64>) -> Result<u32, ApiError> {
    match given.unwrap_or(0) {
        -1 | 0 => Ok(0),
        count @ 1.. => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
        other => {
            let message =
                format!("\"top_k\" must be at least 1, or 0 or -1 to keep all tokens, got {other}.");
            Err(ApiError::invalid("top_k", message))
        }
    }
}
