//! The servers of probes and metrics, through their sockets.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_fakeapi::FakeApi;
use ampd_operator::health::{Health, Standing, serve_metrics, serve_probes};
use ampd_telemetry::OperatorMetrics;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(30);

fn client() -> reqwest::Client {
    // Fails when another test has done so already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
    builder.timeout(LIMIT).build().unwrap()
}

async fn get(url: &str, token: Option<&str>) -> (u16, String) {
    let mut request = client().get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn probes_say_how_it_fares_and_no_more() {
    let (health, shutdown) = (Arc::new(Health::default()), CancellationToken::new());
    let serving =
        serve_probes("127.0.0.1:0".parse().unwrap(), health.clone(), shutdown.clone()).await.unwrap();
    let address = serving.address;
    let ask = async |path: &str| get(&format!("http://{address}{path}"), None).await;
    assert_eq!(ask("/healthz").await, (200, "ok".into()));
    assert_eq!(ask("/readyz").await, (503, "starting".into()));
    health.set_standing(Standing::Leader);
    assert_eq!(ask("/readyz").await, (200, "leading".into()));
    let _hangs = health.reconciling(Instant::now().checked_sub(Duration::from_hours(1)).unwrap());
    assert_eq!(ask("/healthz").await, (503, "a reconcile hangs".into()));
    assert_eq!(ask("/metrics").await.0, 404);

    let error = serve_probes(address, health, shutdown.clone()).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let silent = TcpStream::connect(address).await.unwrap();
    shutdown.cancel();
    timeout(LIMIT, serving.finish()).await.unwrap();
    drop(silent);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_client_that_says_nothing_is_not_waited_for() {
    let (health, shutdown) = (Arc::new(Health::default()), CancellationToken::new());
    let serving = serve_probes("127.0.0.1:0".parse().unwrap(), health, shutdown.clone()).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(serving.address).await.unwrap());
    }
    // All places are taken until those are given up.
    assert_eq!(get(&format!("http://{}/healthz", serving.address), None).await.0, 200);
    let mut rest = Vec::new();
    timeout(LIMIT, silent[0].read_to_end(&mut rest)).await.unwrap().unwrap();
    shutdown.cancel();
    timeout(LIMIT, serving.finish()).await.unwrap();
}

#[tokio::test]
async fn metrics_beyond_loopback_need_a_token_and_a_right() {
    let (fake, shutdown) = (FakeApi::new(), CancellationToken::new());
    fake.set_token("good", "prometheus");
    fake.set_token("other", "somebody");
    fake.permit("prometheus", "get", "/metrics");
    let metrics = Arc::new(OperatorMetrics::new().unwrap());
    let start = async |address: &str| {
        let client = fake.client("ampd");
        serve_metrics(address.parse().unwrap(), metrics.clone(), client, shutdown.clone()).await.unwrap()
    };
    let near = start("127.0.0.1:0").await;
    let (code, text) = get(&format!("http://{}/metrics", near.address), None).await;
    assert!(code == 200 && text.contains("ampd_operator_leader 0"), "{text}");

    let far = start("0.0.0.0:0").await;
    let port = far.address.port();
    let ask = async |token| get(&format!("https://127.0.0.1:{port}/metrics"), token).await;
    assert_eq!(ask(None).await, (401, String::new()));
    assert_eq!(ask(Some("bad")).await.0, 401);
    assert_eq!(ask(Some("other")).await, (403, String::new()));
    let (code, text) = ask(Some("good")).await;
    assert!(code == 200 && text.contains("ampd_operator_leader 0"), "{text}");
    let plain = client().get(format!("http://127.0.0.1:{port}/metrics")).send().await;
    assert!(plain.is_err(), "no token goes over the wire in the clear");
    fake.set_down(true);
    assert_eq!(ask(Some("new")).await, (503, String::new()));
    shutdown.cancel();
    timeout(LIMIT, async { (near.finish().await, far.finish().await) }).await.unwrap();
}
