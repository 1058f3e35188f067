//! The table of metrics: every series that a program of AMPD exposes.

mod buckets;
#[macro_use]
pub mod handles;
mod labels;
mod markdown;
pub mod operator;
pub mod process;
pub mod sidecar;
pub mod worker;

pub use markdown::markdown;

/// What a metric counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// A value of this moment.
    Gauge,
    /// A distribution over buckets.
    Histogram,
}

impl Kind {
    /// The kind as the exposition writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Which values a label takes; any other is counted as [`OTHER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// These.
    Fixed(&'static [&'static str]),
    /// The first so many distinct ones, each of at most [`MAX_VALUE`] bytes.
    UpTo(usize),
}

/// The label that names the service, `namespace/name`: names of processes are unique within one service only.
pub const SERVICE: &str = "ampd_service";

/// What a label value outside of the bounds becomes, so that no peer can make series without end.
pub const OTHER: &str = "other";

/// Longest label value, bytes.
pub const MAX_VALUE: usize = 253;

/// A label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

impl Label {
    /// A label with these values.
    #[must_use]
    pub const fn fixed(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values: Values::Fixed(values) }
    }

    /// A label whose values come from elsewhere: the first `count` distinct ones.
    #[must_use]
    pub const fn up_to(name: &'static str, count: usize) -> Self {
        Self { name, values: Values::UpTo(count) }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// What it counts as.
    pub kind: Kind,
    /// What one of it is.
    pub unit: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its labels, besides the constant ones of the program.
    pub labels: &'static [Label],
    /// Upper bounds of the buckets of a histogram, in the metric's unit.
    pub buckets: &'static [f64],
    /// Whether it is one of the few series that routing reads.
    pub load: bool,
}

impl Metric {
    /// A row without labels and buckets, for struct update.
    pub const EMPTY: Self =
        Self { name: "", kind: Kind::Gauge, unit: "", help: "", labels: &[], buckets: &[], load: false };
}
