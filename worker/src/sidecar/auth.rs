//! Who may use the API: keys from a file, each with the name of its tenant.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, header};

use super::error::StartError;
use super::state::Shared;
use crate::reload::{Watched, reload};

const FLAG: &str = "--api-keys-file";
/// Largest file, bytes.
const MAX_FILE: u64 = 1 << 20;
/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// The keys; without a file everybody is the nameless tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    keys: Option<Vec<(blake3::Hash, String)>>,
}

/// Reads the keys again whenever their file changes. Requests that are served already go on.
pub(super) async fn follow(path: PathBuf, shared: &Shared) {
    let watched = Watched { what: "the file of API keys", path: path.clone(), every: EVERY };
    let first = Keys::clone(&shared.keys.load());
    let take = |keys: &Keys| {
        shared.keys.store(Arc::new(keys.clone()));
        Ok(())
    };
    reload(watched, first, move || Keys::load(&path), take).await;
}

/// The request has no key that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unauthorized;

impl Keys {
    /// Reads a file of lines `name:key`; empty lines and those that begin with `#` are left out.
    pub(super) fn load(path: &Path) -> Result<Self, StartError> {
        let read = |source| StartError::Read { flag: FLAG, path: path.into(), source };
        if std::fs::metadata(path).map_err(read)?.len() > MAX_FILE {
            let what = format!("{} exceeds {MAX_FILE} bytes", path.display());
            return Err(StartError::Flag { flag: FLAG, what });
        }
        Self::parse(&std::fs::read_to_string(path).map_err(read)?)
            .map_err(|what| StartError::Flag { flag: FLAG, what: format!("{}: {what}", path.display()) })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The key itself must not get into an error.
            let at = |what: &str| format!("line {}: {what}", index + 1);
            let (name, key) = line.split_once(':').ok_or_else(|| at("is not name:key"))?;
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
                return Err(at("the name is not 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.'"));
            }
            if key.len() < 16 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(at("the key is not 16 or more printable ASCII characters"));
            }
            keys.push((blake3::hash(key.as_bytes()), name.to_owned()));
        }
        if keys.is_empty() { Err("there is no key in it".into()) } else { Ok(Self { keys: Some(keys) }) }
    }

    /// The tenant of a request.
    pub(super) fn tenant(&self, headers: &HeaderMap) -> Result<String, Unauthorized> {
        let Some(keys) = &self.keys else { return Ok(String::new()) };
        let value = headers.get(header::AUTHORIZATION).ok_or(Unauthorized)?;
        let (scheme, key) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or(Unauthorized)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Unauthorized);
        }
        let hash = blake3::hash(key.trim().as_bytes());
        let mut tenant = Err(Unauthorized);
        // Hashes compare in constant time, and all keys are compared: time tells nothing about them.
        for (known, name) in keys {
            if *known == hash {
                tenant = Ok(name.clone());
            }
        }
        tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# keys\n\nteam-a:0123456789abcdef\n team-b:fedcba9876543210 \n";

    fn tenant(keys: &Keys, authorization: &str) -> Result<String, Unauthorized> {
        keys.tenant(&HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())]))
    }

    #[test]
    fn keys_name_their_tenants() {
        let keys = Keys::parse(FILE).unwrap();
        assert_eq!(tenant(&keys, "Bearer 0123456789abcdef").unwrap(), "team-a");
        assert_eq!(tenant(&keys, "bearer fedcba9876543210").unwrap(), "team-b");
        for bad in ["Bearer 0123456789abcde", "Basic 0123456789abcdef", "Bearer", "Bearer ", ""] {
            assert_eq!(tenant(&keys, bad), Err(Unauthorized), "{bad}");
        }
        assert_eq!(keys.tenant(&HeaderMap::new()), Err(Unauthorized));
        assert_eq!(Keys::default().tenant(&HeaderMap::new()).unwrap(), "");
    }

    #[test]
    fn a_bad_file_is_told_with_its_line_and_without_its_keys() {
        for (text, line) in [("a:0123456789abcdef\nnonsense-key-of-mine", "line 2"), ("b:short", "line 1")] {
            let error = Keys::parse(text).unwrap_err();
            assert!(error.contains(line) && !error.contains("mine") && !error.contains("short"), "{error}");
        }
        assert!(Keys::parse("# none\n").is_err() && Keys::parse("a b:0123456789abcdef").is_err());
    }
}
