//! `ampd crd`: the definitions of the resources.

use std::process::ExitCode;

use crate::output;

/// Runs the command.
pub(crate) fn main() -> anyhow::Result<ExitCode> {
    output::print(&output::yaml(&ampd_api::crds())?)?;
    Ok(ExitCode::SUCCESS)
}
