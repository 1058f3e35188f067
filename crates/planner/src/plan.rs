//! Plans and what is said of them.

use serde::Serialize;

use crate::search::Ended;
use crate::{Deployment, Effort, Goal, Prediction, ProgramAnswer};

/// What a plan's objectives are met by.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Verdict {
    /// The plan meets them.
    Meets,
    /// No deployment within the bounds meets them; the plan is the best there is.
    Infeasible {
        /// What would.
        needed: Needed,
    },
}

/// What would meet objectives that cannot be met within the bounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Needed {
    /// A larger deployment.
    Deployment {
        /// The smallest that was found.
        deployment: Deployment,
        /// Its accelerators.
        gpus: u64,
        /// What is to be expected of it.
        predicted: Prediction,
    },
    /// More accelerators than a service may have: the load alone takes so many.
    TooMany {
        /// The least, by arithmetic.
        gpus: f64,
    },
    /// None: the objectives are out of reach of these worker types, whatever their number.
    OtherObjectives {
        /// Share of rounds that meet them on so many accelerators that hardly any waits.
        attainment: f64,
        /// Those accelerators.
        gpus: u64,
    },
    /// Not found before all rounds were simulated that may be.
    Unknown,
}

/// An objective of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Time to first token.
    Ttft,
    /// Mean time between tokens.
    Itl,
}

/// What keeps a deployment from growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The budget of accelerators.
    Budget,
    /// The bound on prefill workers.
    PrefillReplicas,
    /// The bound on decode workers.
    DecodeReplicas,
}

/// What binds: what is missed first, and what keeps it from being met.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Binding {
    /// The objective that most rounds miss that miss any; where a plan meets its objectives, on fewer accelerators.
    pub objective: Objective,
    /// What keeps the plan from growing; `None` where more would bring nothing that is asked for.
    pub limit: Option<Limit>,
}

/// A deployment that was simulated, with what is to be expected of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alternative {
    /// The deployment.
    pub deployment: Deployment,
    /// Its accelerators.
    pub gpus: u64,
    /// What is to be expected of it.
    pub predicted: Prediction,
}

/// What was done for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Searched {
    /// Deployments that were simulated.
    pub deployments: usize,
    /// Runs.
    pub runs: u32,
    /// Their rounds.
    pub rounds: u64,
    /// Why the last comparison ended.
    pub ended: Ended,
    /// Of so many equal parts of each deployment one was simulated, under its share of the load; replicas come in
    /// multiples of it.
    pub parts: u32,
    /// The effort that was allowed.
    pub effort: Effort,
    /// The seed.
    pub seed: u64,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What it is best at.
    pub goal: Goal,
    /// The workers.
    pub deployment: Deployment,
    /// Their accelerators.
    pub gpus: u64,
    /// What is to be expected of them.
    pub predicted: Prediction,
    /// Share of rounds that are to meet their objectives.
    pub target: f64,
    /// Whether they do.
    pub verdict: Verdict,
    /// What binds.
    pub binding: Binding,
    /// The runners-up, best first.
    pub alternatives: Vec<Alternative>,
    /// The answer of the paper's program, which knows nothing of local prefills; `None` where it has none.
    pub program: Option<ProgramAnswer>,
    /// Why it is this one, in sentences.
    pub why: Vec<String>,
    /// What was done.
    pub searched: Searched,
}
