//! What a file's tag promises of its content.

use std::fmt::Write as _;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// What the hub says of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Its SHA-256: the tag of large files.
    Sha256(String),
    /// The name that git gives it: the tag of small ones.
    GitBlob(String),
    /// Nothing that can be checked, as mirrors do.
    Nothing,
}

impl Promise {
    pub(crate) fn of(etag: Option<&str>) -> Self {
        let hex = etag.filter(|tag| tag.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match hex.map(|tag| (tag.len(), tag.to_ascii_lowercase())) {
            Some((64, tag)) => Self::Sha256(tag),
            Some((40, tag)) => Self::GitBlob(tag),
            _ => Self::Nothing,
        }
    }

    /// Whether a content can be told from others by it.
    pub(crate) fn is_checkable(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// What differs, if something does.
    pub(crate) fn broken_by(&self, found: &Digests) -> Option<String> {
        let (promised, found) = match self {
            Self::Sha256(promised) => (promised, &found.sha256),
            Self::GitBlob(promised) => (promised, &found.git_blob),
            Self::Nothing => return None,
        };
        (promised != found).then(|| format!("its hash is {found} instead of {promised}"))
    }
}

/// Hashes of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) sha256: String,
    git_blob: String,
}

/// Computes the hashes of a content that comes in pieces.
#[derive(Clone)]
pub(crate) struct Hasher {
    sha256: Context,
    git_blob: Context,
}

impl Hasher {
    /// For a content of `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        let mut git_blob = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        git_blob.update(format!("blob {size}\0").as_bytes());
        Self { sha256: Context::new(&SHA256), git_blob }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.git_blob.update(bytes);
    }

    pub(crate) fn finish(self) -> Digests {
        Digests { sha256: hex(self.sha256.finish().as_ref()), git_blob: hex(self.git_blob.finish().as_ref()) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_tags_are_checked() {
        let mut hasher = Hasher::new(6);
        hasher.update(b"hel");
        hasher.update(b"lo\n");
        let found = hasher.finish();
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        for tag in [sha256, git, "an-opaque-tag"] {
            assert_eq!(Promise::of(Some(tag)).broken_by(&found), None);
        }
        for tag in [sha256.replace('5', "6"), git.replace('c', "d")] {
            let what = Promise::of(Some(&tag)).broken_by(&found).unwrap();
            assert!(what.contains(&tag), "{what}");
        }
        assert_eq!(Promise::of(None), Promise::Nothing);
    }
}
