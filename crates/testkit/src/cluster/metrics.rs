//! A process's metrics.

use ampd_telemetry::exposition::{self, Sample};

use super::Member;

/// All series of a process at one moment.
#[derive(Debug, Clone)]
pub struct Metrics {
    samples: Vec<Sample>,
}

impl Metrics {
    /// Reads those of a process.
    ///
    /// # Errors
    /// When it does not answer, or not in Prometheus' form.
    pub async fn read(http: &reqwest::Client, member: &Member) -> anyhow::Result<Self> {
        let url = format!("{}/metrics", member.admin_url()?);
        let response = http.get(url).timeout(std::time::Duration::from_secs(5)).send().await?;
        Self::parse(&response.error_for_status()?.text().await?)
    }

    /// Reads Prometheus' text form.
    ///
    /// # Errors
    /// When it is not that.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self { samples: exposition::parse(text.as_bytes())? })
    }

    /// All series of this name that have these labels, among others.
    pub fn series<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let wanted = |sample: &Sample| labels.iter().all(|(key, value)| sample.label(key) == Some(*value));
        self.samples.iter().filter(move |sample| sample.name == name && wanted(sample))
    }

    /// The sum over such series; 0 when there is none, as for a counter that never counted.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // The sum of no numbers is -0.0 otherwise.
        self.series(name, labels).map(|sample| sample.value).fold(0.0, |sum, value| sum + value)
    }

    /// The value of the one such series.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<f64> {
        let found: Vec<_> = self.series(name, labels).map(|sample| sample.value).collect();
        match found.as_slice() {
            [value] => Ok(*value),
            found => anyhow::bail!("{} series {name} {labels:?}, expected one", found.len()),
        }
    }
}
