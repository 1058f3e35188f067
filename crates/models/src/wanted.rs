//! What is fetched.

use std::path::Path;

/// Longest name that is asked for.
const MAX_NAME: usize = 200;

/// A model at Hugging Face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(crate) repository: String,
    pub(crate) revision: String,
    pub(crate) file: Option<String>,
}

/// A name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct BadName {
    text: String,
    what: &'static str,
}

impl Wanted {
    /// A model by its repository (`organisation/name`), a branch, tag or commit of it, and one of its `.gguf` files.
    /// Without a file it is the repository's safetensors, or its only `.gguf` file.
    ///
    /// # Errors
    /// When a name has a form that the hub does not know: names become parts of addresses and of paths.
    pub fn new(repository: &str, revision: &str, file: Option<&str>) -> Result<Self, BadName> {
        let bad = |text: &str, what| BadName { text: text.to_owned(), what };
        if !repository.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name)) {
            return Err(bad(repository, "a repository's id, organisation/name"));
        }
        if revision.len() > MAX_NAME || !revision.split('/').all(is_name) {
            return Err(bad(revision, "a branch, a tag or a commit"));
        }
        let is_gguf = |file: &str| {
            file.split('/').all(is_name) && Path::new(file).extension().is_some_and(|end| end == "gguf")
        };
        if let Some(file) = file
            && (file.len() > MAX_NAME || !is_gguf(file))
        {
            return Err(bad(file, "the name of a .gguf file"));
        }
        let file = file.map(str::to_owned);
        Ok(Self { repository: repository.to_owned(), revision: revision.to_owned(), file })
    }

    /// Whether the revision can never come to mean another content.
    pub(crate) fn is_commit(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Whether `text` is one part of a path at the hub: it leads nowhere else, and is not hidden.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(allowed) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_hub_knows_are_asked_for() {
        let commit = "ab810cf68114990406fdf996510dd3d3c6adbdf5";
        assert!(Wanted::new("a/b", commit, Some("q/x.gguf")).unwrap().is_commit());
        assert!(!Wanted::new("a/b", "refs/pr/1", None).unwrap().is_commit());
        for (repository, revision, file) in [
            ("a", "main", None),
            ("a/b/c", "main", None),
            ("../b", "main", None),
            ("a/b", "", None),
            ("a/b", "x/../y", None),
            ("a/b", "main", Some("x.bin")),
            ("a/b", "main", Some("../x.gguf")),
            ("a/b", "main", Some("/x.gguf")),
        ] {
            let error = Wanted::new(repository, revision, file).unwrap_err().to_string();
            assert!(error.contains("is not"), "{error}");
        }
    }
}
