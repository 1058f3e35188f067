//! Names of sessions, and salts of tenants.

use http::{HeaderMap, HeaderName};

use crate::protocol::Salt;

/// Longest name that a client may give its session, bytes.
const MAX_NAME: usize = 256;
/// What names that were made for a client begin with.
const AUTO: &str = "auto-";

/// Makes names and salts: the same ones in every sidecar of a service, because all have the same key.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    headers: Vec<HeaderName>,
    salts: [u8; 32],
    names: [u8; 32],
}

/// A session's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionName {
    /// As the client sees it.
    pub shown: String,
    /// Within the service, where another tenant's session of the same name is another session.
    pub internal: String,
    /// Made for a client that gave none: two conversations that begin alike have the same one.
    pub auto: bool,
}

/// A session's name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {MAX_NAME} printable ASCII characters")]
pub(super) struct InvalidName {
    /// The header, or the field of the body.
    pub field: String,
}

impl Naming {
    /// `secret` is what all sidecars of the service have in common.
    pub(super) fn new(headers: Vec<HeaderName>, secret: &[u8]) -> Self {
        Self {
            headers,
            salts: blake3::derive_key("ampd 2026 salt of a tenant", secret),
            names: blake3::derive_key("ampd 2026 name of a session", secret),
        }
    }

    /// The session's name: the first of the headers that is there, else the one `given` in the body, else a hash of tenant
    /// and how the conversation begins.
    pub(super) fn session(
        &self,
        headers: &HeaderMap,
        tenant: &str,
        given: Option<&str>,
        seed: impl FnOnce() -> Vec<u8>,
    ) -> Result<SessionName, InvalidName> {
        for header in &self.headers {
            if let Some(value) = headers.get(header) {
                let name = value.to_str().map_err(|_| InvalidName { field: header.to_string() })?;
                return Self::named(tenant, name, header.as_str());
            }
        }
        if let Some(name) = given {
            return Self::named(tenant, name, "session_id");
        }
        let hash = Self::hash(&self.names, &[tenant.as_bytes(), &seed()]);
        let name = format!("{AUTO}{}", &hash.to_hex()[..32]);
        Ok(Self::name(tenant, &name, true))
    }

    fn named(tenant: &str, name: &str, field: &str) -> Result<SessionName, InvalidName> {
        let printable = name.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if name.is_empty() || name.len() > MAX_NAME || !printable {
            return Err(InvalidName { field: field.to_owned() });
        }
        Ok(Self::name(tenant, name, false))
    }

    fn name(tenant: &str, name: &str, auto: bool) -> SessionName {
        SessionName { shown: name.to_owned(), internal: format!("s/{tenant}/{name}"), auto }
    }

    /// The salt under which a tenant's KV is shared.
    pub(super) fn salt(&self, tenant: &str, cache_salt: Option<&str>) -> Salt {
        let given: &[u8] = cache_salt.map_or(&[], str::as_bytes);
        let is_given = [u8::from(cache_salt.is_some())];
        Salt(*Self::hash(&self.salts, &[tenant.as_bytes(), &is_given, given]).as_bytes())
    }

    /// Each part with its length: no two lists of parts look alike.
    fn hash(key: &[u8; 32], parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize()
    }
}

/// The name under which the `number`th companion of a session's round runs: its KV is its own, its prefix is shared.
pub(super) fn companion(session: &str, number: usize) -> String {
    match session.strip_prefix("s/") {
        Some(rest) if number > 0 => format!("c{number}/{rest}"),
        _ => session.to_owned(),
    }
}

/// The session whose binding says where rounds of this name run; `None` for a round that went on beside its session's,
/// whose name no later round has.
pub(super) fn bound_by(name: &str) -> Option<String> {
    match name.split_once('/')? {
        ("s", _) => Some(name.to_owned()),
        (companion, rest) => {
            let number = companion.strip_prefix('c')?;
            number.parse::<usize>().is_ok().then(|| format!("s/{rest}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn naming() -> Naming {
        let headers = ["x-session-id", "x-other"].map(HeaderName::from_static);
        Naming::new(headers.into(), b"secret")
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn headers_name_by_precedence_and_tenants_are_apart() {
        let name =
            |pairs: &[_], tenant| naming().session(&headers(pairs), tenant, Some("body"), Vec::new).unwrap();
        let both = name(&[("x-other", "b"), ("x-session-id", "a")], "t");
        assert_eq!((both.shown.as_str(), both.auto), ("a", false));
        assert_eq!(name(&[("x-other", "b")], "t").shown, "b");
        assert_eq!(name(&[], "t").shown, "body");
        assert_ne!(name(&[("x-other", "b")], "t").internal, name(&[("x-other", "b")], "u").internal);
    }

    #[test]
    fn without_a_header_the_beginning_names() {
        let auto = |tenant: &str, seed: &str| {
            naming().session(&HeaderMap::new(), tenant, None, || seed.as_bytes().to_vec()).unwrap()
        };
        assert_eq!(auto("t", "hello"), auto("t", "hello"));
        assert!(auto("t", "hello").auto);
        assert_ne!(auto("t", "hello").shown, auto("u", "hello").shown);
        assert_ne!(auto("t", "hello").shown, auto("t", "hello!").shown);
        // A client that keeps the name it was shown stays in its session.
        let shown = auto("t", "hello").shown;
        assert_eq!(Naming::named("t", &shown, "x").unwrap().internal, auto("t", "hello").internal);
    }

    #[test]
    fn bad_names_are_refused_with_their_header() {
        let long: &'static str = Box::leak("x".repeat(257).into_boxed_str());
        for bad in ["", "a\tb", long] {
            let header = headers(&[("x-session-id", bad)]);
            assert_eq!(naming().session(&header, "t", None, Vec::new).unwrap_err().field, "x-session-id");
            let error = naming().session(&HeaderMap::new(), "t", Some(bad), Vec::new).unwrap_err();
            assert_eq!(error.field, "session_id");
        }
        let mut utf8 = HeaderMap::new();
        utf8.insert("x-session-id", HeaderValue::from_bytes("é".as_bytes()).unwrap());
        assert!(naming().session(&utf8, "t", None, Vec::new).is_err());
    }

    #[test]
    fn salts_differ_by_tenant_salt_and_service() {
        let salt = |tenant, given| naming().salt(tenant, given);
        assert!(salt("a", None) == salt("a", None));
        let other = Naming::new(Vec::new(), b"other").salt("a", None);
        let all = [salt("a", None), salt("b", None), salt("a", Some("")), salt("a", Some("b")), other];
        for (index, one) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|two| one != two));
        }
    }

    #[test]
    fn companions_never_meet_a_named_session() {
        let main = Naming::name("t", "c1/t/x", false).internal;
        assert_eq!(companion(&main, 0), main);
        assert_eq!(companion("s/t/x", 1), "c1/t/x");
        assert_ne!(companion("s/t/x", 1), main);
        for session in [&main, "s/t/x", "s/t/a1/s/t/x"] {
            for number in [0, 1, 15] {
                assert_eq!(bound_by(&companion(session, number)).as_deref(), Some(session));
            }
        }
        for aside in ["a0/s/t/x", "a7/c1/t/x"] {
            assert_eq!(bound_by(aside), None);
        }
    }
}
