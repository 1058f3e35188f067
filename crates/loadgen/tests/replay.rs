//! Replays against a server that misbehaves on purpose; the real one is replayed against by the end-to-end tests.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ampd_loadgen::{Client, Failure, Pacing, Plan, RoundRecord, Run, Target, run};
use ampd_simulator::trace::parse;
use axum::Router;
use axum::body::Body;
use axum::extract::{Json, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use futures::stream;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// What was asked: the session and the request.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

async fn serve() -> (String, Asked) {
    let asked = Asked::default();
    let models = async || Json(json!({"data": [{"id": "first"}, {"id": "second"}]}));
    let app = Router::new().route("/v1/models", axum::routing::get(models));
    let app = app.route("/v1/chat/completions", post(answer)).with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    // Small parts would wait for one another else, and times would be the network's.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, asked)
}

/// The second round of each session goes as its number says; all others go well.
async fn answer(State(asked): State<Asked>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let session = headers["x-session-id"].to_str().unwrap().to_owned();
    let messages = body["messages"].as_array().unwrap().len();
    asked.lock().unwrap().push((session.clone(), body.clone()));
    let ending = if messages == 3 { session.rsplit('-').next().unwrap_or_default() } else { "" };
    match ending {
        "1" => (axum::http::StatusCode::TOO_MANY_REQUESTS, "too busy").into_response(),
        "2" => "data: no json\n\n".into_response(),
        "3" => "data: [DONE]\n\n".into_response(),
        "4" => std::future::pending().await,
        "5" => "data: {\"error\": {\"message\": \"lost\"}}\n\n".into_response(),
        _ => well(&body),
    }
}

/// A token, then two more after 100 ms, in parts that no event's border fits.
fn well(body: &Value) -> Response {
    let words: usize = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["content"].as_str().unwrap().split(' ').count())
        .sum();
    let chunk = |text: &str| format!("data: {}\r\n\r\n", json!({"choices": [{"delta": {"content": text}}]}));
    let usage = json!({"choices": [], "usage": {
        "prompt_tokens": 2 * words + 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5},
    }});
    let (first, rest) =
        (chunk("a"), format!("{}{}data: {usage}\n\ndata: [DONE]\n\n", chunk(" b"), chunk(" c")));
    let (one, two) = first.split_at(9);
    let parts = [(0, one.to_owned()), (0, two.to_owned()), (100, rest)];
    let parts = stream::unfold(parts.into_iter(), async |mut parts| {
        let (wait, part) = parts.next()?;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        Some((Ok::<_, std::io::Error>(part), parts))
    });
    ([("x-ampd-prefill", "local"), ("x-ampd-reason", "increment_small")], Body::from_stream(parts))
        .into_response()
}

fn plan(sessions: usize) -> Plan {
    let line = r#"{"arrival_s": 0, "rounds": [{"new_input_tokens": 41, "output_tokens": 3}, {"new_input_tokens": 21, "output_tokens": 3, "think_time_s": 0.01}, {"new_input_tokens": 9, "output_tokens": 3, "think_time_s": 0.01}]}"#;
    let trace = parse([line].repeat(sessions).join("\n").as_bytes(), 0.0).unwrap();
    Plan::new(&trace, &Pacing { rate: 100.0, scale: 1.0, gap_scale: 1.0, sessions, seed: 7 }).unwrap()
}

fn client(url: &str) -> Client {
    let target =
        Target { url: url.into(), model: "m".into(), key: Some("k".into()), timeout: Duration::from_secs(2) };
    Client::new(target).unwrap()
}

async fn replay(url: &str, sessions: usize) -> Run {
    run(&client(url), plan(sessions), 7, CancellationToken::new(), |_| {}).await.unwrap()
}

#[tokio::test]
async fn a_session_goes_on_with_what_was_said_before() {
    let (url, asked) = serve().await;
    let run = replay(&url, 1).await;
    assert_eq!(run.tokens_per_word, 2.0);
    let [first, second, third] = &run.rounds[..] else { unreachable!("three rounds") };
    for round in [first, second, third] {
        assert_eq!((round.failure.clone(), round.output_tokens), (None, Some(3)));
        assert!(round.itl_s.unwrap() > 0.04 && round.longest_gap_s.unwrap() > 0.08, "{round:?}");
        assert_eq!((round.prefill.as_deref(), round.cached_tokens), (Some("local"), Some(5)));
    }
    let asked = asked.lock().unwrap();
    let rounds: Vec<&Value> =
        asked.iter().filter(|(name, _)| name == "ampd-bench-7-0").map(|(_, body)| body).collect();
    let said = |round: usize, message: usize| rounds[round]["messages"][message]["content"].as_str().unwrap();
    assert_eq!((said(1, 0), said(1, 1)), (said(0, 0), "a b c"));
    assert_eq!(said(2, 2), said(1, 2));
    // 41 tokens are 17 words of 2 tokens and the 7 around them.
    let words: Vec<usize> = [said(0, 0), said(1, 2), said(2, 4)].map(|text| text.split(' ').count()).to_vec();
    assert_eq!(words, [17, 7, 1]);
    assert_eq!((&rounds[0]["max_tokens"], &rounds[0]["ignore_eos"]), (&json!(3), &json!(true)));
}

#[tokio::test]
async fn failures_are_told_apart_and_end_their_session() {
    let (url, _) = serve().await;
    let run = replay(&url, 6).await;
    let of = |session: usize| -> Vec<&RoundRecord> {
        run.rounds.iter().filter(|round| round.session == session).collect()
    };
    assert!(of(0).iter().all(|round| round.failure.is_none()));
    let expected =
        [Failure::Refused, Failure::Malformed, Failure::Malformed, Failure::Timeout, Failure::Refused];
    for (session, failure) in expected.into_iter().enumerate() {
        let rounds = of(session + 1);
        assert_eq!(rounds[0].failure, None);
        assert_eq!(rounds[1].failure, Some(failure), "{:?}", rounds[1]);
        assert_eq!(rounds[2].failure, Some(Failure::NotSent));
    }
    assert_eq!(of(1)[1].words.as_deref(), Some("status 429: too busy"));
    let mut csv = Vec::new();
    ampd_loadgen::write_csv(&run.rounds, &mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!(csv.lines().count(), 19);
    assert!(csv.contains(",not_sent,"), "{csv}");
}

#[tokio::test]
async fn the_first_model_is_asked_for() {
    let (url, asked) = serve().await;
    let mut client = client(&url);
    client.take_first_model().await.unwrap();
    run(&client, plan(1), 7, CancellationToken::new(), |_| {}).await.unwrap();
    assert!(asked.lock().unwrap().iter().all(|(_, body)| body["model"] == "first"));
}

#[tokio::test]
async fn a_run_can_be_stopped() {
    let (url, _) = serve().await;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    // The fifth session's second round would take until its deadline.
    let run = run(&client(&url), plan(5), 7, stop, move |_| stopping.cancel()).await.unwrap();
    assert!(!run.rounds.is_empty() && run.rounds.len() < 15, "{} rounds", run.rounds.len());
}

#[tokio::test]
async fn nothing_is_measured_where_nobody_answers() {
    let gone = client("http://127.0.0.1:9/v1");
    let refused = run(&gone, plan(1), 1, CancellationToken::new(), |_| {}).await.unwrap_err();
    assert_eq!(refused.to_string(), "the connection failed");
    for url in ["no address", "ftp://x/v1", ""] {
        let target =
            Target { url: url.into(), model: "m".into(), key: None, timeout: Duration::from_secs(1) };
        assert!(Client::new(target).is_err(), "{url}");
    }
}
