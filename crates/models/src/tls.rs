//! Whom the client trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::error::FetchError;

/// TLS with the roots that browsers trust, which are part of the program: small images have none of their own. The
/// certificates in `more`, as those of a company's proxy, are trusted besides.
pub(crate) fn config(more: Option<&Path>) -> Result<ClientConfig, FetchError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    if let Some(path) = more {
        for certificate in CertificateDer::pem_file_iter(path).map_err(FetchError::Certificates)? {
            // Bundles of systems have a few old ones that rustls does not read.
            let _ = roots.add(certificate.map_err(FetchError::Certificates)?);
        }
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(FetchError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_certificates_that_cannot_be_read_is_told() {
        config(None).unwrap();
        let error = config(Some(Path::new("/no/such"))).unwrap_err();
        assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
    }
}
