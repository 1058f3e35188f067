//! Routing: whether a round's prefill runs on the session's own decode worker or on a prefill worker.

mod always_local;
mod always_remote;
mod ampd;
mod costs;
mod dynamo_conditional;
mod input;
mod llmd_prefix;
mod paper;
mod ppd;
mod session_affinity;
mod threshold;

pub use always_local::AlwaysLocal;
pub use always_remote::AlwaysRemote;
pub use ampd::Ampd;
pub use costs::Costs;
pub use dynamo_conditional::DynamoConditional;
pub use input::{DecodeLoad, Decoding, LocalPrefill, PrefillLoad, RouteInput, Slo};
pub use llmd_prefix::LlmdPrefix;
pub use paper::Paper;
pub use ppd::Ppd;
pub use session_affinity::SessionAffinity;

/// Where a prefill runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// On the bound decode worker.
    Local,
    /// On the prefill worker of this index in [`RouteInput::prefills`].
    Remote(usize),
}

/// Why a prefill runs where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A prefill worker's windowed TTFT is well under the objective.
    PrefillSlack,
    /// The bound decode worker's windowed ITL is well under the objective.
    DecodeSlack,
    /// Local was predicted to finish first.
    PredictedLocal,
    /// Remote was predicted to finish first.
    PredictedRemote,
    /// The increment is too small to be worth a transfer.
    IncrementSmall,
    /// No prefill worker is ready to take the prompt.
    NoPrefillWorker,
    /// No prefill worker's load is known; the static rule decided.
    StaleSignals,
    /// The prefill cannot run elsewhere: the prompt's own log-probabilities are asked for.
    LocalOnly,
    /// The policy is to stay local.
    PolicyAlwaysLocal,
    /// The policy is to go remote.
    PolicyAlwaysRemote,
    /// Local is expected to miss fewer objectives, of this round and of those that decode there.
    CheaperLocal,
    /// Remote is expected to miss fewer objectives.
    CheaperRemote,
    /// What is to be prefilled is below a static threshold.
    BelowThreshold,
    /// What is to be prefilled is not below a static threshold.
    AboveThreshold,
    /// The prefill side is busier than a static threshold.
    PrefillBusy,
    /// The bound decode worker is busier than a static threshold.
    DecodeBusy,
    /// The session has no history yet, and the policy sends first rounds away.
    FirstRound,
    /// The session's own prefill worker.
    Affinity,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 18] = [
        Self::PrefillSlack,
        Self::DecodeSlack,
        Self::PredictedLocal,
        Self::PredictedRemote,
        Self::IncrementSmall,
        Self::NoPrefillWorker,
        Self::StaleSignals,
        Self::LocalOnly,
        Self::PolicyAlwaysLocal,
        Self::PolicyAlwaysRemote,
        Self::CheaperLocal,
        Self::CheaperRemote,
        Self::BelowThreshold,
        Self::AboveThreshold,
        Self::PrefillBusy,
        Self::DecodeBusy,
        Self::FirstRound,
        Self::Affinity,
    ];

    /// The reason as a metric label and response header value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PrefillSlack => "prefill_slack",
            Self::DecodeSlack => "decode_slack",
            Self::PredictedLocal => "predicted_local",
            Self::PredictedRemote => "predicted_remote",
            Self::IncrementSmall => "increment_small",
            Self::NoPrefillWorker => "no_prefill_worker",
            Self::StaleSignals => "stale_signals",
            Self::LocalOnly => "local_only",
            Self::PolicyAlwaysLocal => "policy_always_local",
            Self::PolicyAlwaysRemote => "policy_always_remote",
            Self::CheaperLocal => "cheaper_local",
            Self::CheaperRemote => "cheaper_remote",
            Self::BelowThreshold => "below_threshold",
            Self::AboveThreshold => "above_threshold",
            Self::PrefillBusy => "prefill_busy",
            Self::DecodeBusy => "decode_busy",
            Self::FirstRound => "first_round",
            Self::Affinity => "affinity",
        }
    }
}

/// A decision with its reason and the predicted costs of both options.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Where the prefill runs.
    pub target: Target,
    /// Why.
    pub reason: Reason,
    /// Predicted seconds until a local prefill has finished.
    pub local_s: f64,
    /// Predicted seconds until a remote prefill has finished, on the best prefill worker that the policy considers;
    /// `None` when none is ready.
    pub remote_s: Option<f64>,
    /// That prefill worker.
    pub remote_index: Option<usize>,
}

impl Decision {
    pub(crate) fn new(target: Target, reason: Reason, costs: &Costs) -> Self {
        let (remote_index, remote_s) = costs.best_remote.unzip();
        Self { target, reason, local_s: costs.local_s, remote_s, remote_index }
    }
}

/// A routing policy. Decisions are total: any input, also one with nonsense in it, gets an answer that can be carried
/// out.
pub trait RoutingPolicy: Send + Sync {
    /// The policy's name, as configuration spells it.
    fn name(&self) -> &'static str;

    /// Decides where the round's prefill runs.
    fn decide(&self, input: &RouteInput<'_>) -> Decision;
}
