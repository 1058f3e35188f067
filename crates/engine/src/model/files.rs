//! Which files a path means: the one rule for weights, tokenizer and chat template.

use std::path::{Path, PathBuf};

use super::ModelError;

/// What a model's path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// A GGUF file, which holds all there is.
    Gguf(PathBuf),
    /// A folder in Hugging Face's layout.
    HuggingFace(PathBuf),
}

impl Files {
    /// A file is a GGUF file whatever it is called. A folder with a `config.json` is one in Hugging Face's layout, and any
    /// other must hold exactly one `.gguf` file. Hidden files do not count: they are what a fetch or an editor left.
    ///
    /// # Errors
    /// When the path cannot be read, or a folder holds nothing to load or several things; the error lists them.
    pub fn find(path: &Path) -> Result<Self, ModelError> {
        let read = |source| ModelError::Read { path: path.into(), source };
        if !std::fs::metadata(path).map_err(read)?.is_dir() {
            return Ok(Self::Gguf(path.into()));
        }
        if path.join("config.json").is_file() {
            return Ok(Self::HuggingFace(path.into()));
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            let is_gguf = Path::new(&name).extension().is_some_and(|end| end == "gguf");
            if is_gguf && !name.to_string_lossy().starts_with('.') {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        match names.as_slice() {
            [] => Err(ModelError::NoModel { path: path.into() }),
            [name] => Ok(Self::Gguf(path.join(name))),
            _ => Err(ModelError::SeveralModels { path: path.into(), files: names }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_means_its_one_gguf_file_whatever_is_hidden_beside_it() {
        let place = folder(&["m.gguf", ".old.gguf", ".ampd-model.json", "README.md"]);
        assert_eq!(Files::find(place.path()).unwrap(), Files::Gguf(place.path().join("m.gguf")));
        let file = place.path().join("README.md");
        assert_eq!(Files::find(&file).unwrap(), Files::Gguf(file), "a file is taken at its word");
        std::fs::write(place.path().join("config.json"), "{}").unwrap();
        assert_eq!(Files::find(place.path()).unwrap(), Files::HuggingFace(place.path().into()));
    }

    #[test]
    fn what_is_not_one_model_is_refused_by_name() {
        let error = Files::find(folder(&["b.gguf", "a.gguf"]).path()).unwrap_err().to_string();
        assert!(error.contains("several .gguf files (a.gguf, b.gguf)"), "{error}");
        let error = Files::find(folder(&[".hidden.gguf"]).path()).unwrap_err().to_string();
        assert!(error.contains("neither a config.json nor a .gguf file"), "{error}");
        assert!(matches!(Files::find(Path::new("/no/such")), Err(ModelError::Read { .. })));
    }
}
