//! How rows become typed handles: one declaration makes both, so that neither is without the other.

use std::collections::HashMap;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, Opts, Registry, TextEncoder};

use super::{Kind, Metric};
use crate::MetricsError;

/// Labels that every series of a program carries.
pub type ConstLabels = HashMap<String, String>;

/// A metric made from a row.
pub trait Handle: Sized {
    /// What it counts as.
    const KIND: Kind;

    /// Makes it.
    ///
    /// # Errors
    /// When the row cannot be a metric of this type.
    fn create(row: &'static Metric, labels: &ConstLabels) -> prometheus::Result<Self>;

    /// What collects its series.
    fn collector(&self) -> Box<dyn Collector>;
}

pub(crate) fn options(row: &Metric, labels: &ConstLabels) -> Opts {
    Opts::new(row.name, row.help).const_labels(labels.clone())
}

pub(crate) fn histogram_options(row: &Metric, labels: &ConstLabels) -> HistogramOpts {
    HistogramOpts::from(options(row, labels)).buckets(row.buckets.to_vec())
}

impl Handle for IntCounter {
    const KIND: Kind = Kind::Counter;

    fn create(row: &'static Metric, labels: &ConstLabels) -> prometheus::Result<Self> {
        Self::with_opts(options(row, labels))
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }
}

impl Handle for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn create(row: &'static Metric, labels: &ConstLabels) -> prometheus::Result<Self> {
        Self::with_opts(options(row, labels))
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }
}

impl Handle for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn create(row: &'static Metric, labels: &ConstLabels) -> prometheus::Result<Self> {
        Self::with_opts(histogram_options(row, labels))
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }
}

/// The registries of one program.
#[derive(Debug, Default)]
pub(crate) struct Registries {
    all: Registry,
    /// The few series that routing reads.
    load: Registry,
    /// Held while several series change together and while any are rendered, so that no reader sees half a change.
    together: Mutex<()>,
}

impl Registries {
    /// Makes the metric of a row and registers it.
    pub fn add<H: Handle>(&self, row: &'static Metric, labels: &ConstLabels) -> Result<H, MetricsError> {
        let failed = |source| MetricsError { name: row.name.into(), source };
        let handle = H::create(row, labels).map_err(failed)?;
        self.all.register(handle.collector()).map_err(failed)?;
        if row.load {
            self.load.register(handle.collector()).map_err(failed)?;
        }
        Ok(handle)
    }

    /// Registers a collector that is made elsewhere.
    pub fn add_collector(&self, name: &str, collector: Box<dyn Collector>) -> Result<(), MetricsError> {
        self.all.register(collector).map_err(|source| MetricsError { name: name.into(), source })
    }

    /// Changes several series at once.
    pub fn change(&self, change: impl FnOnce()) {
        let _held = self.together.lock();
        change();
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> Result<String, MetricsError> {
        self.text(&self.all)
    }

    /// The series that routing reads in Prometheus' text format.
    pub fn render_load(&self) -> Result<String, MetricsError> {
        self.text(&self.load)
    }

    fn text(&self, registry: &Registry) -> Result<String, MetricsError> {
        let families = {
            let _held = self.together.lock();
            registry.gather()
        };
        TextEncoder::new()
            .encode_to_string(&families)
            .map_err(|source| MetricsError { name: String::new(), source })
    }
}

/// Declares the metrics of a program: its table and, with the same names, its handles.
macro_rules! metrics {
    (@row $handle:ty, $metric:literal, $unit:literal, $help:literal, $($key:ident: $value:expr),*) => {
        $crate::table::Metric {
            name: $metric,
            unit: $unit,
            help: $help,
            kind: <$handle as $crate::table::handles::Handle>::KIND,
            $($key: $value,)*
            ..$crate::table::Metric::EMPTY
        }
    };
    (
        $(#[$doc:meta])*
        $name:ident;
        $($field:ident: $handle:ty = $metric:literal, $unit:literal, $help:literal, { $($key:ident: $value:expr),* };)*
    ) => {
        /// The rows of this program.
        pub static TABLE: &[$crate::table::Metric] =
            &[$(metrics!(@row $handle, $metric, $unit, $help, $($key: $value),*)),*];

        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            registries: $crate::table::handles::Registries,
            $(#[doc = $help] pub $field: $handle,)*
        }

        impl $name {
            fn from_table(labels: &$crate::table::handles::ConstLabels) -> Result<Self, $crate::MetricsError> {
                let registries = $crate::table::handles::Registries::default();
                $crate::process::register(&registries, labels)?;
                $(
                    let row = const { &metrics!(@row $handle, $metric, $unit, $help, $($key: $value),*) };
                    let $field = registries.add::<$handle>(row, labels)?;
                )*
                Ok(Self { registries, $($field,)* })
            }

            /// Every series in Prometheus' text format.
            ///
            /// # Errors
            /// When the series cannot be written, which is a defect.
            pub fn render(&self) -> Result<String, $crate::MetricsError> {
                self.registries.render()
            }
        }
    };
}
