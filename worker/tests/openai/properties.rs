//! What holds for any input.

use ampd_worker::openai::{parse_chat, parse_completion, tokenize};
use ampd_worker::protocol::FinishReason;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{body, chat, chunks, completion, done, frames, output, renderer, served, text};

const FIELDS: [&str; 34] = [
    "model",
    "messages",
    "prompt",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "n",
    "best_of",
    "logprobs",
    "top_logprobs",
    "echo",
    "stream",
    "stream_options",
    "session_id",
    "cache_salt",
    "tools",
    "tool_choice",
    "response_format",
    "suffix",
    "user",
    "chat_template",
    "min_tokens",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2i64..4).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop_oneof!["user", "system", "assistant", "text", "tiny", "none"].prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![
            Just("role".to_owned()),
            Just("content".to_owned()),
            Just("type".to_owned()),
            Just("text".to_owned()),
            Just("include_usage".to_owned()),
            "[0-9]{1,3}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Reads a body both ways: whatever it is, it is taken and can be tokenised, or it is the client's fault.
fn read(body: &[u8]) -> Result<(), TestCaseError> {
    for request in [parse_chat(body, &served()), parse_completion(body, &served())] {
        let result = request.and_then(|request| {
            assert!((1..=128).contains(&request.choices()));
            tokenize(&request, &text())
        });
        match result {
            Ok(prompts) => {
                prop_assert!(
                    prompts.iter().all(|p| !p.tokens.is_empty() && p.tokens.len() + p.max_tokens <= 512)
                );
            }
            Err(error) => prop_assert!(matches!(error.status.as_u16(), 400 | 404), "{error:?}"),
        }
    }
    Ok(())
}

/// The text that single-byte tokens stand for, up to the stop string that is complete first.
fn expected(bytes: &[u8], stops: &[String]) -> (String, bool) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let end = |stop: &String| Some((text.find(stop.as_str())? + stop.len(), text.find(stop.as_str())?));
    match stops.iter().filter_map(end).min() {
        Some((_, start)) => (text[..start].to_owned(), true),
        None => (text, false),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes)?;
    }

    #[test]
    fn any_fields_are_read_or_refused(fields in prop::collection::hash_map(prop::sample::select(&FIELDS[..]), value(), 0..5)) {
        let mut body = json!({
            "model": "tiny", "prompt": "a", "messages": [{"role": "user", "content": "a"}],
        });
        for (name, value) in fields {
            body[name] = value;
        }
        read(body.to_string().as_bytes())?;
    }

    #[test]
    fn cut_bodies_are_refused(cut in 0usize..100) {
        let body = br#"{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "prompt": [1, 2], "stop": ["x"]}"#;
        if cut < body.len() {
            prop_assert!(parse_chat(&body[..cut], &served()).is_err());
            prop_assert!(parse_completion(&body[..cut], &served()).is_err());
        }
    }

    #[test]
    fn text_is_the_same_streamed_or_not_and_however_it_is_cut(
        bytes in prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0xC3), Just(0xA9), any::<u8>()], 0..24),
        stops in prop::collection::vec("[abé]{1,3}", 0..3),
        steps in prop::collection::vec(1usize..5, 24),
        is_chat: bool,
    ) {
        let fields = json!(stops);
        let make = |stream: bool| {
            let fields = format!(r#""stop": {fields}, "stream": {stream}"#);
            if is_chat { chat(&fields).unwrap() } else { completion(&fields).unwrap() }
        };
        let ids: Vec<u32> = bytes.iter().map(|byte| 3 + u32::from(*byte)).collect();
        let (mut whole, mut parts) = (renderer(&make(false)), renderer(&make(true)));
        let (mut stream, mut rest) = (String::new(), ids.as_slice());
        whole.event(0, &output(&ids)).unwrap();
        for step in steps {
            let (now, later) = rest.split_at(step.min(rest.len()));
            stream += &frames(&mut parts, 0, &output(now));
            rest = later;
        }
        whole.event(0, &done(FinishReason::Length)).unwrap();
        stream += &frames(&mut parts, 0, &done(FinishReason::Length));
        prop_assert!(stream.ends_with("data: [DONE]\n\n"));

        let (text, stopped) = expected(&bytes, &stops);
        let reason = if stopped { "stop" } else { "length" };
        let body = body(whole);
        let choice = &body["choices"][0];
        prop_assert_eq!(if is_chat { &choice["message"]["content"] } else { &choice["text"] }, &json!(text));
        prop_assert_eq!(&choice["finish_reason"], &json!(reason));
        let chunks = chunks(&stream);
        let new = chunks.iter().map(|chunk| &chunk["choices"][0]);
        let new = new.map(|choice| if is_chat { &choice["delta"]["content"] } else { &choice["text"] });
        prop_assert_eq!(new.filter_map(Value::as_str).collect::<String>(), text);
        prop_assert_eq!(&chunks[chunks.len() - 1]["choices"][0]["finish_reason"], &json!(reason));
    }
}
