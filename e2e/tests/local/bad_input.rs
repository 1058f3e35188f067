//! Requests that cannot be served, over real HTTP: each gets an error that names its field and harms nobody else.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ampd_testkit::chat::{ChatClient, http};
use ampd_testkit::cluster::{LocalCluster, LocalOptions, model, settled, skipped};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A request and what must come back: status, and the field that the error names.
struct Case {
    path: &'static str,
    body: Vec<u8>,
    status: u16,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

fn case(path: &'static str, body: impl Into<Vec<u8>>, status: u16, param: Option<&'static str>) -> Case {
    Case { path, body: body.into(), status, param, code: None }
}

/// A good chat request with one field replaced.
fn with(model: &str, field: &'static str, value: Value) -> Case {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0});
    body[field] = value;
    case(CHAT, body.to_string(), 400, Some(field))
}

fn malformed() -> Vec<Case> {
    let mut cases: Vec<_> = ["", "{", "null", "[]", "7", "{\"model\":", "nonsense", "{\"model\":NaN}"]
        .into_iter()
        .map(|text| case(CHAT, text, 400, None))
        .collect();
    cases.push(case(
        CHAT,
        b"{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}",
        400,
        None,
    ));
    cases.push(case(CHAT, "[".repeat(100_000), 400, None));
    let nested = format!("{{\"x\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    cases.push(case(CHAT, nested, 400, None));
    cases
}

fn bad_fields(model: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let numbers = [
        ("max_tokens", vec![json!(-1), json!(1e30), json!("x"), json!(1.5)]),
        ("max_completion_tokens", vec![json!(-5), json!([])]),
        ("temperature", vec![json!(-1), json!(1e39), json!("hot"), json!(1e308)]),
        ("top_p", vec![json!(-0.5), json!(2), json!({})]),
        ("top_k", vec![json!(-7), json!("x")]),
        ("min_p", vec![json!(-1), json!(3)]),
        ("n", vec![json!(0), json!(-1), json!(1_000_000_000)]),
        ("presence_penalty", vec![json!(99), json!("x")]),
        ("frequency_penalty", vec![json!(-99)]),
        ("seed", vec![json!("x"), json!(1.5)]),
        ("top_logprobs", vec![json!(100), json!(-1)]),
    ];
    for (field, values) in numbers {
        cases.extend(values.into_iter().map(|value| with(model, field, value)));
    }
    let others = [
        ("messages", json!([])),
        ("messages", json!("Hi")),
        ("messages", json!(null)),
        ("messages", json!([{"role": "alien", "content": "Hi"}])),
        ("messages", json!([{"role": "user", "content": 5}])),
        ("messages", json!([{"role": "user"}])),
        ("messages", Value::Array(vec![json!({"role": "user", "content": "Hi"}); 10_000])),
        ("stream", json!("yes")),
        ("stop", json!(vec!["x"; 1000])),
        ("stop", json!([5])),
        ("logit_bias", json!({"-5": 1})),
        ("logit_bias", json!({"99999999": 1})),
        ("logit_bias", json!({"5": 1e9})),
        ("tools", json!([{"type": "function", "function": {"name": "f", "parameters": {}}}])),
        ("response_format", json!({"type": "json_object"})),
    ];
    cases.extend(others.into_iter().map(|(field, value)| with(model, field, value)));
    for prompt in [json!([99_999_999]), json!([-1]), json!({"x": 1}), json!([])] {
        let body = json!({"model": model, "prompt": prompt, "max_tokens": 4});
        cases.push(case(COMPLETIONS, body.to_string(), 400, Some("prompt")));
    }
    let unknown =
        Case { status: 404, code: Some("model_not_found"), ..with(model, "model", json!("no-such-model")) };
    cases.push(unknown);
    // As OpenAI has it, whatever of the two makes the sum too large.
    let long = [
        ("max_tokens", json!(1_000_000)),
        ("max_tokens", json!(u64::MAX)),
        ("messages", json!([{"role": "user", "content": "one two three ".repeat(20_000)}])),
    ];
    for (field, value) in long {
        let (param, code) = (Some("messages"), Some("context_length_exceeded"));
        cases.push(Case { param, code, ..with(model, field, value) });
    }
    cases
}

/// Sends a case and tells what is wrong with the answer.
async fn check(http: &reqwest::Client, base: &str, case: &Case) -> Result<(), String> {
    let request = http.post(format!("{base}{}", case.path)).header("content-type", "application/json");
    let response = request.body(case.body.clone()).send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status().as_u16();
    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
    let error = serde_json::from_str::<Value>(&text).map_err(|_| format!("{status}, not JSON: {text:?}"))?;
    let error = &error["error"];
    let complete = ["message", "type", "param", "code"].iter().all(|key| error.get(key).is_some());
    if status != case.status || !complete || error["message"].as_str().is_none_or(str::is_empty) {
        return Err(format!("expected {}, got {status}: {text}", case.status));
    }
    let param = error["param"].as_str().unwrap_or_default();
    if case.param.is_some_and(|wanted| !param.starts_with(wanted)) {
        return Err(format!("expected param {:?}: {text}", case.param));
    }
    if case.code.is_some_and(|wanted| error["code"] != wanted) {
        return Err(format!("expected code {:?}: {text}", case.code));
    }
    Ok(())
}

/// Rounds of a client that does nothing wrong, until it is told to stop. The task gives how many there were.
fn healthy(client: ChatClient, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            let messages =
                [json!({"role": "user", "content": format!("Say hello, please, number {rounds}.")})];
            let session = format!("healthy-{rounds}");
            let answer = client.round(&session, &messages, json!({"max_tokens": 4})).await.unwrap();
            assert!(answer.complete(), "{answer:?}");
            rounds += 1;
        }
        rounds
    })
}

/// Runs `test` beside a healthy client on a small cluster; afterwards nothing may be held.
async fn beside_healthy<F: Future<Output = Vec<String>>>(test: impl FnOnce(String, String) -> F) {
    if model().is_none() {
        return skipped("AMPD_MODEL");
    }
    let cluster = LocalCluster::start(LocalOptions::new(1, 1)).await.unwrap();
    let client = ChatClient::new(&cluster.url).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let beside = healthy(client.clone(), stop.clone());
    let wrong = test(cluster.url.clone(), client.model().to_owned()).await;
    stop.store(true, Ordering::Relaxed);
    assert!(beside.await.unwrap() > 0, "the healthy client got nowhere");
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    settled(&http().unwrap(), &cluster.members().unwrap(), Duration::from_secs(10)).await.unwrap();
    assert!(cluster.members().unwrap().iter().all(|member| member.restarts == 0), "a process died");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn bad_requests_name_their_field_and_harm_nobody() {
    beside_healthy(|url, model| async move {
        let http = http().unwrap();
        let mut wrong = Vec::new();
        for case in malformed().into_iter().chain(bad_fields(&model)) {
            if let Err(what) = check(&http, &url, &case).await {
                let body = String::from_utf8_lossy(&case.body[..case.body.len().min(150)]).into_owned();
                wrong.push(format!("{} {body}: {what}", case.path));
            }
        }
        let missing = http.get(format!("{url}/v1/nothing")).send().await.unwrap().status();
        let method = http.delete(format!("{url}{CHAT}")).send().await.unwrap().status();
        if (missing.as_u16(), method.as_u16()) != (404, 405) {
            wrong.push(format!("unknown path {missing}, wrong method {method}"));
        }
        wrong
    })
    .await;
}

/// Sends bytes on a connection of its own and reads until the other side closes.
async fn raw(url: &str, parts: Vec<&[u8]>, limit: Duration) -> Result<String, String> {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    for part in parts {
        // The other side may answer and close before everything is sent.
        if stream.write_all(part).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(limit, stream.read_to_end(&mut answer)).await;
    read.map_err(|_| format!("still open after {limit:?}"))?.ok();
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn large_slow_and_absent_clients_are_bounded() {
    beside_healthy(|url, _| async move {
        let head = |more: &str| {
            format!("POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{more}\r\n")
        };
        let announced = head("Content-Length: 104857600\r\n");
        let chunked = head("Transfer-Encoding: chunked\r\n");
        let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
        let endless: Vec<&[u8]> =
            std::iter::once(chunked.as_bytes()).chain([chunk.as_slice(); 100]).collect();
        let slow = head("Content-Length: 100\r\n");
        let limit = Duration::from_secs(45);
        let start = Instant::now();
        let (large, streamed, body, idle, headers) = tokio::join!(
            raw(&url, vec![announced.as_bytes()], limit),
            raw(&url, endless, limit),
            raw(&url, vec![slow.as_bytes(), b"{"], limit),
            raw(&url, vec![], limit),
            raw(&url, vec![b"POST /v1/chat"], limit),
        );
        let mut wrong = Vec::new();
        let mut expect = |what: &str, answer: Result<String, String>, statuses: &[&str]| match answer {
            Ok(text) if statuses.iter().any(|status| text.starts_with(status)) => {}
            other => wrong.push(format!("{what}: {other:?}")),
        };
        expect("100 MB announced", large, &["HTTP/1.1 413"]);
        expect("100 MB in chunks", streamed, &["HTTP/1.1 413"]);
        expect("slow body", body, &["HTTP/1.1 408"]);
        // Closed with or without a word.
        expect("idle connection", idle, &[""]);
        expect("slow head", headers, &[""]);
        if start.elapsed() > limit {
            wrong.push(format!("took {:?}", start.elapsed()));
        }
        wrong
    })
    .await;
}

#[tokio::test]
async fn clients_that_leave_before_the_first_token_leave_nothing_behind() {
    beside_healthy(|url, _| async move {
        let client = ChatClient::new(&url).await.unwrap();
        let mut leaving = tokio::task::JoinSet::new();
        for number in 0..10 {
            let client = client.clone();
            leaving.spawn(async move {
                let text = format!("{number} {}", "a long story about many things ".repeat(60));
                let messages = [json!({"role": "user", "content": text})];
                let session = format!("early-{number}");
                let round = client.round(&session, &messages, json!({"max_tokens": 500, "ignore_eos": true}));
                // The connection goes while the prompt is still computed, or in line.
                tokio::time::timeout(Duration::from_millis(30 * (1 + number)), round).await.is_err()
            });
        }
        let left = leaving.join_all().await;
        if left.iter().all(|left| *left) { Vec::new() } else { vec![format!("not all left early: {left:?}")] }
    })
    .await;
}
