//! What the arguments ask for.

use std::path::Path;
use std::sync::Arc;

use ampd_simulator::evaluate::{CARDS, Card, Cell, Family, Plan};
use ampd_simulator::trace::{Trace, parse};
use ampd_simulator::workload::Source;

use super::Args;
use super::error::InputError;

/// Seconds between rounds where a trace does not tell.
pub(crate) const MISSING_GAP_S: f64 = 1.0;

/// The plan of an evaluation.
pub(super) fn of(args: &Args) -> Result<Plan, InputError> {
    let mut plan = match (&args.trace, &args.model) {
        (Some(path), Some(model)) => {
            let card = card(model)?;
            if args.gpus / card.theta < 2 {
                return Err(InputError::Gpus { gpus: args.gpus, model: card.name, theta: card.theta });
            }
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let source = Source::Recorded { name, trace: Arc::new(trace(path, MISSING_GAP_S)?) };
            Plan { disturbed: false, ..Plan::of(vec![Cell::new(card, source, args.gpus)]) }
        }
        _ if args.quick => Plan::quick(),
        _ => Plan::whole(),
    };
    if !args.quick {
        plan.seeds = (1..=u64::from(args.seeds)).collect();
    }
    if !args.policies.is_empty() {
        plan.families = args.policies.iter().map(|name| policy(name)).collect::<Result<_, _>>()?;
        plan.families.sort_unstable();
        plan.families.dedup();
    }
    Ok(plan)
}

/// The policy of this name.
pub(crate) fn policy(name: &str) -> Result<Family, InputError> {
    Family::named(name).ok_or_else(|| InputError::Policy {
        name: name.to_owned(),
        known: Family::ALL.map(Family::name).join(", "),
    })
}

/// The worker type of this name, or the first one that it begins.
pub(crate) fn card(name: &str) -> Result<Card, InputError> {
    let exact = CARDS.into_iter().find(|card| card.name == name);
    let begins = |card: &Card| card.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    exact.or_else(|| CARDS.into_iter().find(begins)).ok_or_else(|| InputError::Model {
        name: name.to_owned(),
        known: CARDS.map(|card| card.name).join(", "),
    })
}

/// The worker types of this name: one, or all that it begins on the accelerator of the first of them.
pub(crate) fn cards(name: &str) -> Result<Vec<Card>, InputError> {
    let first = card(name)?;
    if first.name == name {
        return Ok(vec![first]);
    }
    let family = |card: &Card| card.name.rsplit_once('/').map(|(family, _)| family);
    Ok(CARDS.into_iter().filter(|card| family(card) == family(&first)).collect())
}

/// Reads a trace; `missing_gap_s` stands for think times that it does not tell.
pub(crate) fn trace(path: &Path, missing_gap_s: f64) -> Result<Trace, InputError> {
    let text = std::fs::read(path).map_err(|source| InputError::Read { path: path.to_owned(), source })?;
    parse(&text, missing_gap_s).map_err(|problem| InputError::Trace { path: path.to_owned(), problem })
}
