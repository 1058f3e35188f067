//! The budget of accelerators.

use std::collections::BTreeMap;

use ampd_api::service::AMPDServiceSpec;

use crate::{Facts, Role};

/// How a role's pods are replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Surge {
    /// A new pod comes up before an old one goes.
    #[default]
    OneMore,
    /// An old pod goes first: the budget has no room for one more.
    InPlace,
}

/// More accelerators are asked for than the budget has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetExceeded {
    /// What the workers need.
    pub wanted: i64,
    /// What they may have.
    pub budget: i64,
}

/// Accelerators that the workers of `replicas` need.
#[must_use]
pub fn wanted_gpus(replicas: &BTreeMap<(Role, u32), i32>) -> i64 {
    replicas.iter().map(|((_, degree), count)| i64::from(*degree) * i64::from(*count)).sum()
}

/// How each role may be rolled within the budget; decode workers come first, since their sessions lose most.
///
/// # Errors
/// When the budget has not even room for all workers.
pub fn surge(spec: &AMPDServiceSpec, facts: &Facts) -> Result<BTreeMap<Role, Surge>, BudgetExceeded> {
    let Some(budget) = spec.accelerator.as_ref().and_then(|accelerator| accelerator.budget.as_ref()) else {
        return Ok(BTreeMap::new());
    };
    let (wanted, budget) = (wanted_gpus(&facts.replicas), i64::from(budget.max));
    let mut room = budget - wanted;
    if room < 0 {
        return Err(BudgetExceeded { wanted, budget });
    }
    let mut found = BTreeMap::new();
    for role in Role::ALL {
        // A roll touches all degrees of a role at once, each with one more pod.
        let more: i64 = facts
            .replicas
            .iter()
            .filter(|((of, _), count)| *of == role && **count > 0)
            .map(|((_, degree), _)| i64::from(*degree))
            .sum();
        let fits = more <= room;
        if fits {
            room -= more;
        }
        found.insert(role, if fits { Surge::OneMore } else { Surge::InPlace });
    }
    Ok(found)
}
