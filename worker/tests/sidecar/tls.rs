//! A service whose internal addresses are not loopback: everything between its members runs under TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use std::net::SocketAddr;
use std::time::Duration;

use crate::cluster::client::{Client, assistant, user};
use crate::cluster::{Cluster, Plan};
use ampd_kv::tls::{CertificateAuthority, Identity, Role, TlsFiles};
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LONG: &str =
    "and the other one of the two said that it is there on the right of it, near the water of the sea";

#[tokio::test(flavor = "multi_thread")]
async fn conversations_run_over_tls_between_all_members() {
    let plan = Plan { is_open: true, ..Plan::new(2, 1) }.flags(&["--policy=always_remote"]);
    let cluster = Cluster::start(plan).await;
    assert!(cluster.topology.decode[0].worker_url.starts_with("https://"));
    let mut messages = Vec::new();
    for round in 1..=4 {
        messages.push(user(&format!("{round}: {LONG}")));
        // One of the two sidecars is not the one beside the session's worker.
        let answer = cluster.client(round % 2).chat("talk", &messages, json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("x-ampd-round"), round.to_string());
        assert_eq!(answer.header("x-ampd-prefill"), "remote", "{}", answer.header("x-ampd-reason"));
        messages.push(assistant(&answer.content()));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_nothing_from_internal_addresses() {
    let cluster = Cluster::start(Plan { is_open: true, ..Plan::new(1, 1) }).await;
    let addresses = [cluster.decode[0].address, cluster.prefill[0].address, cluster.sidecars[0].internal];
    // Another authority, the same names.
    let folder = tempfile::tempdir().unwrap();
    let authority = CertificateAuthority::new("chat", Duration::from_hours(1)).unwrap();
    let identity = Identity::new("default", "chat", Role::Sidecar).unwrap();
    authority.issue(&identity).unwrap().write(folder.path()).unwrap();
    let stranger = TlsFiles::read(folder.path()).unwrap();
    let mut trusting = stranger.client_config().unwrap();
    trusting.dangerous().set_certificate_verifier(std::sync::Arc::new(Anybody));
    for address in addresses {
        // Plain HTTP.
        assert_eq!(Client::new(address).get("/metrics").await.status, 0);
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
        // A certificate that the service's authority has not signed.
        let http = ampd_worker::protocol::http_client(Some(trusting.clone())).unwrap();
        assert!(http.get(format!("https://{address}/metrics")).send().await.is_err());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_served_only_where_their_role_calls() {
    let cluster = Cluster::start(Plan { is_open: true, ..Plan::new(1, 1) }).await;
    let (decode, prefill) = (cluster.decode[0].address, cluster.prefill[0].address);
    let sidecar = cluster.sidecars[0].internal;
    for (role, address, served) in [
        (Role::Sidecar, decode, true),
        (Role::Prefill, decode, false),
        (Role::Decode, prefill, true),
        (Role::Prefill, prefill, false),
        (Role::Decode, sidecar, false),
    ] {
        let answer = status(&caller(&cluster, Some(role)), Method::GET, address, "/metrics").await;
        assert_eq!(answer, if served { 200 } else { 403 }, "{role} at {address}");
    }
    // What a session holds is for decode workers of the service, and for sidecars.
    for (role, listed, told) in [
        (Role::Sidecar, 200, 400),
        (Role::Decode, 403, 400),
        (Role::Prefill, 403, 403),
        (Role::Operator, 403, 403),
    ] {
        let caller = caller(&cluster, Some(role));
        assert_eq!(status(&caller, Method::GET, decode, "/internal/v1/sessions").await, listed, "{role}");
        for path in ["/internal/v1/sessions/describe", "/internal/v1/sessions/push"] {
            assert_eq!(status(&caller, Method::POST, decode, path).await, told, "{role} {path}");
        }
        let pull = status(&caller, Method::POST, decode, "/internal/v1/sessions/pull").await;
        assert_eq!(pull, if role == Role::Sidecar { 400 } else { 403 }, "{role}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_move_over_tls() {
    let cluster = Cluster::start(Plan { is_open: true, ..Plan::new(2, 0) }).await;
    let mut messages = vec![user(LONG)];
    let first = cluster.client(0).chat("talk", &messages, json!({})).await;
    messages.extend([assistant(&first.content()), user("and then?")]);
    let operator = caller(&cluster, Some(Role::Operator));
    let mut moved = 0;
    // Which of the two has the session is not for everybody to know.
    for sidecar in &cluster.sidecars {
        let at = |path: &str| format!("https://{}{path}", sidecar.internal);
        assert_eq!(status(&operator, Method::POST, sidecar.internal, "/internal/v1/drain").await, 200);
        let told = async || -> serde_json::Value {
            operator.get(at("/internal/v1/status")).send().await.unwrap().json().await.unwrap()
        };
        crate::cluster::eventually("nothing is left to move", || async { told().await["moving"] == false })
            .await;
        let last = told().await;
        assert_eq!(last["sessions_skipped"], 0, "{last}");
        moved = last["sessions_moved"].as_u64().unwrap();
        if moved > 0 {
            break;
        }
        assert_eq!(status(&operator, Method::DELETE, sidecar.internal, "/internal/v1/drain").await, 200);
    }
    assert_eq!(moved, 1);
    let second = cluster.client(0).chat("talk", &messages, json!({})).await;
    assert_eq!((second.status, second.header("x-ampd-round")), (200, "2"), "{}", second.text);
    assert!(second.cached() >= first.prompt(), "{}", second.text);
    cluster.stop().await;
}

/// A client with the certificate of a role, or with none.
fn caller(cluster: &Cluster, role: Option<Role>) -> reqwest::Client {
    let mut config = match role {
        Some(role) => {
            let files = TlsFiles::read(&cluster.dir.path().join(role.name())).unwrap();
            files.client_config().unwrap()
        }
        None => rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth(),
    };
    config.dangerous().set_certificate_verifier(std::sync::Arc::new(Anybody));
    ampd_worker::protocol::http_client(Some(config)).unwrap()
}

async fn status(client: &reqwest::Client, method: Method, address: SocketAddr, path: &str) -> u16 {
    let request = client.request(method, format!("https://{address}{path}"));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_need_no_certificate_and_everything_else_does() {
    let cluster = Cluster::start(Plan { is_open: true, ..Plan::new(1, 1) }).await;
    let nobody = caller(&cluster, None);
    for address in [cluster.decode[0].address, cluster.prefill[0].address, cluster.sidecars[0].internal] {
        for path in ["/healthz", "/readyz"] {
            let answer = nobody.get(format!("https://{address}{path}")).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{address}{path}");
            assert!(answer.headers().get("endpoint-load-metrics").is_none(), "the load is told to strangers");
            assert_eq!(status(&nobody, Method::POST, address, path).await, 403);
        }
        for path in ["/metrics", "/metrics/load", "/internal/v1/probe", "/internal/v1/member", "/nowhere"] {
            assert_eq!(status(&nobody, Method::GET, address, path).await, 403, "{address}{path}");
        }
        for path in ["/internal/v1/bindings", "/internal/v1/prefills", "/internal/v1/homes/resolve"] {
            assert_eq!(status(&nobody, Method::POST, address, path).await, 403, "{address}{path}");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_reads_metrics_and_nothing_else() {
    let cluster = Cluster::start(Plan { is_open: true, ..Plan::new(1, 1) }).await;
    let workers = [cluster.decode[0].address, cluster.prefill[0].address];
    for role in [Role::Monitor, Role::Operator] {
        let caller = caller(&cluster, Some(role));
        for address in workers {
            assert_eq!(status(&caller, Method::GET, address, "/metrics").await, 200);
            assert_eq!(status(&caller, Method::GET, address, "/metrics/load").await, 200);
            assert_eq!(status(&caller, Method::GET, address, "/internal/v1/probe").await, 403);
            assert_eq!(status(&caller, Method::POST, address, "/internal/v1/bindings").await, 403);
            assert_eq!(status(&caller, Method::POST, address, "/metrics").await, 403);
        }
        let sidecar = cluster.sidecars[0].internal;
        assert_eq!(status(&caller, Method::GET, sidecar, "/metrics").await, 200);
        assert_eq!(status(&caller, Method::GET, sidecar, "/internal/v1/member").await, 403);
        assert_eq!(status(&caller, Method::POST, sidecar, "/internal/v1/homes/resolve").await, 403);
        // Whether a member serves is the operator's decision alone.
        let decides = if role == Role::Operator { 200 } else { 403 };
        for method in [Method::POST, Method::DELETE] {
            assert_eq!(status(&caller, method, sidecar, "/internal/v1/drain").await, decides);
        }
        assert_eq!(status(&caller, Method::GET, sidecar, "/internal/v1/status").await, decides);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_authority_takes_over_while_conversations_go_on() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a secret of the service").unwrap();
    let flags = ["--policy=always_remote", &format!("--session-secret-file={}", secret.path().display())];
    let cluster = Cluster::start(Plan { is_open: true, ..Plan::new(2, 1) }.flags(&flags)).await;
    let folder = |role: Role| cluster.dir.path().join(role.name());
    let old = TlsFiles::read(&folder(Role::Sidecar)).unwrap();
    let late = caller(&cluster, Some(Role::Sidecar));
    let authority = CertificateAuthority::new("chat", Duration::from_hours(1)).unwrap();
    let issued = |role| authority.issue(&Identity::new("default", "chat", role).unwrap()).unwrap();
    let both = format!("{}{}", old.ca_pem, issued(Role::Sidecar).ca_pem);
    // Both authorities are trusted everywhere, then all certificates are of the new one, then the old one is forgotten.
    let steps: [&dyn Fn(Role) -> TlsFiles; 3] = [
        &|role| TlsFiles { ca_pem: both.clone(), ..TlsFiles::read(&folder(role)).unwrap() },
        &|role| TlsFiles { ca_pem: both.clone(), ..issued(role) },
        &issued,
    ];
    let mut messages = Vec::new();
    for (round, step) in (1..).zip(steps) {
        for role in [Role::Prefill, Role::Decode, Role::Sidecar] {
            step(role).write(&folder(role)).unwrap();
        }
        // Longer than until the files are looked at.
        tokio::time::sleep(Duration::from_secs(4)).await;
        messages.push(user(&format!("{round}: {LONG}")));
        let answer = cluster.client(round % 2).chat("talk", &messages, json!({})).await;
        assert_eq!((answer.status, answer.header("x-ampd-prefill")), (200, "remote"), "{}", answer.text);
        assert_eq!(answer.cached() > 0, round > 1, "the session has not moved");
        messages.push(assistant(&answer.content()));
    }
    for address in [cluster.decode[0].address, cluster.prefill[0].address, cluster.sidecars[0].internal] {
        assert!(late.get(format!("https://{address}/healthz")).send().await.is_err(), "{address}");
        let new = caller(&cluster, Some(Role::Sidecar));
        assert_eq!(status(&new, Method::GET, address, "/metrics").await, 200);
    }
    cluster.stop().await;
}

/// Takes every server for the right one.
#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
