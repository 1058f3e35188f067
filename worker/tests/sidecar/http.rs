//! What the OpenAI API's front does with requests that are no good, over real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use std::time::Duration;

use crate::cluster::client::user;
use crate::cluster::{Cluster, Plan, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_clear_errors_and_harm_nobody() {
    let cluster = Cluster::start(Plan::new(1, 0)).await;
    let client = cluster.client(0);
    let many: Vec<_> = (0..10_000).map(|_| user("x")).collect();
    let huge = "x".repeat(9 << 20);
    let good = json!([user("hi")]);
    let cases = [
        ("{".to_owned(), 400, None),
        ("[]".to_owned(), 400, None),
        (json!({"model": "tiny"}).to_string(), 400, Some("messages")),
        (json!({"model": "tiny", "messages": []}).to_string(), 400, Some("messages")),
        (json!({"model": "tiny", "messages": many}).to_string(), 400, Some("messages")),
        (json!({"model": "other", "messages": good}).to_string(), 404, Some("model")),
        (json!({"model": "tiny", "messages": good, "max_tokens": -1}).to_string(), 400, Some("max_tokens")),
        (
            json!({"model": "tiny", "messages": good, "max_tokens": 100_000}).to_string(),
            400,
            Some("messages"),
        ),
        (
            json!({"model": "tiny", "messages": good, "temperature": "hot"}).to_string(),
            400,
            Some("temperature"),
        ),
        (r#"{"model":"tiny","messages":[{"role":"user","content":"x"}],"top_p":NaN}"#.to_owned(), 400, None),
        (json!({"model": "tiny", "messages": good, "tools": [{}]}).to_string(), 400, Some("tools")),
        (json!({"model": "tiny", "messages": [{"role": "user", "content": huge}]}).to_string(), 413, None),
    ];
    for (body, status, param) in cases {
        let answer = client.raw(CHAT, body.as_bytes()).await;
        let shown = &body[..body.len().min(120)];
        assert_eq!(answer.status, status, "{shown}: {}", answer.text);
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", answer.text);
        if let Some(param) = param {
            assert_eq!(error["param"], param, "{shown}: {}", answer.text);
        }
        assert_eq!(answer.header("x-request-id").len(), 32);
    }
    let invalid_utf8 =
        [b"{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"", &[0xff, 0xfe][..], b"\"}]}"];
    assert_eq!(client.raw(CHAT, &invalid_utf8.concat()).await.status, 400);
    let long = vec!["the"; 3000].join(" ");
    let answer = client.chat("long", &[user(&long)], json!({})).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (400, Some("context_length_exceeded"))
    );
    let headers = [("x-session-id", "x".repeat(300))];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = client.post(CHAT, &headers, &json!({"model": "tiny", "messages": good})).await;
    assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some("x-session-id")));
    assert_eq!(client.get("/v1/none").await.status, 404);
    assert_eq!(client.get(CHAT).await.status, 405);
    // Nothing of it has reached the worker, which still serves.
    let answer = client.chat("good", &[user("hi")], json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(cluster.sum("ampd_rounds_total", &[]).await, 1.0);
    assert_eq!(cluster.sum("ampd_round_outcomes_total", &[]).await, 1.0);
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_ids_and_traces() {
    let cluster = Cluster::start(Plan::new(1, 0)).await;
    let client = cluster.client(0);
    let list = client.get("/v1/models").await;
    assert_eq!(list.json()["data"][0]["id"], "tiny");
    assert_eq!(client.get("/v1/models/small").await.json()["root"], "tiny");
    assert_eq!(client.get("/v1/models/other/one").await.status, 404);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("x-request-id", "mine-1"), ("traceparent", traceparent.as_str())];
    let body = json!({"model": "tiny", "messages": [user("hi")], "max_tokens": 2});
    let answer = client.post(CHAT, &headers, &body).await;
    assert_eq!(answer.header("x-request-id"), "mine-1");
    assert!(answer.header("traceparent").contains(trace), "{:?}", answer.headers);
    assert!(answer.json()["id"].as_str().unwrap().contains("mine-1"));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200);
    }
    // What is internal is not served to clients.
    for path in ["/metrics", "/internal/v1/member"] {
        assert_eq!(client.get(path).await.status, 404);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_open_the_api_and_keep_tenants_apart() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "a:0123456789abcdef\nb:fedcba9876543210\n").unwrap();
    let flag = format!("--api-keys-file={}", keys.path().to_str().unwrap());
    let cluster = Cluster::start(Plan::new(1, 0).flags(&[&flag])).await;
    let client = cluster.client(0);
    let text = "and the other one of the two said that it is there on the right of it, near the water";
    let body = json!({"model": "tiny", "messages": [user(text)], "max_tokens": 4});
    for authorization in [None, Some("Bearer wrong-key-wrong-key"), Some("Basic 0123456789abcdef")] {
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        let answer = client.post(CHAT, &headers, &body).await;
        assert_eq!(answer.status, 401, "{}", answer.text);
        assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
    }
    assert_eq!(client.get("/v1/models").await.status, 401);
    let ask = |key: &'static str| {
        let (client, body) = (client.clone(), body.clone());
        async move { client.post(CHAT, &[("authorization", key), ("x-session-id", "same")], &body).await }
    };
    assert_eq!(ask("Bearer 0123456789abcdef").await.cached(), 0);
    assert!(ask("Bearer 0123456789abcdef").await.cached() > 0);
    let other = ask("Bearer fedcba9876543210").await;
    assert_eq!((other.status, other.cached(), other.header("x-ampd-round")), (200, 0, "1"));
    // A file that cannot be used closes nothing and opens nothing, and a new key counts within moments.
    std::fs::write(keys.path(), "no keys").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ask("Bearer fedcba9876543210").await.status, 200);
    std::fs::write(keys.path(), "a:0123456789abcdef\nc:ccccccccccccccccc\n").unwrap();
    eventually("the new key opens", || async { ask("Bearer ccccccccccccccccc").await.status == 200 }).await;
    assert_eq!(ask("Bearer fedcba9876543210").await.status, 401);
    assert!(ask("Bearer 0123456789abcdef").await.cached() > 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_served_at_once_is_told_to_come_again() {
    let cluster = Cluster::start(Plan::new(1, 0).flags(&["--max-inflight=1"])).await;
    let client = cluster.client(0);
    let body = json!({"model": "tiny", "messages": [user("hi")], "max_tokens": 1500, "ignore_eos": true, "stream": true});
    let first = client.request(CHAT, &[], body.to_string().into_bytes()).send().await.unwrap();
    assert_eq!(first.status(), 200);
    let answer = client.chat("second", &[user("hi")], json!({})).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("overloaded")));
    assert_eq!(answer.header("retry-after"), "1");
    drop(first);
    eventually("the place is free again", || async {
        client.chat("third", &[user("hi")], json!({})).await.status == 200
    })
    .await;
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_length_is_refused_once_it_is_too_large() {
    let cluster = Cluster::start(Plan::new(1, 0)).await;
    let stream = TcpStream::connect(cluster.sidecars[0].public).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    let sending = tokio::spawn(async move {
        write.write_all(head.as_bytes()).await.unwrap();
        let chunk = [b"100000\r\n".to_vec(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
        for _ in 0..100 {
            if write.write_all(&chunk).await.is_err() {
                return;
            }
        }
    });
    let mut answer = Vec::new();
    // The rest of what was sent may turn the end into a reset.
    let _ = tokio::time::timeout(Duration::from_secs(30), read.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"), "{answer}");
    drop(read);
    sending.await.unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_take_no_place_from_others() {
    let cluster = Cluster::start(Plan::new(1, 0).flags(&["--max-inflight=1"])).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{");
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(cluster.sidecars[0].public).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = cluster.client(0).chat("good", &[user("hi")], json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // Beyond what may be read at once, more are told to come again.
    let mut last = TcpStream::connect(cluster.sidecars[0].public).await.unwrap();
    last.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = cluster.client(0).chat("one too many", &[user("hi")], json!({})).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{}", answer.text);
    cluster.stop().await;
}
