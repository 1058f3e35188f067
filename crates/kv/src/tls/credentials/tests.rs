use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::super::{CertificateAuthority, Identity, Role};
use super::*;

fn identity(role: Role) -> Identity {
    Identity::new("default", "chat", role).unwrap()
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::new("chat", Duration::from_hours(1)).unwrap()
}

fn issued(authority: &CertificateAuthority, role: Role) -> TlsFiles {
    authority.issue(&identity(role)).unwrap()
}

type Connected = (server::TlsStream<DuplexStream>, client::TlsStream<DuplexStream>);

/// Connects as both sides are now.
async fn connect(server: &TlsAcceptor, client: &TlsConnector) -> Option<Connected> {
    let (near, far) = tokio::io::duplex(1 << 16);
    // An address that is in no certificate.
    let name = ServerName::try_from("10.1.2.3").unwrap();
    let (accepted, connected) = tokio::join!(server.accept(far), client.connect(name, near));
    let (mut accepted, mut connected) = (accepted.ok()?, connected.ok()?);
    // A client learns only with the first bytes that its certificate was refused.
    exchange(&mut accepted, &mut connected).await.then_some((accepted, connected))
}

async fn exchange(
    server: &mut server::TlsStream<DuplexStream>,
    client: &mut client::TlsStream<DuplexStream>,
) -> bool {
    let mut byte = [0];
    let (written, flushed) = (server.write_all(b"x").await, server.flush().await);
    written.is_ok() && flushed.is_ok() && client.read_exact(&mut byte).await.is_ok()
}

fn sides(server: &Arc<Credentials>, client: &Arc<Credentials>) -> (TlsAcceptor, TlsConnector) {
    let expected = Some(identity(Role::Prefill).uri());
    let acceptor = TlsAcceptor::from(Arc::new(server.server_config().unwrap()));
    (acceptor, TlsConnector::from(Arc::new(client.client_config(expected).unwrap())))
}

#[tokio::test]
async fn only_members_in_the_expected_role_are_spoken_to() {
    let (own, other) = (authority(), authority());
    let [prefill, decode] = [Role::Prefill, Role::Decode].map(|role| issued(&own, role));
    let stranger = issued(&other, Role::Prefill);
    for (server, client, connects) in [
        (&prefill, &decode, true),
        (&decode, &decode, false),
        (&stranger, &decode, false),
        (&prefill, &stranger, false),
    ] {
        let (server, client) = (Credentials::new(server).unwrap(), Credentials::new(client).unwrap());
        let (acceptor, connector) = sides(&server, &client);
        assert_eq!(connect(&acceptor, &connector).await.is_some(), connects);
    }
}

#[tokio::test]
async fn an_authority_is_replaced_without_a_gap() {
    let (old, new) = (authority(), authority());
    let [server_files, client_files] = [Role::Prefill, Role::Decode].map(|role| issued(&old, role));
    let (server, client) =
        (Credentials::new(&server_files).unwrap(), Credentials::new(&client_files).unwrap());
    let (acceptor, connector) = sides(&server, &client);
    let mut first = connect(&acceptor, &connector).await.unwrap();
    let both = |files: TlsFiles| TlsFiles {
        ca_pem: format!("{}{}", server_files.ca_pem, issued(&new, Role::Prefill).ca_pem),
        ..files
    };
    // Both are trusted everywhere before the first has a certificate of the new one, and the old one goes last.
    let steps: [(&Arc<Credentials>, TlsFiles); 6] = [
        (&server, both(server_files.clone())),
        (&client, both(client_files.clone())),
        (&client, both(issued(&new, Role::Decode))),
        (&server, both(issued(&new, Role::Prefill))),
        (&server, issued(&new, Role::Prefill)),
        (&client, issued(&new, Role::Decode)),
    ];
    for (credentials, files) in steps {
        credentials.replace(&files).unwrap();
        assert!(connect(&acceptor, &connector).await.is_some());
    }
    assert!(exchange(&mut first.0, &mut first.1).await, "the connection from before goes on");
    // The old authority counts for nothing any more.
    let late = Credentials::new(&client_files).unwrap();
    assert!(connect(&acceptor, &sides(&server, &late).1).await.is_none());
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing() {
    let (own, other) = (authority(), authority());
    let files = issued(&own, Role::Prefill);
    let (server, client) = (Credentials::new(&files).unwrap(), issued(&own, Role::Decode));
    let client = Credentials::new(&client).unwrap();
    let (acceptor, connector) = sides(&server, &client);
    let next = issued(&own, Role::Prefill);
    for (bad, told) in [
        (TlsFiles { cert_pem: next.cert_pem.clone(), ..files.clone() }, "cannot be used"),
        (TlsFiles { ca_pem: issued(&other, Role::Prefill).ca_pem, ..files.clone() }, "cannot be used"),
        (TlsFiles { ca_pem: String::new(), ..files.clone() }, "ca.pem"),
        (TlsFiles { key_pem: String::from("x").into(), ..files.clone() }, "key.pem"),
        (issued(&own, Role::Sidecar), "/sidecar now"),
    ] {
        let error = server.replace(&bad).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert!(connect(&acceptor, &connector).await.is_some());
    }
    server.replace(&next).unwrap();
    assert!(connect(&acceptor, &connector).await.is_some());
}
