//! What workers refuse, and what keeps them from starting.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use crate::worker_support::{Files, SALT, refusal, request, text};
use ampd_worker::process::{chain, exit};
use ampd_worker::protocol::{ErrorCode, ORCA_HEADER, PrefillTask, Role, http_client};
use ampd_worker::server::start;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn round() -> Value {
    serde_json::to_value(request("chat", text(1, 20), 4)).unwrap()
}

fn with(mut value: Value, field: &str, new: Value) -> Value {
    value[field] = new;
    value
}

fn task() -> PrefillTask {
    PrefillTask {
        task: "t".into(),
        request_id: "r".into(),
        session: "chat".into(),
        salt: SALT,
        tokens: text(1, 20),
        history: 4,
        handle: "0".repeat(32),
        kv_addr: "127.0.0.1:9".into(),
        kv_server_name: "ampd://default/chat/decode".into(),
        age_ms: 0,
        ttft_slo_ms: 100,
    }
}

#[tokio::test]
async fn bad_rounds_are_refused_with_the_field_at_fault() {
    let files = Files::new();
    let decode = files.worker(Role::Decode, &[]).await;
    let rounds = "/internal/v1/rounds";
    let cases: &[(&str, String, u16, &str, Option<&str>)] = &[
        (rounds, "nonsense".into(), 400, "invalid_json", None),
        (rounds, "[".repeat(100_000), 400, "invalid_json", Some("[0]")),
        (rounds, with(round(), "epoch", json!(-1)).to_string(), 400, "invalid_json", Some("epoch")),
        (rounds, with(round(), "epoch", json!(1e30)).to_string(), 400, "invalid_json", Some("epoch")),
        (rounds, with(round(), "salt", json!("x")).to_string(), 400, "invalid_json", Some("salt")),
        (rounds, with(round(), "surprise", json!(1)).to_string(), 400, "invalid_json", Some("surprise")),
        (rounds, with(round(), "tokens", json!([])).to_string(), 400, "invalid_parameter", Some("tokens")),
        (
            rounds,
            with(round(), "tokens", json!([1, 99_999])).to_string(),
            400,
            "invalid_token",
            Some("tokens[1]"),
        ),
        (
            rounds,
            with(round(), "tokens", json!([1, u64::MAX])).to_string(),
            400,
            "invalid_json",
            Some("tokens[1]"),
        ),
        (
            rounds,
            with(round(), "max_tokens", json!(u64::MAX)).to_string(),
            400,
            "context_length_exceeded",
            None,
        ),
        (rounds, with(round(), "max_tokens", json!(5000)).to_string(), 400, "context_length_exceeded", None),
        (
            rounds,
            with(round(), "logprobs", json!(1000)).to_string(),
            400,
            "invalid_parameter",
            Some("logprobs"),
        ),
        (
            rounds,
            with(round(), "sampling", json!({"temperature": -3.0})).to_string(),
            400,
            "invalid_parameter",
            Some("temperature"),
        ),
        (
            rounds,
            with(round(), "session", json!("s".repeat(2000))).to_string(),
            400,
            "invalid_parameter",
            Some("session"),
        ),
        ("/internal/v1/bindings", "{}".into(), 400, "invalid_json", None),
        (
            "/internal/v1/rounds/7/run",
            json!({"prefill": "local", "ttft_slo_ms": u64::MAX, "age_ms": u64::MAX}).to_string(),
            404,
            "unknown_round",
            None,
        ),
        (
            "/internal/v1/rounds/18446744073709551615/run",
            json!({"prefill": "local", "ttft_slo_ms": 1}).to_string(),
            404,
            "unknown_round",
            None,
        ),
        (
            "/internal/v1/rounds/many/run",
            json!({"prefill": "local", "ttft_slo_ms": 1}).to_string(),
            400,
            "invalid_parameter",
            Some("round"),
        ),
        (
            "/internal/v1/rounds/7/run",
            json!({"prefill": {"remote": {"worker": "p", "url": "file:///x"}}, "ttft_slo_ms": 1}).to_string(),
            400,
            "invalid_parameter",
            Some("prefill.remote.url"),
        ),
        ("/internal/v1/rounds/7/run", "{}".into(), 400, "invalid_json", None),
        ("/internal/v1/prefills", serde_json::to_string(&task()).unwrap(), 404, "wrong_role", None),
        ("/internal/v1/nothing", "{}".into(), 404, "not_found", None),
    ];
    for (path, body, status, code, param) in cases {
        let (got, answer) = decode.post(path, body).await;
        let shown = &body[..body.len().min(120)];
        assert_eq!(got, *status, "{path} {shown}: {answer}");
        assert_eq!(answer["error"]["code"], *code, "{path} {shown}: {answer}");
        assert_eq!(answer["error"]["param"].as_str(), *param, "{path} {shown}: {answer}");
    }
    decode.settled().await;
    decode.stop().await;
}

#[tokio::test]
async fn bad_prefill_tasks_are_refused() {
    let files = Files::new();
    let prefill = files.worker(Role::Prefill, &[]).await;
    for (task, code) in [
        (PrefillTask { tokens: Vec::new(), ..task() }, ErrorCode::InvalidParameter),
        (PrefillTask { history: 20, ..task() }, ErrorCode::InvalidParameter),
        (PrefillTask { history: usize::MAX, ..task() }, ErrorCode::InvalidParameter),
        (PrefillTask { tokens: text(1, 5000), ..task() }, ErrorCode::ContextLengthExceeded),
        (PrefillTask { tokens: vec![1, 2, 3, 4, 5, 99_999], ..task() }, ErrorCode::InvalidToken),
        (PrefillTask { handle: "xyz".into(), ..task() }, ErrorCode::InvalidParameter),
        (PrefillTask { kv_addr: "nowhere".into(), ..task() }, ErrorCode::InvalidParameter),
        (
            PrefillTask { kv_server_name: "ampd://default/other/decode".into(), ..task() },
            ErrorCode::InvalidParameter,
        ),
    ] {
        assert_eq!(refusal(prefill.client.prefill(&task).await), code, "{task:?}");
    }
    assert_eq!(
        refusal(prefill.client.open_round(&request("chat", text(1, 9), 1)).await),
        ErrorCode::WrongRole
    );
    prefill.settled().await;
    prefill.stop().await;
}

#[tokio::test]
async fn every_answer_to_members_carries_the_load() {
    let files = Files::new();
    let decode = files.worker(Role::Decode, &[]).await;
    let http = http_client(None).unwrap();
    for path in ["/metrics", "/metrics/load", "/internal/v1/probe"] {
        let answer = http.get(format!("{}{path}", decode.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let load = answer.headers()[ORCA_HEADER].to_str().unwrap().to_owned();
        assert!(load.starts_with("TEXT application_utilization="), "{load}");
    }
    for path in ["/healthz", "/readyz"] {
        let answer = http.get(format!("{}{path}", decode.url)).send().await.unwrap();
        assert!(answer.status() == 200 && answer.headers().get(ORCA_HEADER).is_none(), "{path}");
    }
    let (_, load) = decode.get("/metrics/load").await;
    assert!(load.contains("ampd_worker_ready{") && load.len() < 6000, "{load}");
    decode.stop().await;
}

#[tokio::test]
async fn a_worker_that_cannot_start_says_why() {
    let files = Files::new();
    let attempt = async |args| match start(args, CancellationToken::new()).await {
        Ok(running) => running.finished().await.unwrap_err(),
        Err(error) => error,
    };
    let mut args = files.args(Role::Decode, &[]);
    args.tls_dir = files.path("prefill");
    let error = attempt(args).await;
    assert_eq!(error.exit_code(), exit::CONFIG);
    assert!(error.to_string().contains("ampd://default/chat/prefill"), "{error}");

    let mut args = files.args(Role::Decode, &[]);
    args.tls_dir = files.path("missing");
    let error = attempt(args).await;
    assert!(error.exit_code() == exit::CONFIG && chain(&error).contains("ca.pem"), "{}", chain(&error));

    let mut args = files.args(Role::Decode, &[]);
    args.model = files.path("missing");
    let error = attempt(args).await;
    assert!(error.exit_code() == exit::CONFIG && chain(&error).contains("missing"), "{}", chain(&error));

    let mut args = files.args(Role::Decode, &[]);
    args.kv_blocks = None;
    args.kv_memory = Some(10);
    let error = attempt(args).await;
    assert!(error.to_string().contains("--kv-memory"), "{error}");

    let mut args = files.args(Role::Decode, &[]);
    args.profile = Some(files.path("model").join("config.json"));
    let error = attempt(args).await;
    assert!(error.exit_code() == exit::CONFIG && error.to_string().contains("--profile"), "{error}");

    let taken = files.worker(Role::Decode, &[]).await;
    let mut args = files.args(Role::Decode, &[]);
    args.listen = taken.url.trim_start_matches("http://").parse().unwrap();
    assert_eq!(attempt(args).await.exit_code(), exit::UNAVAILABLE);
    taken.stop().await;
}
