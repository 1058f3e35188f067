//! `ampd fetch`: gets a model and prints where it is, for scripts.

use std::process::ExitCode;

use crate::model::{self, ModelRef};
use crate::output;

/// Gets a model.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `smollm2`, a file or folder, or a Hugging Face id (`organisation/name[@revision][:file.gguf]`).
    #[arg(long, default_value = model::DEFAULT)]
    model: ModelRef,
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let path = model::fetch_alone(&args.model)?;
    output::print(&format!("{}\n", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
