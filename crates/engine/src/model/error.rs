//! Why a model cannot be loaded.

use std::path::PathBuf;

/// A model that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder holds no model.
    #[error("{} holds neither a config.json nor a .gguf file: one of either is needed", path.display())]
    NoModel {
        /// The folder.
        path: PathBuf,
    },
    /// A folder holds several models.
    #[error("{} holds several .gguf files ({}): give the path of one", path.display(), files.join(", "))]
    SeveralModels {
        /// The folder.
        path: PathBuf,
        /// The `.gguf` files in it.
        files: Vec<String>,
    },
    /// A file is damaged.
    #[error("{} is damaged or not of its format", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A field is missing, of a wrong type or out of range.
    #[error("{}: field {field} {what}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        what: String,
    },
    /// A tensor is missing, or its shape or type does not fit.
    #[error("{}: tensor {tensor} {what}", path.display())]
    Tensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        what: String,
        /// The cause, where something else noticed it.
        source: Option<Box<candle_core::Error>>,
    },
    /// Something this engine does not support.
    #[error("{}: {what} is not supported yet", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What.
        what: String,
    },
}

impl ModelError {
    pub(super) fn damaged(
        path: &std::path::Path,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Damaged { path: path.into(), source: source.into() }
    }

    pub(super) fn field(path: &std::path::Path, field: &str, what: impl Into<String>) -> Self {
        Self::Field { path: path.into(), field: field.into(), what: what.into() }
    }

    pub(super) fn tensor(path: &std::path::Path, tensor: &str, what: impl Into<String>) -> Self {
        Self::Tensor { path: path.into(), tensor: tensor.into(), what: what.into(), source: None }
    }

    pub(super) fn candle(
        path: &std::path::Path,
        tensor: &str,
        what: &str,
        source: candle_core::Error,
    ) -> Self {
        Self::Tensor {
            path: path.into(),
            tensor: tensor.into(),
            what: what.into(),
            source: Some(source.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::path::Path;

    use super::*;

    #[test]
    fn candles_errors_stay_in_the_chain() {
        let cause = candle_core::Error::Msg("odd bytes".to_owned());
        let error = ModelError::candle(Path::new("a.gguf"), "b.weight", "cannot be read", cause);
        assert_eq!(error.to_string(), "a.gguf: tensor b.weight cannot be read");
        assert!(error.source().unwrap().to_string().contains("odd bytes"));
        assert!(ModelError::tensor(Path::new("a.gguf"), "b.weight", "is missing").source().is_none());
    }
}
