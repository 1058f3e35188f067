//! What the kernel says about this process, read when the metrics are.

use prometheus::Gauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use crate::MetricsError;
use crate::table::handles::{ConstLabels, Handle, Registries};
use crate::table::{Metric, process as rows};

/// Registers the process' own metrics.
pub(crate) fn register(registries: &Registries, labels: &ConstLabels) -> Result<(), MetricsError> {
    let gauge = |row: &'static Metric| {
        Gauge::create(row, labels).map_err(|source| MetricsError { name: row.name.into(), source })
    };
    let process = Process {
        resident: gauge(&rows::RESIDENT)?,
        open_fds: gauge(&rows::OPEN_FDS)?,
        threads: gauge(&rows::THREADS)?,
        start: gauge(&rows::START)?,
    };
    registries.add_collector("process", Box::new(process))
}

struct Process {
    resident: Gauge,
    open_fds: Gauge,
    threads: Gauge,
    start: Gauge,
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        [&self.resident, &self.open_fds, &self.threads, &self.start]
            .into_iter()
            .flat_map(Gauge::desc)
            .collect()
    }

    /// A value that cannot be read is left out: a zero would be a lie.
    fn collect(&self) -> Vec<MetricFamily> {
        let stat = stat();
        let values = [
            (&self.resident, stat.as_ref().map(|stat| stat.resident)),
            (&self.open_fds, open_fds()),
            (&self.threads, stat.as_ref().map(|stat| stat.threads)),
            (&self.start, stat.as_ref().and_then(|stat| Some(boot_time()? + stat.start))),
        ];
        let mut families = Vec::with_capacity(values.len());
        for (gauge, value) in values {
            if let Some(value) = value {
                gauge.set(value);
                families.extend(gauge.collect());
            }
        }
        families
    }
}

struct Stat {
    /// Bytes.
    resident: f64,
    threads: f64,
    /// Seconds after the machine's start.
    start: f64,
}

/// The fields of `/proc/self/stat` by their numbers in proc(5). The second, the program's name in parentheses, may hold
/// anything, so that counting begins behind it.
fn stat() -> Option<Stat> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Stat {
        threads: field(20)?,
        start: field(22)? / rustix::param::clock_ticks_per_second() as f64,
        resident: field(24)? * rustix::param::page_size() as f64,
    })
}

/// The directory that is being read is itself one of the open files.
fn open_fds() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

/// The machine's start, seconds since the Unix epoch.
fn boot_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
