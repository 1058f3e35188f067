//! A tiny model's text side, requests to it, and rounds that were not run.

use std::sync::{Arc, LazyLock};

use ampd_testkit::tiny_model::{Family, TinyModel};
use ampd_worker::openai::{
    ApiError, Prompt, Renderer, Request, ResponseHead, ServedModel, parse_chat, parse_completion, tokenize,
};
use ampd_worker::protocol::{FinishReason, OutputToken, RoundDone, RoundEvent};
use ampd_worker::text::TextModel;
use serde_json::Value;

/// Most tokens of prompt and output of the tiny model.
pub const CONTEXT: usize = 512;

/// Id of the token that ends a turn.
pub const TURN_END: u32 = 2;

static TEXT: LazyLock<Arc<TextModel>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    TinyModel::new(Family::Llama).write_huggingface(folder.path(), candle_core::DType::F32, 1).unwrap();
    Arc::new(TextModel::load(folder.path()).unwrap())
});

/// The tiny model's text side.
pub fn text() -> Arc<TextModel> {
    TEXT.clone()
}

/// The tiny model as it is served.
pub fn served() -> ServedModel {
    let vocab = text().tokenizer().pieces().len();
    ServedModel {
        name: "org/tiny".into(),
        aliases: vec!["tiny".into()],
        max_context: CONTEXT,
        vocab,
        created: 7,
    }
}

/// A chat request of one short message, with more `fields` (written as within an object).
pub fn chat(fields: &str) -> Result<Request, ApiError> {
    let more = if fields.is_empty() { String::new() } else { format!(", {fields}") };
    let body = format!(r#"{{"model": "tiny", "messages": [{{"role": "user", "content": "hi"}}]{more}}}"#);
    parse_chat(body.as_bytes(), &served())
}

/// A completion request of one short prompt, with more `fields`.
pub fn completion(fields: &str) -> Result<Request, ApiError> {
    let more = if fields.is_empty() { String::new() } else { format!(", {fields}") };
    parse_completion(format!(r#"{{"model": "tiny", "prompt": "hi"{more}}}"#).as_bytes(), &served())
}

/// A chat request of these messages.
pub fn messages(messages: &str) -> Result<Request, ApiError> {
    parse_chat(format!(r#"{{"model": "tiny", "messages": {messages}}}"#).as_bytes(), &served())
}

/// A completion request of this prompt.
pub fn prompt(prompt: &str, fields: &str) -> Result<Request, ApiError> {
    let more = if fields.is_empty() { String::new() } else { format!(", {fields}") };
    parse_completion(format!(r#"{{"model": "tiny", "prompt": {prompt}{more}}}"#).as_bytes(), &served())
}

/// The request's prompts.
pub fn tokens(request: &Request) -> Vec<Prompt> {
    tokenize(request, &text()).unwrap()
}

/// The request's renderer.
pub fn renderer(request: &Request) -> Renderer {
    let head = ResponseHead { request_id: "r1".into(), created: 7 };
    Renderer::new(request, &tokens(request), text(), &head)
}

/// The tokens of single bytes.
pub fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(|byte| 3 + u32::from(byte)).collect()
}

/// Output tokens of one step.
pub fn output(ids: &[u32]) -> RoundEvent {
    RoundEvent::Tokens(ids.iter().map(|id| OutputToken { id: *id, logprob: None, top: Vec::new() }).collect())
}

/// The end of a round.
pub fn done(finish_reason: FinishReason) -> RoundEvent {
    RoundEvent::Done(RoundDone { finish_reason, prompt_tokens: 9, history: 1, output_tokens: 0 })
}

/// Feeds events of choice 0; the frames as text.
pub fn feed(renderer: &mut Renderer, events: &[RoundEvent]) -> String {
    events.iter().map(|event| frames(renderer, 0, event)).collect()
}

/// Feeds one event; the frames as text.
pub fn frames(renderer: &mut Renderer, choice: usize, event: &RoundEvent) -> String {
    String::from_utf8(renderer.event(choice, event).unwrap().frames.to_vec()).unwrap()
}

/// The chunks of a stream, without its end mark.
pub fn chunks(stream: &str) -> Vec<Value> {
    let data = stream.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap());
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The whole answer.
pub fn body(renderer: Renderer) -> Value {
    serde_json::from_slice(&renderer.body().unwrap()).unwrap()
}
