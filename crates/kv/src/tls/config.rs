//! TLS settings: version 1.3, certificates on both sides, no resumption.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::credentials::{Clients, Servers};
use super::{Credentials, TlsError, TlsFiles};

impl Credentials {
    /// Settings of a server that demands certificates of an authority that is trusted.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        self.server(false)
    }

    /// Settings of a server that also speaks with clients without a certificate; what those get is up to the server. A
    /// certificate that is shown must be of an authority that is trusted.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn open_server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        self.server(true)
    }

    fn server(self: &Arc<Self>, open: bool) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Clients { credentials: self.clone(), open }))
            .with_cert_resolver(self.clone());
        // All workers of a service have one name, so tickets of one would be offered to another. Connections are few
        // and long; each verifies certificates anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Settings of a client that shows its certificate. The server must have one of an authority that is trusted, for
    /// [`super::SERVER_NAME`] whatever its address is, and with the SAN URI `expected`; without that, who it is must be
    /// checked with [`super::peer_uri`].
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn client_config(self: &Arc<Self>, expected: Option<String>) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Servers { credentials: self.clone(), expected }))
            .with_client_cert_resolver(self.clone());
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl TlsFiles {
    /// [`Credentials::server_config`] for a process that is too short to see these files change.
    ///
    /// # Errors
    /// When a certificate or the key cannot be used.
    pub fn server_config(&self) -> Result<ServerConfig, TlsError> {
        Credentials::new(self)?.server_config()
    }

    /// [`Credentials::client_config`] for a process that is too short to see these files change.
    ///
    /// # Errors
    /// When a certificate or the key cannot be used.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        Credentials::new(self)?.client_config(None)
    }

    /// SAN URI of the certificate.
    ///
    /// # Errors
    /// When the certificate is unreadable or has no single URI.
    pub fn uri(&self) -> Result<String, TlsError> {
        let (chain, _) = self.chain_and_key()?;
        super::san_uri(chain.first().ok_or(TlsError::NoCertificate)?)
    }

    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca_pem, "ca.pem")? {
            roots.add(certificate)?;
        }
        Ok(roots)
    }

    pub(super) fn chain_and_key(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(&self.cert_pem, "cert.pem")?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.reveal().as_bytes())
            .map_err(|_| TlsError::Pem { file: "key.pem", what: "private key" })?;
        Ok((chain, key))
    }
}

fn certificates(pem: &str, file: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = || TlsError::Pem { file, what: "certificate" };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(bad()),
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
