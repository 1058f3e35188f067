//! Verifying workers by what they are in the service, not by the address at which they were found.

use std::sync::Arc;

use ampd_kv::tls::{SERVER_NAME, TlsError, TlsFiles, san_uri};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Settings of an HTTP client that shows this process's certificate and speaks with servers of the same service that have
/// the SAN URI `expected`.
///
/// # Errors
/// When a certificate or the key cannot be used.
pub(crate) fn client_config(files: &TlsFiles, expected: String) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(files.ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| TlsError::Pem { file: "ca.pem", what: "certificate" })?;
        roots.add(certificate)?;
    }
    let provider = Arc::new(ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    let name = ServerName::try_from(SERVER_NAME).map_err(|error| Error::General(error.to_string()))?;
    let mut config = files.client_config()?;
    config.dangerous().set_certificate_verifier(Arc::new(Member { inner, name, expected }));
    Ok(config)
}

/// Verifies that a server is a member of the service in one role.
#[derive(Debug)]
struct Member {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
    expected: String,
}

impl ServerCertVerifier for Member {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)?;
        match san_uri(end_entity) {
            Ok(uri) if uri == self.expected => Ok(verified),
            _ => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ampd_kv::tls::{CertificateAuthority, Identity, Role};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    async fn connects(server: &TlsFiles, client: &TlsFiles, expected: &str) -> bool {
        let acceptor = TlsAcceptor::from(Arc::new(server.server_config().unwrap()));
        let connector = TlsConnector::from(Arc::new(client_config(client, expected.to_owned()).unwrap()));
        let (near, far) = tokio::io::duplex(1 << 16);
        // An address that is in no certificate.
        let name = ServerName::try_from("10.1.2.3").unwrap();
        let (accepted, connected) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
        accepted.is_ok() && connected.is_ok()
    }

    #[tokio::test]
    async fn only_members_in_the_expected_role_are_spoken_to() {
        let authority = |name| CertificateAuthority::new(name, Duration::from_hours(1)).unwrap();
        let (own, other) = (authority("chat"), authority("chat"));
        let identity = |role| Identity::new("default", "chat", role).unwrap();
        let prefill = own.issue(&identity(Role::Prefill)).unwrap();
        let decode = own.issue(&identity(Role::Decode)).unwrap();
        let stranger = other.issue(&identity(Role::Prefill)).unwrap();
        let expected = identity(Role::Prefill).uri();
        assert!(connects(&prefill, &decode, &expected).await);
        assert!(!connects(&decode, &decode, &expected).await);
        assert!(!connects(&stranger, &decode, &expected).await);
        assert!(!connects(&prefill, &stranger, &expected).await);
    }
}
