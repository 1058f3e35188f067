//! The default model's conversations as requests, against the reference.
//!
//! Needs the environment variables `AMPD_MODEL` (the model's GGUF file) and `AMPD_REFERENCE` (the reference's JSON
//! file); without them the test is skipped, except in CI.

use std::path::PathBuf;
use std::sync::Arc;

use ampd_worker::openai::{Renderer, ResponseHead, ServedModel, parse_chat, tokenize};
use ampd_worker::protocol::FinishReason;
use ampd_worker::text::TextModel;
use serde_json::{Value, json};

use super::support::{chunks, done, feed, output};

#[test]
fn reference_conversations_go_through() {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (Some(model), Some(reference)) = (path("AMPD_MODEL"), path("AMPD_REFERENCE")) else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "AMPD_MODEL and AMPD_REFERENCE must be set in CI"
        );
        println!("SKIPPED: AMPD_MODEL and AMPD_REFERENCE are not set");
        return;
    };
    let text = Arc::new(TextModel::load(&model).unwrap());
    let vocab = text.tokenizer().pieces().len();
    let served = ServedModel { name: "m".into(), aliases: Vec::new(), max_context: 8192, vocab, created: 0 };
    let reference: Value = serde_json::from_str(&std::fs::read_to_string(reference).unwrap()).unwrap();
    let conversations = reference["conversations"].as_array().unwrap();
    let mut rounds = 0;
    for conversation in conversations {
        let mut seed = None;
        for round in conversation.as_array().unwrap() {
            let body = json!({"model": "m", "messages": round["messages"], "stream": true});
            let request = parse_chat(body.to_string().as_bytes(), &served).unwrap();
            assert_eq!(*seed.get_or_insert(request.conversation_seed()), request.conversation_seed());
            let prompts = tokenize(&request, &text).unwrap();
            assert_eq!(json!(prompts[0].tokens), round["prompt_tokens"]);

            let head = ResponseHead { request_id: "r".into(), created: 0 };
            let mut renderer = Renderer::new(&request, &prompts, text.clone(), &head);
            let greedy: Vec<u32> = serde_json::from_value(round["greedy"].clone()).unwrap();
            let mut events: Vec<_> = greedy.iter().map(|token| output(&[*token])).collect();
            events.push(done(FinishReason::Length));
            let chunks = chunks(&feed(&mut renderer, &events));
            let new = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
            assert_eq!(json!(new.collect::<String>()), round["text"]);
            rounds += 1;
        }
    }
    assert_eq!(rounds, 19);
}
