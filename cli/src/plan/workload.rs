//! What comes: a trace, or what the manifest declares.

use ampd_api::service;
use ampd_planner::{Statistics, WorkloadModel};

use super::Args;
use crate::evaluate::{InputError, MISSING_GAP_S, trace};

/// `--rate`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rate {
    /// Sessions a second.
    Sessions(f64),
    /// So many times as many.
    Times(f64),
}

/// The workload.
pub(super) fn of(args: &Args, declared: &service::Workload) -> Result<WorkloadModel, InputError> {
    let rate = args.rate.as_deref().map(rate).transpose()?;
    let absolute = match rate {
        Some(Rate::Sessions(rate)) => Some(rate),
        _ => None,
    };
    let model = match &args.trace {
        Some(path) => {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            WorkloadModel::recorded(&name, trace(path, MISSING_GAP_S)?, absolute)?
        }
        None => of_manifest(declared, absolute)?,
    };
    Ok(match rate {
        Some(Rate::Times(factor)) => model.times(factor)?,
        _ => model,
    })
}

fn rate(text: &str) -> Result<Rate, InputError> {
    let wrong = || InputError::Rate(text.to_owned());
    let number = |text: &str| text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    match text.strip_prefix('x') {
        Some(factor) => number(factor).map(Rate::Times),
        None => number(text).map(Rate::Sessions),
    }
    .ok_or_else(wrong)
}

fn of_manifest(declared: &service::Workload, rate: Option<f64>) -> Result<WorkloadModel, InputError> {
    let given = |field, value: Option<i32>| value.map(f64::from).ok_or(InputError::NoWorkload { field });
    let rate = match rate {
        Some(rate) => rate,
        None => given("sessionsPerMinute", declared.sessions_per_minute)? / 60.0,
    };
    let rounds = given("roundsPerSession", declared.rounds_per_session)?;
    let first = given("firstInputTokens", declared.first_input_tokens)?;
    // A session of one round has no later ones.
    let later = if rounds > 1.0 { given("incrementTokens", declared.increment_tokens)? } else { 1.0 };
    let output = given("outputTokens", declared.output_tokens)?;
    let gap = declared.gap.as_deref().and_then(ampd_api::values::duration);
    let gap = gap.map_or(0.0, |gap| gap.as_secs_f64());
    Ok(WorkloadModel::declared(&Statistics::of_means([rounds, first, later, output, gap]), rate)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_factors_are_told_apart() {
        assert_eq!(rate("2.5").unwrap(), Rate::Sessions(2.5));
        assert_eq!(rate("x3").unwrap(), Rate::Times(3.0));
        for wrong in ["", "x", "0", "-1", "x-1", "NaN", "inf", "2x"] {
            assert!(rate(wrong).unwrap_err().to_string().contains("--rate"), "{wrong}");
        }
    }
}
