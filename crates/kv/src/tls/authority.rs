//! Making certificates.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::{Identity, SERVER_NAME, Secret, TlsError, TlsFiles};

/// How far clocks may be apart for a new certificate to be valid at once.
const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// The authority of one service. Its key lives in this value and where [`CertificateAuthority::key_pem`] is stored, if at
/// all: who needs no more certificates later lets it go.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
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
        let key = KeyPair::generate()?;
        let ca_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), ca_pem, valid })
    }

    /// The authority that was stored; certificates that it issues from now on are valid for `valid`.
    ///
    /// # Errors
    /// When certificate or key are no such thing.
    pub fn load(ca_pem: &str, key_pem: &str, valid: Duration) -> Result<Self, TlsError> {
        let issuer = Issuer::from_ca_cert_pem(ca_pem, KeyPair::from_pem(key_pem)?)?;
        Ok(Self { issuer, ca_pem: ca_pem.to_owned(), valid })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Its key, PEM.
    #[must_use]
    pub fn key_pem(&self) -> Secret {
        self.issuer.key().serialize_pem().into()
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
            ca_pem: self.ca_pem.clone(),
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

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    #[test]
    fn a_stored_authority_goes_on_issuing() {
        let made = CertificateAuthority::new("chat", Duration::from_hours(24)).unwrap();
        let key = made.key_pem();
        let loaded =
            CertificateAuthority::load(made.ca_pem(), key.reveal(), Duration::from_hours(1)).unwrap();
        let identity = Identity::new("default", "chat", Role::Decode).unwrap();
        for files in [made.issue(&identity).unwrap(), loaded.issue(&identity).unwrap()] {
            assert_eq!(files.uri().unwrap(), identity.uri());
            assert_eq!(files.ca_pem, made.ca_pem());
            assert!(files.server_config().is_ok());
        }
        let other = CertificateAuthority::new("chat", Duration::from_hours(24)).unwrap();
        assert!(CertificateAuthority::load("", key.reveal(), Duration::from_hours(1)).is_err());
        assert!(CertificateAuthority::load(other.ca_pem(), "no key", Duration::from_hours(1)).is_err());
    }
}
