//! From bodies to requests.

use super::body::{Body, StreamOptions};
use super::content::Logprobs;
use super::{Api, CompletionPrompt, Input, Request, limits, messages, sampling};
use crate::openai::{ApiError, ServedModel};

/// Reads the body of `POST /v1/chat/completions`.
///
/// # Errors
/// 400 with the field at fault, 404 for a model that is not served.
pub fn parse_chat(body: &[u8], model: &ServedModel) -> Result<Request, ApiError> {
    let mut body = Body::read(body, Api::Chat)?;
    let name = model_name(&mut body, model)?;
    let input = Input::Chat(messages::checked(body.messages.take())?);
    let whether = match body.logprobs {
        None => false,
        Some(Logprobs::Whether(whether)) => whether,
        Some(Logprobs::Count(_)) => {
            return Err(ApiError::invalid(
                "logprobs",
                "\"logprobs\" must be a boolean; \"top_logprobs\" counts.",
            ));
        }
    };
    let top = at_most("top_logprobs", body.top_logprobs, limits::TOP_LOGPROBS)?;
    if top.is_some() && !whether {
        return Err(ApiError::invalid("top_logprobs", "\"top_logprobs\" needs \"logprobs\": true."));
    }
    let logprobs = whether.then(|| top.unwrap_or(0) as u32);
    checked(Api::Chat, body, model, name, input, logprobs)
}

/// Reads the body of `POST /v1/completions`.
///
/// # Errors
/// 400 with the field at fault, 404 for a model that is not served.
pub fn parse_completion(body: &[u8], model: &ServedModel) -> Result<Request, ApiError> {
    let mut body = Body::read(body, Api::Completion)?;
    let name = model_name(&mut body, model)?;
    let prompts = body.prompt.take().ok_or_else(|| ApiError::invalid("prompt", "\"prompt\" is missing."))?.0;
    let is_empty = |prompt: &CompletionPrompt| match prompt {
        CompletionPrompt::Text(text) => text.is_empty(),
        CompletionPrompt::Tokens(tokens) => tokens.is_empty(),
    };
    if prompts.is_empty() || prompts.iter().any(is_empty) {
        return Err(ApiError::invalid("prompt", "\"prompt\" must not be empty."));
    }
    let count = match body.logprobs {
        None => None,
        Some(Logprobs::Count(count)) => Some(count),
        Some(Logprobs::Whether(_)) => {
            return Err(ApiError::invalid("logprobs", "\"logprobs\" must be an integer from 0 to 20."));
        }
    };
    let logprobs = at_most("logprobs", count, limits::TOP_LOGPROBS)?.map(|count| count as u32);
    checked(Api::Completion, body, model, name, Input::Prompts(prompts), logprobs)
}

fn model_name(body: &mut Body, model: &ServedModel) -> Result<String, ApiError> {
    let name = body.model.take().ok_or_else(|| ApiError::invalid("model", "\"model\" is missing."))?;
    if model.is(&name) { Ok(name) } else { Err(ApiError::unknown_model(&name)) }
}

/// The checks that both APIs share.
fn checked(
    api: Api,
    body: Body,
    model: &ServedModel,
    name: String,
    input: Input,
    logprobs: Option<u32>,
) -> Result<Request, ApiError> {
    let n = choices(&body, &input)?;
    let echo = body.echo.unwrap_or(false);
    let stream = body.stream.unwrap_or(false);
    let mut request = Request {
        api,
        model: name,
        input,
        sampling: sampling::checked(&body, model.vocab)?,
        max_tokens: max_tokens(&body, echo)?,
        n,
        stop: body.stop.map(|stop| stop.0).unwrap_or_default(),
        stop_token_ids: body.stop_token_ids.map(|ids| ids.0).unwrap_or_default(),
        include_stop: body.include_stop_str_in_output.unwrap_or(false),
        ignore_eos: body.ignore_eos.unwrap_or(false),
        logprobs,
        echo,
        stream,
        include_usage: usage(body.stream_options.map(|options| options.0), stream)?,
        session_id: word("session_id", body.session_id)?,
        cache_salt: word("cache_salt", body.cache_salt)?,
        served: model.name.clone(),
        vocab: model.vocab,
        max_context: model.max_context,
    };
    if let Some(id) = request.stop_token_ids.iter().find(|id| **id as usize >= model.vocab) {
        let message =
            format!("\"stop_token_ids\" names token {id}, but the vocabulary has {} tokens.", model.vocab);
        return Err(ApiError::invalid("stop_token_ids", message));
    }
    request.stop_token_ids.sort_unstable();
    request.stop_token_ids.dedup();
    Ok(request)
}

fn choices(body: &Body, input: &Input) -> Result<usize, ApiError> {
    let n = body.n.unwrap_or(1);
    if !(1..=limits::N).contains(&n) {
        let message = format!("\"n\" must be between 1 and {}, got {n}.", limits::N);
        return Err(ApiError::invalid("n", message));
    }
    if body.best_of.is_some_and(|best_of| best_of != n) {
        return Err(ApiError::unsupported(
            "best_of",
            "\"best_of\" is not supported yet, unless it equals \"n\".",
        ));
    }
    if let Input::Prompts(prompts) = input
        && prompts.len() * n as usize > limits::CHOICES
    {
        let message = format!("\"n\" times the number of prompts must be at most {}.", limits::CHOICES);
        return Err(ApiError::invalid("n", message));
    }
    Ok(n as usize)
}

/// The newer name wins where both are there.
fn max_tokens(body: &Body, echo: bool) -> Result<Option<usize>, ApiError> {
    let given = match (body.max_completion_tokens, body.max_tokens) {
        (Some(count), _) => ("max_completion_tokens", count),
        (None, Some(count)) => ("max_tokens", count),
        (None, None) => return Ok(None),
    };
    match given {
        (name, 0) if !echo => Err(ApiError::invalid(name, format!("{name:?} must be at least 1."))),
        (_, count) => Ok(Some(usize::try_from(count).unwrap_or(usize::MAX))),
    }
}

fn usage(options: Option<StreamOptions>, stream: bool) -> Result<bool, ApiError> {
    let Some(options) = options else { return Ok(false) };
    if !stream {
        return Err(ApiError::invalid("stream_options", "\"stream_options\" needs \"stream\": true."));
    }
    if options.continuous_usage_stats.is_some_and(|given| !given.0) {
        let message = "\"continuous_usage_stats\" is not supported yet.";
        return Err(ApiError::unsupported("stream_options.continuous_usage_stats", message));
    }
    Ok(options.include_usage.unwrap_or(false))
}

fn at_most(name: &str, given: Option<u64>, limit: u64) -> Result<Option<u64>, ApiError> {
    match given {
        Some(count) if count > limit => {
            Err(ApiError::invalid(name, format!("{name:?} must be at most {limit}, got {count}.")))
        }
        _ => Ok(given),
    }
}

/// A short text that can stand in logs and headers.
fn word(name: &str, given: Option<String>) -> Result<Option<String>, ApiError> {
    let is_word = |text: &String| {
        (1..=limits::TOKEN).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    };
    match given {
        Some(text) if !is_word(&text) => {
            let message = format!("{name:?} must be 1 to {} printable ASCII characters.", limits::TOKEN);
            Err(ApiError::invalid(name, message))
        }
        _ => Ok(given),
    }
}
