//! `ampd check`: tells everything that is wrong with a manifest.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ampd_api::Service;
use ampd_api::resolved::{ModelSource, Role};

use crate::manifest::{self, ManifestError};
use crate::output;

/// Checks a manifest.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, an `AMPDService`; `-` reads standard input.
    #[arg(short, long)]
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    match manifest::load(Some(&args.file)) {
        Ok(service) => {
            output::print(&format!("{}\n{}\n", summary(&service), next(&service, &args.file)))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(ManifestError::Invalid { name, errors }) => {
            let lines: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            let count = errors.0.len();
            let plural = if count == 1 { "" } else { "s" };
            output::print(&format!("{}\n{name}: {count} error{plural}\n", lines.join("\n")))?;
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

/// What to do with a good manifest.
fn next(service: &Service, file: &Path) -> String {
    let file = file.display();
    match manifest::model(service) {
        Ok(_) => format!("run it here with `ampd local -f {file}`"),
        Err(_) => format!("run it here with `ampd local -f {file} --model PATH`: there are no volumes here"),
    }
}

fn summary(service: &Service) -> String {
    let duration = humantime::format_duration;
    let source = match &service.model.source {
        ModelSource::HuggingFace { repo, revision, file } => {
            let file = file.as_ref().map(|file| format!(", {file}")).unwrap_or_default();
            format!("{repo}@{revision}{file} at Hugging Face")
        }
        ModelSource::PersistentVolumeClaim { claim_name, path } => {
            format!("{path} on the claim {claim_name}")
        }
        ModelSource::Path(path) => path.clone(),
    };
    let count = |role: &Role| match (role.min_replicas, role.max_replicas) {
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min} to {max}"),
    };
    let slo = &service.slo;
    format!(
        "AMPDService {}/{} is valid\n  model    {} from {source}\n  slo      TTFT {}, ITL {}, for {:.0}% of the \
         rounds\n  workers  {} prefill, {} decode\n  routing  {}",
        service.namespace,
        service.name,
        service.model.name,
        duration(slo.ttft),
        duration(slo.itl),
        100.0 * slo.target,
        count(&service.prefill),
        count(&service.decode),
        service.routing.policy.as_str(),
    )
}
