//! Answers in one body and as streams.

use ampd_worker::openai::{ApiError, Request, error_frame};
use ampd_worker::protocol::{ErrorCode, ErrorDetail, FinishReason, RoundEvent};
use http::StatusCode;
use serde_json::{Value, json};

use super::support::{
    TURN_END, body, bytes, chat, chunks, completion, done, feed, frames, output, prompt, renderer,
};

/// "The é" as single bytes, then the end of the turn: a character in two tokens.
fn events() -> Vec<RoundEvent> {
    let text = bytes("The é");
    vec![
        RoundEvent::Ping {},
        output(&text[..1]),
        output(&text[1..5]),
        output(&text[5..]),
        output(&[TURN_END]),
        done(FinishReason::Stop),
    ]
}

#[test]
fn a_chat_streams() {
    let request = chat(r#""stream": true, "stream_options": {"include_usage": true}"#).unwrap();
    let mut renderer = renderer(&request);
    renderer.opened(0, 1);
    let stream = feed(&mut renderer, &events());
    assert!(renderer.is_done() && renderer.output_tokens() == 7);
    insta::assert_snapshot!(stream);
}

#[test]
fn a_completion_streams() {
    let request = completion(r#""stream": true, "echo": true"#).unwrap();
    insta::assert_snapshot!(feed(&mut renderer(&request), &events()));
}

#[test]
fn bodies_have_the_same_text() {
    let request = chat("").unwrap();
    let mut chat = renderer(&request);
    assert_eq!(feed(&mut chat, &events()), "");
    insta::assert_json_snapshot!("chat_body", body(chat));
    let request = completion("").unwrap();
    let mut completion = renderer(&request);
    assert_eq!(feed(&mut completion, &events()), "");
    insta::assert_json_snapshot!("completion_body", body(completion));
}

/// Text and end of a choice whose output is `tokens`, one a step; and whether its round was to be ended.
fn ended(request: &Request, tokens: &[u32], finish: FinishReason) -> (String, Value, bool) {
    let mut renderer = renderer(request);
    let mut stop = false;
    for token in tokens {
        stop |= renderer.event(0, &output(&[*token])).unwrap().stop;
    }
    renderer.event(0, &done(finish)).unwrap();
    let body = body(renderer);
    let choice = &body["choices"][0];
    (choice["text"].as_str().unwrap().to_owned(), choice["finish_reason"].clone(), stop)
}

#[test]
fn what_ends_the_text_is_not_part_of_it() {
    let (stop, length) = (json!("stop"), json!("length"));
    let text = bytes("ab, cd");
    let plain = completion("").unwrap();
    assert_eq!(ended(&plain, &text, FinishReason::Length), ("ab, cd".into(), length.clone(), false));
    let stops = completion(r#""stop": ["x", ", c"]"#).unwrap();
    assert_eq!(ended(&stops, &text, FinishReason::Length), ("ab".into(), stop.clone(), true));
    let kept = completion(r#""stop": ", c", "include_stop_str_in_output": true"#).unwrap();
    assert_eq!(ended(&kept, &text, FinishReason::Length), ("ab, c".into(), stop.clone(), true));
    let almost = completion(r#""stop": "cde""#).unwrap();
    assert_eq!(ended(&almost, &text, FinishReason::Length), ("ab, cd".into(), length.clone(), false));

    let comma = bytes(",")[0];
    let by_token = completion(&format!(r#""stop_token_ids": [{comma}]"#)).unwrap();
    assert_eq!(ended(&by_token, &text[..3], FinishReason::Stop), ("ab".into(), stop.clone(), false));
    let kept =
        completion(&format!(r#""stop_token_ids": [{comma}], "include_stop_str_in_output": true"#)).unwrap();
    assert_eq!(ended(&kept, &text[..3], FinishReason::Stop), ("ab,".into(), stop, false));
    let ignored = completion(r#""ignore_eos": true"#).unwrap();
    let with_end = [&text[..2], &[TURN_END], &text[2..4]].concat();
    assert_eq!(ended(&ignored, &with_end, FinishReason::Length), ("ab, ".into(), length.clone(), false));
    let half = &bytes("é")[..1];
    assert_eq!(ended(&plain, half, FinishReason::Length), ("\u{FFFD}".into(), length, false));
}

#[test]
fn a_stopped_choice_is_over_at_once() {
    let request = chat(r#""stop": "b", "stream": true"#).unwrap();
    let mut renderer = renderer(&request);
    let rendered = renderer.event(0, &output(&bytes("abc"))).unwrap();
    let stream = String::from_utf8(rendered.frames.to_vec()).unwrap();
    assert!(rendered.stop && renderer.is_done());
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    assert_eq!(renderer.output_tokens(), 2);
    for late in [output(&bytes("d")), done(FinishReason::Length), error_event()] {
        assert_eq!(renderer.event(0, &late).unwrap().frames, "");
    }
}

#[test]
fn choices_interleave_and_usage_counts_prompts_once() {
    let request =
        prompt(r#"["one", "three"]"#, r#""n": 2, "stream": true, "stream_options": {"include_usage": true}"#)
            .unwrap();
    let prompts: usize = super::support::tokens(&request).iter().map(|prompt| prompt.tokens.len()).sum();
    let mut renderer = renderer(&request);
    for (choice, history) in [(0, 2), (1, 3), (2, 1), (3, 3)] {
        renderer.opened(choice, history);
    }
    let mut stream = String::new();
    for letter in "ab".chars() {
        for choice in 0..4 {
            stream += &frames(&mut renderer, choice, &output(&bytes(&format!("{letter}"))));
        }
    }
    let ends = RoundEvent::Done(ampd_worker::protocol::RoundDone {
        finish_reason: FinishReason::Length,
        prompt_tokens: 1,
        history: 1,
        output_tokens: 2,
    });
    for choice in [3, 0, 2] {
        stream += &frames(&mut renderer, choice, &ends);
    }
    assert!(!renderer.is_done() && !stream.contains("[DONE]"));
    stream += &frames(&mut renderer, 1, &ends);
    let chunks = chunks(&stream);
    let (usage, parts) = chunks.split_last().unwrap();
    assert!(
        parts.iter().all(|part| part["usage"].is_null() && part.as_object().unwrap().contains_key("usage"))
    );
    for index in 0..4 {
        let of_choice =
            parts.iter().map(|part| &part["choices"][0]).filter(|choice| choice["index"] == index);
        assert_eq!(of_choice.map(|choice| choice["text"].as_str().unwrap()).collect::<String>(), "ab");
    }
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        usage["usage"],
        json!({
            "prompt_tokens": prompts, "completion_tokens": 8, "total_tokens": prompts + 8,
            "prompt_tokens_details": {"cached_tokens": 2},
        })
    );
}

fn error_event() -> RoundEvent {
    RoundEvent::Error(ErrorDetail::new(ErrorCode::NonFiniteLogits, "layer 3 at 10.0.0.1"))
}

#[test]
fn a_failed_round_is_an_error_and_no_answer() {
    let request = chat(r#""stream": true"#).unwrap();
    let mut renderer = renderer(&request);
    let begun = feed(&mut renderer, &[output(&bytes("a"))]);
    assert!(begun.contains(r#""role":"assistant""#));
    let error = renderer.event(0, &error_event()).unwrap_err();
    assert_eq!((error.status, error.should_retry), (StatusCode::INTERNAL_SERVER_ERROR, Some(false)));
    let frame = String::from_utf8(error_frame(&error).to_vec()).unwrap();
    assert!(
        frame.starts_with(r#"data: {"error":{"#) && !frame.contains("10.0.0.1") && !frame.contains("[DONE]")
    );
    assert_eq!(renderer.body().unwrap_err(), ApiError::worker_lost());
    assert!(super::support::renderer(&request).event(1, &output(&[5])).is_err());
}
