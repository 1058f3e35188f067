//! Transfers over real sockets: who may connect, and what becomes of those who may not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{
    CERTIFICATES, FINGERPRINT, Owner, Store, client, hasty, identity, limits, move_all, soon,
};
use ampd_kv::tls::{Role, SERVER_NAME, TlsError, TlsFiles, peer_uri};
use ampd_kv::{KvClient, KvError, KvServer, LeaseEnd, Reason, serve};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

struct Listening {
    owner: Owner,
    address: SocketAddr,
    task: JoinHandle<()>,
}

async fn listening_with(change: impl FnOnce(&mut KvServer<Store>)) -> Listening {
    let mut owner = Owner::new(Store::default());
    change(Arc::get_mut(&mut owner.server).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, shutdown) = (owner.server.clone(), owner.shutdown.clone());
    let task = tokio::spawn(async move { serve(listener, server, shutdown).await.unwrap() });
    Listening { owner, address, task }
}

async fn listening() -> Listening {
    listening_with(|_| {}).await
}

impl Listening {
    async fn stop(self) -> Owner {
        self.owner.shutdown.cancel();
        soon(self.task).await.unwrap();
        self.owner
    }

    /// Waits until the observer has heard of a refusal.
    async fn refusal(&self) -> Reason {
        soon(async {
            loop {
                if let Some(reason) = self.owner.heard.refused.lock().pop() {
                    return reason;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }

    async fn open(&self, client: &KvClient, owner: Role) -> Result<ampd_kv::Transfer, KvError> {
        let handle = self.owner.lease().handle();
        soon(client.open(&self.address.to_string(), &identity(owner).uri(), &handle)).await
    }
}

fn client_of(files: &TlsFiles) -> KvClient {
    KvClient::new(Arc::new(files.client_config().unwrap()), FINGERPRINT, limits()).unwrap()
}

#[tokio::test]
async fn a_transfer_over_tls() {
    let listening = listening().await;
    let lease = listening.owner.lease();
    let client = client();
    let owner_uri = identity(Role::Decode).uri();
    let address = listening.address.to_string();
    let transfer = soon(client.open(&address, &owner_uri, &lease.handle())).await.unwrap();
    soon(move_all(transfer)).await.unwrap();
    assert_eq!(lease.ended().await, LeaseEnd::Complete);

    // A client that goes away in the middle.
    let lease = listening.owner.lease();
    let mut transfer = soon(client.open(&address, &owner_uri, &lease.handle())).await.unwrap();
    soon(crate::common::pull_all(&mut transfer)).await.unwrap();
    drop(transfer);
    assert_eq!(soon(lease.ended()).await, LeaseEnd::Failed(Reason::Disconnected));
    soon(client.shutdown()).await;
    let owner = listening.stop().await;
    assert_eq!(owner.leases.live(), 0);
}

#[tokio::test]
async fn strangers_are_refused() {
    let listening = listening().await;
    // Another role of the same service.
    for role in [&CERTIFICATES.sidecar, &CERTIFICATES.monitor, &CERTIFICATES.operator] {
        let error = listening.open(&client_of(role), Role::Decode).await.unwrap_err();
        assert!(matches!(error, KvError::Refused(Reason::Identity)), "{error}");
        assert_eq!(listening.refusal().await, Reason::Identity);
    }
    // Another authority: both sides notice.
    let error = listening.open(&client_of(&CERTIFICATES.stranger), Role::Decode).await.unwrap_err();
    assert!(matches!(error, KvError::Connect { .. }), "{error}");
    assert_eq!(listening.refusal().await, Reason::Tls);
    // A certificate of another authority, though the client trusts the owner's.
    let mixed = TlsFiles { ca_pem: CERTIFICATES.decode.ca_pem.clone(), ..CERTIFICATES.stranger.clone() };
    let error = listening.open(&client_of(&mixed), Role::Decode).await.unwrap_err();
    assert!(matches!(error, KvError::Io(_) | KvError::Connect { .. }), "{error}");
    assert_eq!(listening.refusal().await, Reason::Tls);
    // The owner is someone else than the task said.
    let error = listening.open(&client(), Role::Prefill).await.unwrap_err();
    assert!(matches!(error, KvError::Identity { .. }), "{error}");
    assert_eq!(listening.refusal().await, Reason::Disconnected);
    listening.stop().await;
}

/// Connects with settings of one's own; true if the owner ever says anything after the TLS handshake.
async fn speaks(address: SocketAddr, config: ClientConfig) -> bool {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await else {
        return false;
    };
    matches!(stream.read(&mut [0; 64]).await, Ok(1..))
}

#[tokio::test]
async fn certificates_and_the_newest_tls_are_demanded() {
    use rustls::version::{TLS12, TLS13};
    let listening = listening_with(|server| server.limits = hasty()).await;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let own = CERTIFICATES.prefill.client_config().unwrap();
    let authority = CertificateDer::from_pem_slice(CERTIFICATES.decode.ca_pem.as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let builder = |version| {
        ClientConfig::builder_with_provider(ring.clone()).with_protocol_versions(&[version]).unwrap()
    };
    let bare = builder(&TLS13).with_root_certificates(roots.clone()).with_no_client_auth();
    assert!(!soon(speaks(listening.address, bare)).await);
    assert_eq!(listening.refusal().await, Reason::Tls);
    let old = builder(&TLS12)
        .with_root_certificates(roots)
        .with_client_cert_resolver(own.client_auth_cert_resolver.clone());
    assert!(!soon(speaks(listening.address, old)).await);
    assert_eq!(listening.refusal().await, Reason::Tls);
    // The owner answers who is right, if only to say that nothing came.
    assert!(soon(speaks(listening.address, own)).await);
    assert_eq!(listening.refusal().await, Reason::Timeout);

    let mut plain = TcpStream::connect(listening.address).await.unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Closed or reset, with an alert at most.
    let _ = soon(plain.read_to_end(&mut answer)).await;
    assert!(answer.len() < 32);
    assert_eq!(listening.refusal().await, Reason::Tls);
    listening.stop().await;
}

#[tokio::test]
async fn strangers_that_say_nothing_keep_nobody_out_and_are_given_up() {
    let listening = listening_with(|server| server.connections = 1).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(listening.address).await.unwrap());
    }
    let lease = listening.owner.lease();
    let (client, address, uri) = (client(), listening.address.to_string(), identity(Role::Decode).uri());
    let handle = lease.handle();
    let opening = client.open(&address, &uri, &handle);
    let transfer = tokio::time::timeout(limits().handshake / 2, opening).await.unwrap().unwrap();
    soon(move_all(transfer)).await.unwrap();
    listening.stop().await;

    let listening = listening_with(|server| server.limits = hasty()).await;
    let _silent = TcpStream::connect(listening.address).await.unwrap();
    assert_eq!(listening.refusal().await, Reason::Timeout);
    listening.stop().await;
}

#[tokio::test]
async fn transfers_are_bounded_and_wait_for_their_turn() {
    let listening = listening_with(|server| server.connections = 1).await;
    let (client, address, uri) = (client(), listening.address.to_string(), identity(Role::Decode).uri());
    let leases = [listening.owner.lease(), listening.owner.lease()];
    let handles = leases.each_ref().map(ampd_kv::Lease::handle);
    let first = soon(client.open(&address, &uri, &handles[0])).await.unwrap();
    let mut second = std::pin::pin!(client.open(&address, &uri, &handles[1]));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
    assert!(early.is_err(), "there is no place before the first ends");
    drop(first);
    soon(move_all(soon(second).await.unwrap())).await.unwrap();
    listening.stop().await;
}

#[tokio::test]
async fn a_client_that_shuts_down_waits_for_no_handshake() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = deaf.local_addr().unwrap().to_string();
    let handle = Owner::new(Store::default()).lease().handle();
    let client = client();
    let shutdown = async {
        let accepted = deaf.accept().await.unwrap();
        client.shutdown().await;
        accepted
    };
    let opening =
        tokio::time::timeout(limits().handshake / 2, client.open(&address, "ampd://n/s/decode", &handle));
    let (opened, _accepted) = tokio::join!(opening, shutdown);
    assert!(matches!(opened.unwrap(), Err(KvError::ShuttingDown)));
}

#[tokio::test]
async fn an_owner_that_is_not_there_is_said_with_its_address() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let handle = Owner::new(Store::default()).lease().handle();
    let error = client().open(&free, "ampd://n/s/decode", &handle).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to {free}"));
    assert_eq!(error.reason(), Reason::Disconnected);
}

#[test]
fn files_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    CERTIFICATES.prefill.write(folder.path()).unwrap();
    CERTIFICATES.decode.write(folder.path()).unwrap();
    let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("key.pem"), 0o600);
    let read = TlsFiles::read(folder.path()).unwrap();
    assert_eq!(read.uri().unwrap(), identity(Role::Decode).uri());
    read.server_config().unwrap();
    read.client_config().unwrap();
    assert!(!format!("{read:?}").contains("PRIVATE"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left behind");

    let mixed = TlsFiles { cert_pem: CERTIFICATES.sidecar.cert_pem.clone(), ..read.clone() };
    assert!(matches!(mixed.server_config(), Err(TlsError::Unusable(_))), "the key is another's");
    for (files, file) in [
        (TlsFiles { ca_pem: String::new(), ..read.clone() }, "ca.pem"),
        (TlsFiles { cert_pem: "x".to_owned(), ..read.clone() }, "cert.pem"),
        (TlsFiles { key_pem: "y".to_owned().into(), ..read }, "key.pem"),
    ] {
        let error = files.client_config().unwrap_err();
        assert!(error.to_string().starts_with(file), "{error}");
    }
    std::fs::remove_file(folder.path().join("key.pem")).unwrap();
    let error = TlsFiles::read(folder.path()).unwrap_err();
    assert!(error.to_string().contains("key.pem"), "{error}");
    assert!(matches!(peer_uri(None), Err(TlsError::NoCertificate)));
}
