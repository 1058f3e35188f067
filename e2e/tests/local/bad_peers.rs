//! Peers that have no business at the KV port of a running decode worker: refused, counted, and nothing else.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ampd_kv::frame::{Frame, Hello};
use ampd_kv::tls::{CertificateAuthority, Identity, Role, SERVER_NAME, TlsFiles};
use ampd_kv::{Dtype, Fingerprint};
use ampd_testkit::chat::{ChatClient, Conversation, http};
use ampd_testkit::cluster::{ManualCluster, ManualOptions, Metrics, model, settled, skipped};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Until the other side must have closed.
const CLOSE: Duration = Duration::from_secs(10);

/// That of the default model, but for the digest.
const STRANGER: Fingerprint = Fingerprint {
    model_digest: [7; 32],
    dtype: Dtype::Bf16,
    layout: 1,
    block_tokens: 32,
    layers: 30,
    kv_heads: 3,
    head_dim: 64,
    tensor_parallel: 1,
};

fn hello(versions: (u16, u16)) -> Vec<u8> {
    let hello = Hello {
        min_version: versions.0,
        max_version: versions.1,
        role: 1,
        fingerprint: STRANGER,
        data_bytes: 1 << 20,
    };
    Frame::Hello(hello).encode().0.to_vec()
}

/// Sends bytes and waits for the other side to close.
async fn speak(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) {
    // The other side may close before everything is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(CLOSE, stream.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "the connection is still open");
}

/// The same through TLS; a handshake that is refused is an end too.
async fn speak_tls(address: SocketAddr, tls: rustls::ClientConfig, bytes: &[u8]) {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = SERVER_NAME.try_into().unwrap();
    if let Ok(stream) = TlsConnector::from(Arc::new(tls)).connect(name, stream).await {
        speak(stream, bytes).await;
    }
}

/// A client that trusts the cluster's authority and shows no certificate.
fn anonymous(files: &TlsFiles) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let mut pem = files.ca_pem.as_bytes();
    let certificates = rustls_pki_types::pem::PemObject::pem_reader_iter(&mut pem);
    roots.add_parsable_certificates(certificates.map(Result::unwrap));
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn strangers_at_the_kv_port_are_refused_and_counted() {
    if model().is_none() {
        return skipped("AMPD_MODEL");
    }
    let cluster = ManualCluster::start(ManualOptions { prefill: 1, decode: 1, ..ManualOptions::default() });
    let cluster = cluster.await.unwrap();
    let decode = cluster.member("decode-0").unwrap().clone();
    let address: SocketAddr = decode.kv_addr.as_deref().unwrap().parse().unwrap();
    let prefill = TlsFiles::read(&cluster.tls_dir(Role::Prefill)).unwrap();
    let sidecar = TlsFiles::read(&cluster.tls_dir(Role::Sidecar)).unwrap();
    let other = CertificateAuthority::new("whole", Duration::from_hours(1)).unwrap();
    let other = other.issue(&Identity::new("tests", "whole", Role::Prefill).unwrap()).unwrap();
    // It trusts the right authority but shows a certificate of another one.
    let forged = TlsFiles { ca_pem: prefill.ca_pem.clone(), ..other };
    let http = http().unwrap();
    let refused = async |reason: &str| {
        let metrics = Metrics::read(&http, &decode).await.unwrap();
        metrics.sum("ampd_worker_kv_refused_total", &[("reason", reason)])
    };
    let good = || prefill.client_config().unwrap();
    for (what, reason) in [
        ("garbage without TLS", "tls"),
        ("no certificate", "tls"),
        ("certificate of another authority", "tls"),
        ("certificate of another role", "identity"),
        ("garbage inside TLS", "checksum"),
        ("wrong version", "version"),
        ("wrong digest", "model_digest"),
    ] {
        let before = refused(reason).await;
        match what {
            "garbage without TLS" => speak(TcpStream::connect(address).await.unwrap(), &[0x5a; 4096]).await,
            "no certificate" => speak_tls(address, anonymous(&prefill), &hello((1, 1))).await,
            "certificate of another authority" => {
                speak_tls(address, forged.client_config().unwrap(), &hello((1, 1))).await;
            }
            "certificate of another role" => {
                speak_tls(address, sidecar.client_config().unwrap(), &hello((1, 1))).await;
            }
            "garbage inside TLS" => speak_tls(address, good(), &[0x5a; 4096]).await,
            "wrong version" => speak_tls(address, good(), &hello((7, 9))).await,
            _ => speak_tls(address, good(), &hello((1, 1))).await,
        }
        let counted = ampd_testkit::wait::until(what, CLOSE, async || {
            let now = refused(reason).await;
            if now > before { Ok(()) } else { Err(format!("{now} refused for {reason}")) }
        });
        counted.await.unwrap();
    }
    // It still serves, with its prefills remote, and holds nothing.
    let client = ChatClient::new(&cluster.urls()[0]).await.unwrap();
    let answer = Conversation::new(&client, "after").say(&"word ".repeat(80), 4).await.unwrap();
    assert!(answer.complete() && answer.header("x-ampd-prefill") == "remote", "{answer:?}");
    settled(&http, &cluster.members, CLOSE).await.unwrap();
}
