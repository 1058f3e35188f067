//! Log-probabilities, with and without the prompt's.

use ampd_worker::protocol::{FinishReason, OutputToken, RoundEvent, TokenLogprob};
use serde_json::{Value, json};

use super::support::{TURN_END, body, bytes, chat, chunks, done, feed, output, prompt, renderer, tokens};

fn with_logprobs(ids: &[u32]) -> RoundEvent {
    let token =
        |id: &u32| OutputToken { id: *id, logprob: Some(-0.5), top: vec![(*id, -0.5), (3 + 65, -1.25)] };
    RoundEvent::Tokens(ids.iter().map(token).collect())
}

fn of_prompt(tokens: &[u32]) -> RoundEvent {
    let token = |id: &u32| TokenLogprob { id: *id, logprob: -2.0, top: vec![(3 + 65, -1.0)] };
    RoundEvent::PromptLogprobs(tokens[1..].iter().map(token).collect())
}

/// Checks that each token stands in the text at its offset.
fn assert_aligned(text: &str, logprobs: &Value) {
    let letters: Vec<char> = text.chars().collect();
    let tokens = logprobs["tokens"].as_array().unwrap();
    for list in ["token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), tokens.len(), "{list}");
    }
    for (token, offset) in tokens.iter().zip(logprobs["text_offset"].as_array().unwrap()) {
        let (token, offset) = (token.as_str().unwrap(), offset.as_u64().unwrap() as usize);
        if !token.starts_with("bytes:") && !token.starts_with("<|") {
            let there: String = letters[offset..].iter().take(token.chars().count()).collect();
            assert_eq!(there, token);
        }
    }
}

#[test]
fn an_echoed_prompt_is_scored() {
    for fields in [r#""max_tokens": 0"#, r#""max_tokens": 1"#] {
        let request =
            prompt(r#""on the é line""#, &format!(r#"{fields}, "logprobs": 1, "echo": true"#)).unwrap();
        let prompt = tokens(&request)[0].tokens.clone();
        let mut renderer = renderer(&request);
        let mut events = vec![of_prompt(&prompt)];
        let output = usize::from(request.max_tokens == Some(1));
        if output == 1 {
            // The end of the turn has no text, and still its own place: clients cut the last one off.
            events.push(with_logprobs(&[TURN_END]));
        }
        events.push(done(FinishReason::Length));
        feed(&mut renderer, &events);
        let body = body(renderer);
        let choice = &body["choices"][0];
        assert_eq!(choice["text"], "on the é line");
        let logprobs = &choice["logprobs"];
        assert_aligned(choice["text"].as_str().unwrap(), logprobs);
        let scores = logprobs["token_logprobs"].as_array().unwrap();
        assert_eq!(scores.len(), prompt.len() + output);
        assert_eq!((&scores[0], &logprobs["top_logprobs"][0]), (&Value::Null, &Value::Null));
        assert!(scores[1..prompt.len()].iter().all(|score| *score == json!(-2.0)));
        assert_eq!(body["usage"]["completion_tokens"], output);
    }
}

#[test]
fn a_stream_tells_each_token_once() {
    let fields = r#""logprobs": 2, "echo": true, "stream": true, "stop": "zz""#;
    let request = prompt(r#""say é""#, fields).unwrap();
    let prompt = tokens(&request)[0].tokens.clone();
    let mut renderer = renderer(&request);
    let out = bytes("az é");
    let mut events = vec![of_prompt(&prompt)];
    events.extend(out.iter().map(|id| with_logprobs(&[*id])));
    events.extend([with_logprobs(&[TURN_END]), done(FinishReason::Stop)]);
    let (mut text, mut all) = (String::new(), json!({}));
    for chunk in chunks(&feed(&mut renderer, &events)) {
        let choice = &chunk["choices"][0];
        text.push_str(choice["text"].as_str().unwrap());
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            let mut entries = all[list].as_array().cloned().unwrap_or_default();
            entries.extend(choice["logprobs"][list].as_array().cloned().unwrap_or_default());
            all[list] = json!(entries);
        }
    }
    assert_eq!(text, "say éaz é");
    assert_eq!(all["tokens"].as_array().unwrap().len(), prompt.len() + out.len() + 1);
    assert_aligned(&text, &all);
}

#[test]
fn chat_lists_tokens_with_their_bytes() {
    let request = chat(r#""logprobs": true, "top_logprobs": 2"#).unwrap();
    let mut renderer = renderer(&request);
    feed(&mut renderer, &[with_logprobs(&bytes("é")), done(FinishReason::Length)]);
    let body = body(renderer);
    let content = body["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 2);
    assert_eq!(content[0]["bytes"], json!([0xC3]));
    assert_eq!(content[1]["top_logprobs"][1], json!({"token": "A", "logprob": -1.25, "bytes": [65]}));
    assert_eq!(body["choices"][0]["message"]["content"], "é");
}

#[test]
fn log_probabilities_that_are_missing_are_an_error() {
    let request = prompt("[5, 6, 7]", r#""logprobs": 1, "echo": true"#).unwrap();
    assert!(renderer(&request).event(0, &with_logprobs(&[5])).is_err());
    let mut short = renderer(&request);
    short.event(0, &of_prompt(&[5, 6])).unwrap();
    assert!(short.event(0, &with_logprobs(&[5])).is_err());
    let mut parts = renderer(&request);
    parts.event(0, &of_prompt(&[5, 6])).unwrap();
    let rest = of_prompt(&[6, 7]);
    parts.event(0, &rest).unwrap();
    assert!(parts.event(0, &with_logprobs(&[5])).is_ok());
    let mut renderer = renderer(&request);
    renderer.event(0, &of_prompt(&[5, 6, 7])).unwrap();
    assert!(renderer.event(0, &output(&[5])).is_err());
}
