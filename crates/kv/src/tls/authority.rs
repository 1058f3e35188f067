//! Making certificates.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::{Identity, SERVER_NAME, TlsError, TlsFiles};

/// How far clocks may be apart for a new certificate to be valid at once.
const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// The authority of one service. Its key lives in this value only: who needs more certificates later makes a new
/// authority.
pub struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    valid: Duration,
}

impl CertificateAuthority {
    /// A new authority for a service; it and its certificates are valid for `valid` from now.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn new(service: &str, valid: Duration) -> Result<Self, TlsError> {
        let mut params = params(&format!("AMPD {service}"), valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer, valid })
    }

    /// A certificate, with its key, for a role.
    ///
    /// # Errors
    /// When the key or the certificate cannot be made.
    pub fn issue(&self, identity: &Identity) -> Result<TlsFiles, TlsError> {
        let mut params = params(identity.role.name(), self.valid);
        params.subject_alt_names = vec![
            SanType::URI(identity.uri().as_str().try_into()?),
            SanType::DnsName(SERVER_NAME.try_into()?),
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(TlsFiles {
            ca_pem: self.issuer.pem(),
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem().into(),
        })
    }
}

fn params(name: &str, valid: Duration) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + valid).into();
    params
}
