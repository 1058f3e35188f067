//! Why a model's text side cannot be loaded or used.

use std::path::PathBuf;

/// Errors of loading and of encoding.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The path leads to no model.
    #[error(transparent)]
    Model(#[from] ampd_engine::model::ModelError),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {field} {what}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field within it.
        field: String,
        /// What is wrong with it.
        what: String,
    },
    /// The tokenizer is of a kind that is not supported yet.
    #[error("{}: {what} is not supported yet", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        what: String,
    },
    /// The parts of the tokenizer do not fit together.
    #[error("{}: the tokenizer cannot be built", path.display())]
    Build {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The chat template is not one.
    #[error("{}: the chat template cannot be compiled", path.display())]
    Template {
        /// The file it comes from.
        path: PathBuf,
        /// Why.
        #[source]
        source: minijinja::Error,
    },
    /// A text could not be encoded.
    #[error("the text could not be tokenised")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
}
