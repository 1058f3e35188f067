//! Who the other side of a TLS connection is.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::TlsError;

/// SAN URI of the peer, from the certificates that it showed (`peer_certificates()` of a rustls connection, which has
/// verified them).
///
/// # Errors
/// When there is no certificate, or it has no single URI.
pub fn peer_uri(certificates: Option<&[CertificateDer<'_>]>) -> Result<String, TlsError> {
    san_uri(certificates.and_then(<[_]>::first).ok_or(TlsError::NoCertificate)?)
}

/// The single SAN URI of a certificate. A second one would leave open who the peer is.
///
/// # Errors
/// When the certificate is unreadable or has no single URI.
pub fn san_uri(certificate: &CertificateDer<'_>) -> Result<String, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TlsError::NoCertificate)?;
    let names = parsed.subject_alternative_name().map_err(|_| TlsError::NoCertificate)?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect();
    match uris[..] {
        [uri] => Ok(uri.to_owned()),
        _ => Err(TlsError::NoUri(uris.len())),
    }
}
