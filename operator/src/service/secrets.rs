//! The Secrets of a service: its authority, certificates, the secret of session names, the API's keys.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ampd_kv::tls::{CertificateAuthority, Credentials, Identity, Role, TlsError, TlsFiles};
use ampd_render::{labels, names};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use rand::distr::{Alphanumeric, SampleString as _};
use x509_parser::pem::Pem;

use ampd_api::AMPDService;

const CA: &str = "ca.pem";
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";
/// The file with the secret of session names.
const SESSIONS: &str = "secret";
/// The file with the API's keys.
const KEYS: &str = "keys";

/// How long an authority is valid. It is replaced by hand: delete its Secret, and all certificates follow.
const AUTHORITY: Duration = Duration::from_hours(24 * 365 * 10);

/// Who has a certificate.
pub(crate) const IDENTITIES: [Role; 4] = [Role::Decode, Role::Prefill, Role::Sidecar, Role::Monitor];

/// The Secrets that there are, by name.
pub(crate) type Found = BTreeMap<String, Secret>;

/// The names of the Secrets that the operator keeps for a service. The API's keys are among them if the operator makes
/// them.
pub(crate) fn kept(resource: &AMPDService) -> Vec<String> {
    let service = resource.meta().name.as_deref().unwrap_or_default();
    let certificates = IDENTITIES.map(|role| names::certificate(service, role.name()));
    let mut all = vec![names::authority(service), names::session_secret(service)];
    all.extend(certificates);
    all.extend(makes_keys(resource).then(|| names::api_keys(service)));
    all
}

fn makes_keys(resource: &AMPDService) -> bool {
    let api = &resource.spec.security.api;
    api.auth == ampd_api::service::ApiAuth::ApiKeys && api.secret_name.is_none()
}

/// The Secret with the API's keys, where the operator does not make it any more; the manifest may name it as one of its own.
pub(crate) fn not_kept(resource: &AMPDService) -> Option<String> {
    let keys = names::api_keys(resource.meta().name.as_deref().unwrap_or_default());
    let named = resource.spec.security.api.secret_name.as_ref() == Some(&keys);
    (!makes_keys(resource) && !named).then_some(keys)
}

/// What is to be written so that all Secrets are there and no certificate is near its end.
pub(crate) struct Issued {
    /// Secrets to write.
    pub(crate) write: Vec<Secret>,
    /// Names of certificates that take the place of others.
    pub(crate) renewed: Vec<String>,
    authority: CertificateAuthority,
}

/// Makes what is missing or near its end. A certificate of `valid` is renewed at half of that.
///
/// # Errors
/// When the stored authority cannot be used.
pub(crate) fn issue(
    resource: &AMPDService,
    found: &Found,
    valid: Duration,
    now: SystemTime,
) -> Result<Issued, TlsError> {
    let meta = resource.meta();
    let (service, namespace) =
        (meta.name.clone().unwrap_or_default(), meta.namespace.clone().unwrap_or_default());
    let mut write = Vec::new();
    let mut secret = |name: String, data: Vec<(&str, String)>| {
        let data = data.into_iter().map(|(file, text)| (file.to_owned(), ByteString(text.into_bytes())));
        write.push(Secret {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.clone()),
                labels: Some(labels::service(&service)),
                owner_references: resource.controller_owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(data.collect()),
            type_: Some("Opaque".into()),
            ..Secret::default()
        });
    };

    let stored = found.get(&names::authority(&service));
    let authority = stored.and_then(|stored| Some((text(stored, CA)?, text(stored, KEY)?)));
    let authority = if let Some((ca, key)) = authority {
        CertificateAuthority::load(&ca, &key, valid)?
    } else {
        let made = CertificateAuthority::new(&service, AUTHORITY)?;
        let key = made.key_pem().reveal().to_owned();
        secret(names::authority(&service), vec![(CA, made.ca_pem().into()), (KEY, key.clone())]);
        CertificateAuthority::load(made.ca_pem(), &key, valid)?
    };
    let mut renewed = Vec::new();
    for role in IDENTITIES {
        let name = names::certificate(&service, role.name());
        let present = found.get(&name);
        if present.is_some_and(|secret| good(secret, authority.ca_pem(), valid, now)) {
            continue;
        }
        if present.is_some() {
            renewed.push(name.clone());
        }
        let files = authority.issue(&identity(&namespace, &service, role)?)?;
        let key = files.key_pem.reveal().to_owned();
        secret(name, vec![(CA, files.ca_pem), (CERT, files.cert_pem), (KEY, key)]);
    }
    let random = |length| Alphanumeric.sample_string(&mut rand::rng(), length);
    let lacks = |name: &str, file| found.get(name).and_then(|secret| text(secret, file)).is_none();
    let sessions = names::session_secret(&service);
    if lacks(&sessions, SESSIONS) {
        secret(sessions, vec![(SESSIONS, random(64))]);
    }
    let keys = names::api_keys(&service);
    if makes_keys(resource) && lacks(&keys, KEYS) {
        let key = format!("ampd-{}", random(40));
        // The second file is for people and for clients that take a variable from it.
        secret(keys, vec![(KEYS, format!("default:{key}\n")), ("key", key)]);
    }
    Ok(Issued { write, renewed, authority })
}

impl Issued {
    /// A certificate with which the operator speaks to the service's pods. Making one takes a key: it is for when there is
    /// something to say.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn own(&self, namespace: &str, service: &str) -> Result<TlsFiles, TlsError> {
        self.authority.issue(&identity(namespace, service, Role::Operator)?)
    }
}

fn identity(namespace: &str, service: &str, role: Role) -> Result<Identity, TlsError> {
    Ok(Identity::new(namespace, service, role)?)
}

fn text(secret: &Secret, file: &str) -> Option<String> {
    let ByteString(bytes) = secret.data.as_ref()?.get(file)?;
    String::from_utf8(bytes.clone()).ok().filter(|text| !text.is_empty())
}

/// Whether a certificate is of this authority, goes with its key and has more than half of its time left.
fn good(secret: &Secret, ca: &str, valid: Duration, now: SystemTime) -> bool {
    let [Some(ca_pem), Some(cert_pem), Some(key)] = [CA, CERT, KEY].map(|file| text(secret, file)) else {
        return false;
    };
    let lasts = end(&cert_pem).is_some_and(|end| end > now + valid / 2);
    // Made use of, the key has to be the certificate's.
    ca_pem == ca && lasts && Credentials::new(&TlsFiles { ca_pem, cert_pem, key_pem: key.into() }).is_ok()
}

/// When a certificate ends.
fn end(pem: &str) -> Option<SystemTime> {
    let pem = Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()?;
    let certificate = pem.parse_x509().ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: Duration = Duration::from_hours(24);

    fn resource(auth: &str) -> AMPDService {
        let text = format!(
            "{{apiVersion: ampd.dev/v1alpha1, kind: AMPDService, metadata: {{name: chat, namespace: team}}, spec: {{model: {{name: m, source: {{path: /m}}}}, security: {{api: {{auth: {auth}}}}}}}}}"
        );
        ampd_api::parse(text.as_bytes()).unwrap()
    }

    fn stored(issued: Issued, mut found: Found) -> Found {
        found.extend(issued.write.into_iter().map(|secret| (secret.metadata.name.clone().unwrap(), secret)));
        found
    }

    #[test]
    fn everything_is_made_once() {
        for auth in ["ApiKeys", "Anonymous"] {
            let (resource, now) = (resource(auth), SystemTime::now());
            let found = stored(issue(&resource, &Found::new(), VALID, now).unwrap(), Found::new());
            assert_eq!(found.keys().cloned().collect::<Vec<_>>().len(), kept(&resource).len());
            assert!(kept(&resource).iter().all(|name| found.contains_key(name)), "{auth}");
            let again = issue(&resource, &found, VALID, now).unwrap();
            assert!(again.write.is_empty() && again.renewed.is_empty());
        }
    }

    #[test]
    fn certificates_are_renewed_in_time_and_after_another_authority() {
        let (resource, now) = (resource("ApiKeys"), SystemTime::now());
        let found = stored(issue(&resource, &Found::new(), VALID, now).unwrap(), Found::new());
        let later = issue(&resource, &found, VALID, now + VALID / 2 + Duration::from_secs(1)).unwrap();
        assert_eq!((later.write.len(), later.renewed.len()), (4, 4));
        let mut without = found.clone();
        without.remove("chat-ca");
        let anew = issue(&resource, &without, VALID, now).unwrap();
        assert_eq!((anew.write.len(), anew.renewed.len()), (5, 4));
        let mut broken = found.clone();
        broken.insert("chat-tls-decode".into(), Secret::default());
        assert_eq!(issue(&resource, &broken, VALID, now).unwrap().renewed, ["chat-tls-decode"]);
        for key in
            [ByteString(b"garbage".to_vec()), found["chat-tls-prefill"].data.as_ref().unwrap()[KEY].clone()]
        {
            let mut broken = found.clone();
            broken.get_mut("chat-tls-decode").unwrap().data.as_mut().unwrap().insert(KEY.into(), key);
            assert_eq!(issue(&resource, &broken, VALID, now).unwrap().renewed, ["chat-tls-decode"]);
        }
    }
}
