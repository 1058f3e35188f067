//! What a check of a service finds.

use crate::condition::{ConditionType, Holds, NewCondition, Reason};

/// A condition's state with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) holds: Holds,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Verdict {
    pub(crate) fn new(holds: Holds, reason: Reason, message: impl Into<String>) -> Self {
        Self { holds, reason, message: message.into() }
    }

    /// The condition of type `kind` for the object's `generation`.
    pub(crate) fn into_condition(self, kind: ConditionType, generation: Option<i64>) -> NewCondition {
        let Self { holds, reason, message } = self;
        NewCondition { kind, holds, reason, message, observed_generation: generation }
    }
}
