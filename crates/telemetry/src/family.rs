//! Metrics with labels, whose values are bounded.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use crate::table::handles::{ConstLabels, Handle, histogram_options, options};
use crate::table::{Kind, MAX_VALUE, Metric, OTHER, Values};

/// Counters by `N` labels.
pub type Counters<const N: usize> = Family<IntCounterVec, N>;

/// Gauges by `N` labels.
pub type Gauges<const N: usize> = Family<GaugeVec, N>;

/// Histograms by `N` labels.
pub type Histograms<const N: usize> = Family<HistogramVec, N>;

/// A metric with `N` labels.
pub struct Family<V, const N: usize> {
    vector: V,
    row: &'static Metric,
    /// The values seen of each label whose values come from elsewhere.
    seen: Arc<[RwLock<BTreeSet<String>>; N]>,
}

/// A vector of metrics of one kind.
pub trait Vector: Clone {
    /// A metric in it.
    type Metric;
    /// What it counts as.
    const KIND: Kind;

    /// Makes it.
    ///
    /// # Errors
    /// When the row cannot be a metric of this kind.
    fn create(row: &Metric, names: &[&str], labels: &ConstLabels) -> prometheus::Result<Self>;

    /// The metric of these values, one for each label.
    fn of(&self, values: &[&str]) -> Self::Metric;

    /// Drops the metric of these values.
    fn forget(&self, values: &[&str]);

    /// What collects its series.
    fn collector(&self) -> Box<dyn Collector>;
}

macro_rules! vector {
    ($vector:ty, $metric:ty, $kind:expr, $options:ident) => {
        impl Vector for $vector {
            type Metric = $metric;
            const KIND: Kind = $kind;

            fn create(row: &Metric, names: &[&str], labels: &ConstLabels) -> prometheus::Result<Self> {
                Self::new($options(row, labels), names)
            }

            fn of(&self, values: &[&str]) -> Self::Metric {
                self.with_label_values(values)
            }

            fn forget(&self, values: &[&str]) {
                forget(self, values);
            }

            fn collector(&self) -> Box<dyn Collector> {
                Box::new(self.clone())
            }
        }
    };
}

vector!(IntCounterVec, prometheus::IntCounter, Kind::Counter, options);
vector!(GaugeVec, prometheus::Gauge, Kind::Gauge, options);
vector!(HistogramVec, prometheus::Histogram, Kind::Histogram, histogram_options);

fn forget<B: MetricVecBuilder>(vector: &MetricVec<B>, values: &[&str]) {
    // The only error is that there is no such metric, which is what was asked for.
    let _ = vector.remove_label_values(values);
}

impl<V: Vector, const N: usize> Family<V, N> {
    /// The metric of these label values, in the order of the table. A value out of bounds counts as [`OTHER`].
    pub fn with(&self, values: [&str; N]) -> V::Metric {
        let mut bounded = values;
        for (index, value) in bounded.iter_mut().enumerate() {
            *value = self.bounded(index, value);
        }
        self.vector.of(&bounded)
    }

    /// Drops the series of these label values, for example of a worker that is gone.
    pub fn remove(&self, values: [&str; N]) {
        self.vector.forget(&values);
        if let ([seen], [value]) = (self.seen.as_slice(), values.as_slice()) {
            seen.write().remove(*value);
        }
    }

    fn bounded<'a>(&self, index: usize, value: &'a str) -> &'a str {
        match self.row.labels[index].values {
            Values::Fixed(known) if known.contains(&value) => value,
            Values::UpTo(limit) if value.len() <= MAX_VALUE => {
                let seen = &self.seen[index];
                if seen.read().contains(value) {
                    return value;
                }
                let mut seen = seen.write();
                if seen.len() < limit || seen.contains(value) {
                    seen.insert(value.to_owned());
                    return value;
                }
                OTHER
            }
            _ => OTHER,
        }
    }

    /// Makes the series of all fixed values, so that a rate is known from the first event on.
    fn start(&self) {
        let mut combinations = vec![Vec::new()];
        for label in self.row.labels {
            let Values::Fixed(known) = label.values else { return };
            combinations = combinations
                .iter()
                .flat_map(|start: &Vec<&str>| {
                    known.iter().map(move |value| [start, [*value].as_slice()].concat())
                })
                .collect();
        }
        for values in combinations {
            self.vector.of(&values);
        }
    }
}

impl<V: Vector, const N: usize> Handle for Family<V, N> {
    const KIND: Kind = V::KIND;

    fn create(row: &'static Metric, labels: &ConstLabels) -> prometheus::Result<Self> {
        // Checked here once, so that no later lookup can find another number of labels.
        if row.labels.len() != N {
            return Err(prometheus::Error::InconsistentCardinality { expect: N, got: row.labels.len() });
        }
        let names: Vec<&str> = row.labels.iter().map(|label| label.name).collect();
        let vector = V::create(row, &names, labels)?;
        let family = Self { vector, row, seen: Arc::new(std::array::from_fn(|_| RwLock::default())) };
        family.start();
        Ok(family)
    }

    fn collector(&self) -> Box<dyn Collector> {
        self.vector.collector()
    }
}

impl<V, const N: usize> fmt::Debug for Family<V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.row.name).finish_non_exhaustive()
    }
}
