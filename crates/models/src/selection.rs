//! Which files of a repository a model is loaded from.

use std::path::Path;

use crate::wanted::is_name;

/// Files beside the weights that describe a model.
const DESCRIPTION: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
];

/// What is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// One GGUF file, by its name in the repository.
    Gguf(String),
    /// Description and safetensors.
    Folder(Vec<String>),
}

/// Files that are no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Nothing to load, or too much.
    #[error(
        "has no safetensors files and {}",
        if gguf.is_empty() { "no .gguf file: name another repository".to_owned() }
        else { format!("several .gguf files: name one of {} (file)", gguf.join(", ")) }
    )]
    NoWeights {
        /// Its `.gguf` files.
        gguf: Vec<String>,
    },
    /// The file that was asked for is not there.
    #[error(
        "has no file {file}: {}",
        if gguf.is_empty() { "it has no .gguf file at all".to_owned() } else { format!("name one of {} (file)", gguf.join(", ")) }
    )]
    NoFile {
        /// The file.
        file: String,
        /// Its `.gguf` files.
        gguf: Vec<String>,
    },
    /// Weights of something that is no model of its own.
    #[error("has safetensors files and no config.json: it is no whole model, name another repository")]
    NoConfig,
}

impl Selection {
    /// The files' names in the repository.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Gguf(name) => std::slice::from_ref(name),
            Self::Folder(names) => names,
        }
    }
}

/// The files that a model is loaded from: description and safetensors, or the only `.gguf` file; or `file` and no other.
///
/// # Errors
/// When there are none, or no telling which.
pub fn select(names: &[String], file: Option<&str>) -> Result<Selection, SelectError> {
    let at_top = |end: &str| -> Vec<String> {
        names.iter().filter(|name| ends(name, end) && is_name(name)).cloned().collect()
    };
    if let Some(file) = file {
        if names.iter().any(|name| name == file) {
            return Ok(Selection::Gguf(file.to_owned()));
        }
        let gguf = names.iter().filter(|name| ends(name, "gguf")).cloned().collect();
        return Err(SelectError::NoFile { file: file.to_owned(), gguf });
    }
    let weights = at_top("safetensors");
    if weights.is_empty() {
        let gguf = at_top("gguf");
        return match gguf.as_slice() {
            [only] => Ok(Selection::Gguf(only.clone())),
            _ => Err(SelectError::NoWeights { gguf }),
        };
    }
    // Some repositories carry the same weights a second time under another name.
    let usual = |name: &String| name.starts_with("model");
    let has_usual = weights.iter().any(usual);
    let mut wanted: Vec<String> =
        names.iter().filter(|name| DESCRIPTION.contains(&name.as_str())).cloned().collect();
    if !wanted.iter().any(|name| name == "config.json") {
        return Err(SelectError::NoConfig);
    }
    wanted.extend(weights.into_iter().filter(|name| !has_usual || usual(name)));
    Ok(Selection::Folder(wanted))
}

/// Whether a file of this name, wherever it comes from, has a say in what is loaded from its folder.
pub(crate) fn matters(name: &str) -> bool {
    DESCRIPTION.contains(&name) || ends(name, "gguf") || ends(name, "safetensors")
}

/// Whether a file is a GGUF file by its name.
pub(crate) fn is_gguf(name: &str) -> bool {
    ends(name, "gguf")
}

fn ends(name: &str, end: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn weights_are_taken_once_and_nothing_else_but_the_description() {
        let chosen = select(
            &names(&[
                "README.md",
                "config.json",
                "consolidated.safetensors",
                "model-00001-of-00001.safetensors",
                "onnx/model.safetensors",
                "tokenizer.json",
            ]),
            None,
        );
        let expected = names(&["config.json", "tokenizer.json", "model-00001-of-00001.safetensors"]);
        assert_eq!(chosen, Ok(Selection::Folder(expected)));
        assert_eq!(select(&names(&["adapter_model.safetensors"]), None), Err(SelectError::NoConfig));
    }

    #[test]
    fn one_gguf_file_will_do_and_several_are_listed() {
        assert_eq!(select(&names(&["README.md", "a.gguf"]), None), Ok(Selection::Gguf("a.gguf".into())));
        let several = names(&["a.gguf", "b.gguf", "q/c.gguf", "config.json"]);
        let error = select(&several, None).unwrap_err().to_string();
        assert!(error.contains("a.gguf, b.gguf"), "{error}");
        assert!(select(&[], None).unwrap_err().to_string().contains("no .gguf file"));
        assert_eq!(select(&several, Some("q/c.gguf")), Ok(Selection::Gguf("q/c.gguf".into())));
        let error = select(&several, Some("d.gguf")).unwrap_err().to_string();
        assert!(error.contains("no file d.gguf: name one of a.gguf, b.gguf, q/c.gguf"), "{error}");
    }

    #[test]
    fn what_could_be_loaded_matters() {
        assert!(["x.gguf", "config.json", "y.safetensors"].into_iter().all(matters));
        assert!(!["README.md", "lost+found"].into_iter().any(matters));
    }
}
