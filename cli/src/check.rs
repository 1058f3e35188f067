//! `ampd check`: tells everything that is wrong with a manifest.

#![allow(clippy::print_stdout, reason = "this is the command's output")]

use std::path::PathBuf;
use std::process::ExitCode;

use ampd_api::Service;
use ampd_api::resolved::{ModelSource, Role};

use crate::manifest::{self, ManifestError};

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
            println!("{}", summary(&service));
            let file = args.file.display();
            println!("try it here with `ampd local -f {file}`, or apply it with `kubectl apply -f {file}`");
            Ok(ExitCode::SUCCESS)
        }
        Err(ManifestError::Invalid { name, errors }) => {
            for error in &errors.0 {
                println!("{error}");
            }
            let count = errors.0.len();
            println!("{name}: {count} error{}", if count == 1 { "" } else { "s" });
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
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
