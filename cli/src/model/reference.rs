//! How a model is named on the command line and in manifests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The name of the default model.
pub(crate) const DEFAULT: &str = "smollm2";

/// A repository at Hugging Face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubModel {
    /// `organisation/name`.
    pub(crate) repository: String,
    /// Branch, tag or commit.
    pub(crate) revision: Option<String>,
    /// One `.gguf` file of it, where it has several.
    pub(crate) file: Option<String>,
}

/// Which model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelRef {
    /// SmolLM2-135M-Instruct from its package.
    Default,
    /// A file or folder.
    Path(PathBuf),
    /// A repository.
    Hub(HubModel),
}

impl FromStr for ModelRef {
    type Err = String;

    /// `smollm2`, a path, or `organisation/name[@revision][:file.gguf]`. A path is told by its existing, by a leading
    /// `/`, `.` or `~`, or by its `.gguf`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case(DEFAULT) {
            return Ok(Self::Default);
        }
        let path = Path::new(text);
        let looks_like_path = text.starts_with(['/', '.', '~'])
            || (path.extension().is_some_and(|end| end == "gguf") && !text.contains(':'));
        if !text.is_empty() && (looks_like_path || path.exists()) {
            return Ok(Self::Path(path.into()));
        }
        let (rest, file) = match text.split_once(':') {
            Some((rest, file)) => (rest, Some(file)),
            None => (text, None),
        };
        let (repository, revision) = match rest.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (rest, None),
        };
        let named = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && part.len() <= 96 && part.chars().all(allowed) && !part.starts_with('.')
        };
        let is_repository =
            repository.split_once('/').is_some_and(|(owner, name)| named(owner) && named(name));
        let is_revision = revision.is_none_or(|revision| revision.split('/').all(named));
        let is_file = file.is_none_or(|file| {
            file.split('/').all(named) && Path::new(file).extension().is_some_and(|end| end == "gguf")
        });
        if is_repository && is_revision && is_file {
            let (revision, file) = (revision.map(str::to_owned), file.map(str::to_owned));
            return Ok(Self::Hub(HubModel { repository: repository.to_owned(), revision, file }));
        }
        Err(format!(
            "{text:?} is neither {DEFAULT:?}, nor a file or folder here, nor a Hugging Face id \
             (organisation/name[@revision][:file.gguf])"
        ))
    }
}

impl ModelRef {
    /// The name under which such a model is served.
    pub(crate) fn served_name(&self) -> String {
        match self {
            Self::Default => "smollm2-135m-instruct".to_owned(),
            Self::Path(path) => file_name(path),
            Self::Hub(model) => model.repository.clone(),
        }
    }

    /// Other names that clients may use: the short one of the default model.
    pub(crate) fn aliases(&self) -> Vec<String> {
        if *self == Self::Default { vec![DEFAULT.to_owned()] } else { Vec::new() }
    }
}

/// What a model's file or folder is called: its name, which may have dots, without the ending of GGUF files.
pub(crate) fn file_name(path: &Path) -> String {
    let name = path.file_name().map_or_else(|| "model".into(), OsStr::to_string_lossy);
    name.strip_suffix(".gguf").unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_served_under_its_whole_name() {
        for (path, name) in [
            ("/models/Llama-3.2-1B", "Llama-3.2-1B"),
            ("/models/Llama-3.2-1B/", "Llama-3.2-1B"),
            ("m/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1"),
            ("..", "model"),
        ] {
            let model = ModelRef::Path(path.into());
            assert_eq!((model.served_name().as_str(), model.aliases().len()), (name, 0));
        }
        let default: ModelRef = "smollm2".parse().unwrap();
        assert_eq!(
            (default.served_name().as_str(), &default.aliases()[..]),
            ("smollm2-135m-instruct", &["smollm2".to_owned()][..])
        );
    }

    #[test]
    fn each_form_is_told_from_the_others() {
        let parse = |text: &str| text.parse::<ModelRef>();
        assert_eq!(parse("SmolLM2"), Ok(ModelRef::Default));
        assert_eq!(parse("/models/x"), Ok(ModelRef::Path("/models/x".into())));
        assert_eq!(parse("./x"), Ok(ModelRef::Path("./x".into())));
        assert_eq!(parse("x.gguf"), Ok(ModelRef::Path("x.gguf".into())));
        assert_eq!(parse("src"), Ok(ModelRef::Path("src".into())), "it exists in the package's folder");
        let hub = |repository: &str, revision: Option<&str>, file: Option<&str>| {
            Ok(ModelRef::Hub(HubModel {
                repository: repository.into(),
                revision: revision.map(Into::into),
                file: file.map(Into::into),
            }))
        };
        assert_eq!(parse("Qwen/Qwen3-0.6B"), hub("Qwen/Qwen3-0.6B", None, None));
        assert_eq!(parse("a/b@refs/pr/1:q/x.gguf"), hub("a/b", Some("refs/pr/1"), Some("q/x.gguf")));
    }

    #[test]
    fn nonsense_is_refused_with_what_would_do() {
        for text in ["", "nothing-here", "a/b/c", "a/b:x.bin", "a/b@", "a b/c", "a/../b", "a/b:../x.gguf"] {
            let error = text.parse::<ModelRef>().unwrap_err();
            assert!(error.contains("organisation/name"), "{text}: {error}");
        }
    }
}
