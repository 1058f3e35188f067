//! A certificate, its key and the authorities that are trusted, which may change while the process runs: each handshake
//! uses those of its moment, and connections that are made already go on.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::config::provider;
use super::{SERVER_NAME, TlsError, TlsFiles, san_uri};

/// What a process shows and trusts now.
#[derive(Debug)]
pub struct Credentials {
    uri: String,
    name: ServerName<'static>,
    current: RwLock<Arc<Material>>,
}

#[derive(Debug)]
struct Material {
    key: Arc<CertifiedKey>,
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Material {
    fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let (roots, provider) = (Arc::new(files.roots()?), provider());
        let (chain, key) = files.chain_and_key()?;
        Ok(Self {
            key: Arc::new(CertifiedKey::from_der(chain, key, &provider)?),
            servers: WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?,
            clients: WebPkiClientVerifier::builder_with_provider(roots, provider).build()?,
        })
    }
}

impl Credentials {
    /// The credentials that are in `files`.
    ///
    /// # Errors
    /// When a certificate or the key cannot be used.
    pub fn new(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| Error::General(error.to_string()))?;
        let current = RwLock::new(Arc::new(Material::new(files)?));
        Ok(Arc::new(Self { uri: files.uri()?, name, current }))
    }

    /// Uses what is in `files` from the next handshake on.
    ///
    /// # Errors
    /// When it cannot be used, when it is of somebody else, or when its certificate is none that these authorities would
    /// have peers accept now, as while the files are being changed one by one. Everything stays as it is then.
    pub fn replace(&self, files: &TlsFiles) -> Result<(), TlsError> {
        let uri = files.uri()?;
        if uri != self.uri {
            return Err(TlsError::Identity { expected: self.uri.clone(), got: uri });
        }
        let new = Material::new(files)?;
        let (own, others) = new.key.cert.split_first().ok_or(TlsError::NoCertificate)?;
        new.servers.verify_server_cert(own, others, &self.name, &[], UnixTime::now())?;
        *self.current.write() = Arc::new(new);
        Ok(())
    }

    /// SAN URI of the certificate, which stays the same.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    fn now(&self) -> Arc<Material> {
        self.current.read().clone()
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now().key.clone())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now().key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Verifies servers by the authorities of the moment, whatever address they were found at.
#[derive(Debug)]
pub(super) struct Servers {
    pub credentials: Arc<Credentials>,
    /// The SAN URI that the server must have; without one the caller checks it.
    pub expected: Option<String>,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (servers, name) = (self.credentials.now().servers.clone(), &self.credentials.name);
        let verified = servers.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)?;
        match (&self.expected, san_uri(end_entity)) {
            (None, _) => Ok(verified),
            (Some(expected), Ok(uri)) if uri == *expected => Ok(verified),
            _ => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.credentials.now().servers.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.credentials.now().servers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.credentials.now().servers.supported_verify_schemes()
    }
}

/// Verifies clients by the authorities of the moment.
#[derive(Debug)]
pub(super) struct Clients {
    pub credentials: Arc<Credentials>,
    /// Whether clients may come without a certificate.
    pub open: bool,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        !self.open
    }

    /// None: clients of a service have one certificate and show it anyway.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.credentials.now().clients.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.credentials.now().clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.credentials.now().clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.credentials.now().clients.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
