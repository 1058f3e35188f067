//! Reads Prometheus' text format, within bounds.

mod line;

use std::str;

/// Largest exposition, bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// Most samples of one exposition.
pub const MAX_SAMPLES: usize = 50_000;
/// Most labels of one sample.
pub const MAX_LABELS: usize = 64;

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The series' name.
    pub name: String,
    /// Its labels in the order of the text.
    pub labels: Vec<(String, String)>,
    /// Its value; NaN and infinities are values.
    pub value: f64,
    /// Milliseconds since the Unix epoch, where the text says them.
    pub timestamp_ms: Option<i64>,
}

impl Sample {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

/// Why a text is no exposition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics: {what}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: Fault,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Over [`MAX_BYTES`].
    #[error("the text has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// Over [`MAX_SAMPLES`].
    #[error("there are more than {MAX_SAMPLES} samples")]
    TooMany,
    /// Over [`MAX_LABELS`].
    #[error("a sample has more than {MAX_LABELS} labels")]
    TooManyLabels,
    /// Not UTF-8.
    #[error("the text is not UTF-8")]
    Encoding,
    /// No name at the start.
    #[error("a metric name was expected")]
    Name,
    /// No name of a label.
    #[error("a label name was expected")]
    LabelName,
    /// A label that is there twice.
    #[error("a label is there twice")]
    LabelTwice,
    /// No `="..."` behind a label's name.
    #[error("a label value in quotes was expected")]
    LabelValue,
    /// A backslash before another character than a backslash, a quote and `n`.
    #[error("a label value has an unknown escape")]
    Escape,
    /// No `,` and no `}` behind a label.
    #[error("',' or '}}' was expected")]
    Separator,
    /// No number behind the series.
    #[error("a number was expected as the value")]
    Value,
    /// No integer behind the value.
    #[error("milliseconds were expected as the time")]
    Timestamp,
    /// Something behind the time.
    #[error("the line does not end where it should")]
    Trailing,
}

/// Reads a text.
///
/// # Errors
/// When it is over a bound or not of the format; the error names the line.
pub fn parse(text: &[u8]) -> Result<Vec<Sample>, ParseError> {
    let at = |line, what| ParseError { line, what };
    if text.len() > MAX_BYTES {
        return Err(at(1, Fault::TooLarge));
    }
    let mut samples = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = str::from_utf8(line).map_err(|_| at(index + 1, Fault::Encoding))?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if samples.len() == MAX_SAMPLES {
            return Err(at(index + 1, Fault::TooMany));
        }
        samples.push(line::sample(line).map_err(|what| at(index + 1, what))?);
    }
    Ok(samples)
}
