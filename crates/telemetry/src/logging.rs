//! Logs: one line an event on standard error.

mod json;

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, fmt as human};

pub use json::JsonLayer;

/// How events are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people at a terminal.
    #[default]
    Human,
    /// For collectors: one JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat(text.to_owned())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

/// Not a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log format: it is human or json")]
pub struct UnknownFormat(String);

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("the log filter {filter:?} is not valid, an example of one is \"info,ampd_worker=debug\"")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong.
        #[source]
        source: ParseError,
    },
    /// It was started before.
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

/// Starts logging to standard error. The filter is a list as of `RUST_LOG`: `info,ampd_worker=debug`.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn init(format: Format, filter: &str) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Human => registry
            .with(human::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()))
            .try_init()?,
        Format::Json => registry.with(JsonLayer::new(std::io::stderr)).try_init()?,
    }
    Ok(())
}
