//! Requests that are refused, each with the field at fault.

use ampd_worker::openai::{ApiError, Request, parse_chat, parse_completion, tokenize};

use super::support::{CONTEXT, chat, completion, messages, prompt, served, text};

/// Status, field and code of a refusal.
fn refused(result: Result<Request, ApiError>, what: &str) -> (u16, Option<String>, String) {
    let error = result.err().unwrap_or_else(|| panic!("{what} is taken"));
    assert!(!error.message.is_empty());
    (error.status.as_u16(), error.param, error.code.unwrap_or_default().into_owned())
}

fn assert_param(result: Result<Request, ApiError>, what: &str, param: &str) {
    let (status, found, _) = refused(result, what);
    assert_eq!((status, found.as_deref()), (400, Some(param)), "{what}");
}

#[test]
fn what_is_no_json_object_is_refused() {
    let deep = format!(r#"{{"model": "tiny", "messages": {}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let many: Vec<String> = (0..100_000).map(|n| format!(r#""k{n}": 0"#)).collect();
    let many = format!(r#"{{{}, "model": "tiny"}}"#, many.join(", "));
    let bodies: [&[u8]; 14] = [
        b"",
        b"   ",
        b"null",
        b"[]",
        b"\"tiny\"",
        b"1",
        b"{",
        br#"{"model": "tiny""#,
        br#"{"model": "tiny"} x"#,
        br#"["tiny", []]"#,
        b"\xEF\xBB\xBF{}",
        b"{\"model\": \"\xFF\"}",
        deep.as_bytes(),
        many.as_bytes(),
    ];
    for body in bodies {
        let what = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!(refused(parse_chat(body, &served()), &what).0, 400, "{what}");
        assert_eq!(refused(parse_completion(body, &served()), &what).0, 400, "{what}");
    }
}

#[test]
fn fields_of_both_apis_are_named() {
    let cases = [
        (r#""temperature": -1"#, "temperature"),
        (r#""temperature": 1e9"#, "temperature"),
        (r#""temperature": 1e400"#, "temperature"),
        (r#""temperature": NaN"#, "temperature"),
        (r#""temperature": Infinity"#, "temperature"),
        (r#""temperature": "hot""#, "temperature"),
        (r#""temperature": true"#, "temperature"),
        (r#""temperature": 0, "temperature": 1"#, "temperature"),
        (r#""top_p": 0"#, "top_p"),
        (r#""top_p": 2"#, "top_p"),
        (r#""top_p": 1e300"#, "top_p"),
        (r#""top_k": -2"#, "top_k"),
        (r#""top_k": 1.5"#, "top_k"),
        (r#""min_p": 1.1"#, "min_p"),
        (r#""repetition_penalty": 0"#, "repetition_penalty"),
        (r#""presence_penalty": 1e9"#, "presence_penalty"),
        (r#""frequency_penalty": -2.5"#, "frequency_penalty"),
        (r#""seed": 18446744073709551616"#, "seed"),
        (r#""seed": 0.5"#, "seed"),
        (r#""n": 0"#, "n"),
        (r#""n": 17"#, "n"),
        (r#""n": 1000000000"#, "n"),
        (r#""n": -1"#, "n"),
        (r#""max_tokens": 0"#, "max_tokens"),
        (r#""max_tokens": -1"#, "max_tokens"),
        (r#""max_tokens": 1.0"#, "max_tokens"),
        (r#""max_tokens": 1e99"#, "max_tokens"),
        (r#""max_completion_tokens": 0"#, "max_completion_tokens"),
        (r#""stop": """#, "stop"),
        (r#""stop": ["a", ""]"#, "stop"),
        (r#""stop": [null]"#, "stop[0]"),
        (r#""stop": 1"#, "stop"),
        (r#""stop": "\ud800""#, "stop"),
        (r#""stop_token_ids": [283]"#, "stop_token_ids"),
        (r#""stop_token_ids": [-1]"#, "stop_token_ids[0]"),
        (r#""logit_bias": {"1": 101}"#, "logit_bias"),
        (r#""logit_bias": {"283": 1}"#, "logit_bias"),
        (r#""logit_bias": {"a": 1}"#, "logit_bias"),
        (r#""logit_bias": {"1": 1, "1": 2}"#, "logit_bias"),
        (r#""logit_bias": {"1": "x"}"#, "logit_bias.1"),
        (r#""logit_bias": [1]"#, "logit_bias"),
        (r#""stream": "yes""#, "stream"),
        (r#""stream": 1"#, "stream"),
        (r#""stream_options": {"include_usage": true}"#, "stream_options"),
        (r#""stream": true, "stream_options": []"#, "stream_options"),
        (r#""stream": true, "stream_options": {"include_usage": 1}"#, "stream_options.include_usage"),
        (
            r#""stream": true, "stream_options": {"continuous_usage_stats": true}"#,
            "stream_options.continuous_usage_stats",
        ),
        (r#""ignore_eos": 1"#, "ignore_eos"),
        (r#""session_id": """#, "session_id"),
        (r#""session_id": "a\nb""#, "session_id"),
        (r#""cache_salt": "é""#, "cache_salt"),
        (r#""cache_salt": 5"#, "cache_salt"),
        (r#""model": "tiny""#, "model"),
        (r#""x": 1, "x": 2"#, "x"),
    ];
    for (fields, param) in cases {
        assert_param(chat(fields), fields, param);
        assert_param(completion(fields), fields, param);
    }
    let long = "x".repeat(2000);
    let bias: Vec<String> = (0..1025).map(|id| format!(r#""{id}": 0"#)).collect();
    let cases = [
        (format!(r#""stop": "{long}""#), "stop"),
        (format!(r#""stop": [{}"a"]"#, r#""a", "#.repeat(100_000)), "stop"),
        (format!(r#""stop_token_ids": [{}1]"#, "1, ".repeat(256)), "stop_token_ids"),
        (format!(r#""session_id": "{long}""#), "session_id"),
        (format!(r#""logit_bias": {{{}}}"#, bias.join(", ")), "logit_bias"),
    ];
    for (fields, param) in cases {
        assert_param(chat(&fields), param, param);
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let both = [
        r#""response_format": {"type": "json_object"}"#,
        r#""response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "(a{1000}){1000}"}}}"#,
        r#""min_tokens": 1"#,
        r#""guided_json": {"type": "object"}"#,
        r#""guided_regex": "a+""#,
        r#""structured_outputs": {"regex": "a"}"#,
        r#""prompt_logprobs": 0"#,
        r#""bad_words": ["a"]"#,
        r#""allowed_token_ids": [1]"#,
        r#""truncate_prompt_tokens": 5"#,
        r#""kv_transfer_params": {"do_remote_prefill": true}"#,
        r#""best_of": 2"#,
        r#""use_beam_search": true"#,
        r#""skip_special_tokens": false"#,
    ];
    let chat_only = [
        r#""tools": [{"type": "function", "function": {"name": "f"}}]"#,
        r#""tool_choice": "required""#,
        r#""tool_choice": {"type": "function", "function": {"name": "f"}}"#,
        r#""functions": [{"name": "f"}]"#,
        r#""function_call": {"name": "f"}"#,
        r#""modalities": ["text", "audio"]"#,
        r#""audio": {"voice": "alloy"}"#,
        r#""chat_template": "{{ messages }}""#,
        r#""chat_template_kwargs": {"tokenize": true}"#,
        r#""documents": [{"text": "x"}]"#,
        r#""echo": true"#,
        r#""add_generation_prompt": false"#,
        r#""continue_final_message": true"#,
        r#""reasoning_effort": "high""#,
    ];
    let completion_only = [r#""suffix": "x""#, r#""prompt_embeds": "x""#, r#""add_special_tokens": false"#];
    let name = |fields: &str| fields.split('"').nth(1).unwrap().to_owned();
    for fields in both.iter().chain(&chat_only) {
        let expected = (400, Some(name(fields)), "unsupported_parameter".to_owned());
        assert_eq!(refused(chat(fields), fields), expected, "{fields}");
    }
    for fields in both.iter().chain(&completion_only) {
        let expected = (400, Some(name(fields)), "unsupported_parameter".to_owned());
        assert_eq!(refused(completion(fields), fields), expected, "{fields}");
    }
}

#[test]
fn messages_are_named_by_their_place() {
    let ten_thousand = format!("[{}{{}}]", r#"{"role": "user", "content": "a"}, "#.repeat(10_000));
    let parts = |parts: &str| format!(r#"[{{"role": "user", "content": {parts}}}]"#);
    let many_parts = format!("[{}1]", r#"{"type": "text", "text": "a"}, "#.repeat(1024));
    let cases = [
        ("[]".to_owned(), "messages"),
        ("null".to_owned(), "messages"),
        (r#""hi""#.to_owned(), "messages"),
        ("{}".to_owned(), "messages"),
        (ten_thousand, "messages"),
        (r#"["hi"]"#.to_owned(), "messages[0]"),
        (r#"[["user", "hi"]]"#.to_owned(), "messages[0]"),
        (r#"[{"content": "hi"}]"#.to_owned(), "messages[0].role"),
        (r#"[{"role": "king", "content": "hi"}]"#.to_owned(), "messages[0].role"),
        (r#"[{"role": 1, "content": "hi"}]"#.to_owned(), "messages[0].role"),
        (
            r#"[{"role": "user", "content": "a"}, {"role": "tool", "content": "1"}]"#.to_owned(),
            "messages[1].role",
        ),
        (r#"[{"role": "user"}]"#.to_owned(), "messages[0].content"),
        (r#"[{"role": "user", "content": null}]"#.to_owned(), "messages[0].content"),
        (r#"[{"role": "user", "content": 5}]"#.to_owned(), "messages[0].content"),
        (r#"[{"role": "user", "content": "\udc00"}]"#.to_owned(), "messages[0].content"),
        (r#"[{"role": "user", "content": "a", "content": "b"}]"#.to_owned(), "messages[0]"),
        (r#"[{"role": "user", "content": "a", "name": ""}]"#.to_owned(), "messages[0].name"),
        (
            r#"[{"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]}]"#.to_owned(),
            "messages[0].tool_calls",
        ),
        (parts("[]"), "messages[0].content"),
        (parts("[1]"), "messages[0].content[0]"),
        (parts(r#"["text", "hi"]"#), "messages[0].content[0]"),
        (parts(r#"[{"type": "text"}]"#), "messages[0].content"),
        (
            parts(r#"[{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]"#),
            "messages[0].content",
        ),
        (parts(r#"[{"type": "text", "text": 1}]"#), "messages[0].content[0].text"),
        (parts(&many_parts), "messages[0].content[1024]"),
    ];
    for (body, param) in cases {
        assert_param(messages(&body), &body[..body.len().min(100)], param);
    }
    assert_param(parse_chat(br#"{"model": "tiny"}"#, &served()), "no messages", "messages");
    assert_param(chat(r#""logprobs": 5"#), "a count", "logprobs");
    assert_param(chat(r#""top_logprobs": 5"#), "without logprobs", "top_logprobs");
    assert_param(chat(r#""logprobs": true, "top_logprobs": 21"#), "too many", "top_logprobs");
}

#[test]
fn prompts_are_of_one_kind_and_not_empty() {
    let many = format!("[{}\"a\"]", "\"a\", ".repeat(64));
    for (body, param) in [
        (r#""""#, "prompt"),
        ("null", "prompt"),
        ("[]", "prompt"),
        ("[[]]", "prompt"),
        (r#"["a", ""]"#, "prompt"),
        ("5", "prompt"),
        ("{}", "prompt"),
        (r#"[1, "a"]"#, "prompt[1]"),
        (r#"["a", 1]"#, "prompt[1]"),
        ("[[1], 2]", "prompt[1]"),
        ("[[1, -1]]", "prompt[0][1]"),
        ("[-1]", "prompt[0]"),
        ("[4294967296]", "prompt[0]"),
        ("[1, 1.5]", "prompt[1]"),
        (many.as_str(), "prompt"),
    ] {
        assert_param(prompt(body, ""), body, param);
    }
    assert_param(parse_completion(br#"{"model": "tiny"}"#, &served()), "no prompt", "prompt");
    assert_param(prompt(r#"["a", "b", "c", "d", "e", "f", "g", "h", "i"]"#, r#""n": 16"#), "choices", "n");
    assert_param(completion(r#""logprobs": true"#), "a boolean", "logprobs");
    assert_param(completion(r#""logprobs": 1000000"#), "too many", "logprobs");
    let request = prompt("[1, 283]", "").unwrap();
    assert_eq!(tokenize(&request, &text()).unwrap_err().param.as_deref(), Some("prompt"));
}

#[test]
fn an_unknown_model_is_not_found() {
    let body = br#"{"model": "gpt-5", "messages": []}"#;
    let expected = (404, Some("model".to_owned()), "model_not_found".to_owned());
    assert_eq!(refused(parse_chat(body, &served()), "gpt-5"), expected);
    assert_eq!(refused(parse_completion(body, &served()), "gpt-5"), expected);
    assert_param(parse_chat(br#"{"messages": []}"#, &served()), "no model", "model");
}

#[test]
fn prompt_and_output_must_fit_the_context() {
    let fits = |prompt_tokens: usize, fields: &str| {
        let ids = vec!["5"; prompt_tokens].join(", ");
        tokenize(&prompt(&format!("[{ids}]"), fields).unwrap(), &text()).map(|prompts| prompts[0].max_tokens)
    };
    assert_eq!(fits(CONTEXT - 1, "").unwrap(), 1);
    assert_eq!(fits(CONTEXT - 2, r#""max_tokens": 2"#).unwrap(), 2);
    assert_eq!(fits(CONTEXT, r#""max_tokens": 0, "echo": true"#).unwrap(), 0);
    for (prompt_tokens, fields, numbers) in [
        (CONTEXT, "", ["512 tokens", "the prompt has 512"]),
        (CONTEXT - 1, r#""max_tokens": 2"#, ["512 tokens", "511 in the prompt and 2 for the output"]),
        (10 * CONTEXT, "", ["512 tokens", "the prompt has 5120"]),
        (
            5,
            r#""max_tokens": 18446744073709551615"#,
            ["5 in the prompt", "18446744073709551615 for the output"],
        ),
    ] {
        let error = fits(prompt_tokens, fields).unwrap_err();
        assert_eq!((error.status.as_u16(), error.code.as_deref()), (400, Some("context_length_exceeded")));
        assert!(numbers.iter().all(|number| error.message.contains(number)), "{error}");
    }
    let request = chat(r#""max_completion_tokens": 512"#).unwrap();
    assert_eq!(tokenize(&request, &text()).unwrap_err().code.as_deref(), Some("context_length_exceeded"));
}

#[test]
fn large_bodies_are_read_in_bounded_time() {
    let mib = 8 << 20;
    let filled =
        |start: &str, unit: &str, end: &str| format!("{start}{}{end}", unit.repeat(mib / unit.len()));
    let bodies = [
        filled(r#"{"model": "tiny", "prompt": [0"#, ",0", "]}"),
        filled(r#"{"model": "tiny", "prompt": [""#, r#"","a"#, r#""]}"#),
        filled(r#"{"model": "tiny", "messages": [{}"#, ",{}", "]}"),
        filled(r#"{"model": "tiny", "messages": [{"role": "user", "content": [{}"#, ",{}", "]}]}"),
        filled(r#"{"model": "tiny", "messages": [{"role": "user", "content": "a", "x": "#, "[", "}]}"),
        filled(r#"{"model": "tiny", "x": "#, "[", "}"),
        filled(r#"{"model": "tiny", "tools": "#, "[", "}"),
        filled(r#"{"model": "tiny", "tools": [0"#, ",[0,0]", "]}"),
        filled(r#"{"model": "tiny", "stop": ["a""#, r#","a""#, "]}"),
        filled(r#"{"model": ""#, "x", r#""}"#),
        filled(r#"{"model": "tiny", "temperature": "#, "9", "}"),
        filled(r#"{"model": "tiny", "temperature": ""#, "9", r#""}"#),
    ];
    for body in bodies {
        let start = std::time::Instant::now();
        for result in [parse_chat(body.as_bytes(), &served()), parse_completion(body.as_bytes(), &served())] {
            let Err(error) = result else { continue };
            assert!(matches!(error.status.as_u16(), 400 | 404) && error.message.len() < 3000, "{error:?}");
        }
        assert!(start.elapsed().as_secs() < 10, "{} takes {:?}", &body[..60], start.elapsed());
    }
}
