//! Conditions of a status: set so that the time of a transition is that of the last change of the status, and so that a
//! status that says nothing new is equal to the one before.

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::text;

/// Longest message, bytes.
pub const MAX_MESSAGE: usize = 32_768;

/// Longest reason, bytes.
const MAX_REASON: usize = 1024;

/// What a condition is about. Conditions stand in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The service answers requests.
    Ready,
    /// As many prefill workers as wanted are ready.
    PrefillReady,
    /// As many decode workers as wanted are ready.
    DecodeReady,
    /// The planner has a plan that meets the objectives.
    Planned,
    /// Measured rounds meet the objectives.
    SloMet,
    /// Decode workers wait for their sessions' end.
    Draining,
}

impl ConditionType {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::PrefillReady, Self::DecodeReady, Self::Planned, Self::SloMet, Self::Draining];

    /// Its name in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::PrefillReady => "PrefillReady",
            Self::DecodeReady => "DecodeReady",
            Self::Planned => "Planned",
            Self::SloMet => "SLOMet",
            Self::Draining => "Draining",
        }
    }
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can say.
    Unknown,
}

impl Holds {
    /// As the status writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Why a condition is as it is, or why something was reported: one word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(&'static str);

impl Reason {
    /// A reason; as a constant, what the API would refuse does not compile.
    ///
    /// # Panics
    /// Unless it is a letter followed by letters, digits and underscores.
    #[must_use]
    pub const fn new(word: &'static str) -> Self {
        let bytes = word.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= MAX_REASON, "a reason has a length");
        assert!(bytes[0].is_ascii_alphabetic(), "a reason begins with a letter");
        let mut index = 1;
        while index < bytes.len() {
            assert!(bytes[index].is_ascii_alphanumeric() || bytes[index] == b'_', "a reason is one word");
            index += 1;
        }
        Self(word)
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// What a condition is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCondition {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it holds.
    pub holds: Holds,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
    /// The `metadata.generation` that this was found for.
    pub observed_generation: Option<i64>,
}

/// Makes `conditions` say so at `now`; returns whether they say anything else than before. Conditions of types that others
/// own stay, behind ours.
pub fn set(conditions: &mut Vec<Condition>, new: NewCondition, now: Timestamp) -> bool {
    let mut new = Condition {
        type_: new.kind.as_str().into(),
        status: new.holds.as_str().into(),
        reason: new.reason.as_str().into(),
        message: text::within(new.message, MAX_MESSAGE),
        observed_generation: new.observed_generation,
        // The API keeps whole seconds.
        last_transition_time: Time(now.round(Unit::Second).unwrap_or(now)),
    };
    let changed = if let Some(old) = conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
        let changed = *old != new;
        *old = new;
        changed
    } else {
        conditions.push(new);
        true
    };
    let sorted = conditions.is_sorted_by(|a, b| place(a) <= place(b));
    if !sorted {
        conditions.sort_by(|a, b| place(a).cmp(&place(b)));
    }
    changed || !sorted
}

/// The condition of a type, if it is there.
#[must_use]
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// Where a condition stands: ours first, in their order.
fn place(condition: &Condition) -> (usize, &str) {
    let ours = ConditionType::ALL.iter().position(|kind| kind.as_str() == condition.type_);
    (ours.unwrap_or(ConditionType::ALL.len()), &condition.type_)
}

/// Whether two lists say the same, whenever it became so: then nothing need be written.
#[must_use]
pub fn same(a: &[Condition], b: &[Condition]) -> bool {
    let said = |condition: &Condition| {
        let Condition { type_, status, reason, message, observed_generation, last_transition_time: _ } =
            condition.clone();
        (type_, status, reason, message, observed_generation)
    };
    a.iter().map(said).eq(b.iter().map(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Reason = Reason::new("AllReady");
    const WAITING: Reason = Reason::new("Waiting");

    fn new(kind: ConditionType, holds: Holds, reason: Reason, generation: i64) -> NewCondition {
        let message = format!("{} of {generation}", reason.as_str());
        NewCondition { kind, holds, reason, message, observed_generation: Some(generation) }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_moves_with_the_status_alone() {
        let mut conditions = Vec::new();
        let ready = |holds, reason, generation| new(ConditionType::Ready, holds, reason, generation);
        assert!(set(&mut conditions, ready(Holds::False, WAITING, 1), at(10)));
        assert!(!set(&mut conditions, ready(Holds::False, WAITING, 1), at(20)));
        assert_eq!(conditions[0].last_transition_time.0, at(10));
        let before = conditions.clone();
        assert!(set(&mut conditions, ready(Holds::False, READY, 2), at(30)), "the reason is new");
        assert_eq!(conditions[0].last_transition_time.0, at(10));
        assert_eq!((conditions[0].reason.as_str(), conditions[0].observed_generation), ("AllReady", Some(2)));
        assert!(!same(&before, &conditions));
        let before = conditions.clone();
        assert!(set(&mut conditions, ready(Holds::True, READY, 2), at(40)));
        assert_eq!(conditions[0].last_transition_time.0, at(40));
        assert!(!same(&before, &conditions));
        let mut later = conditions.clone();
        later[0].last_transition_time = Time(at(50));
        assert!(same(&later, &conditions));
    }

    #[test]
    fn conditions_stand_in_order_and_those_of_others_stay() {
        let foreign = Condition {
            type_: "Backup".into(),
            status: "True".into(),
            reason: "Done".into(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(at(1)),
        };
        let mut conditions = vec![foreign.clone()];
        for kind in ConditionType::ALL.into_iter().rev() {
            assert!(set(&mut conditions, new(kind, Holds::Unknown, WAITING, 1), at(2)));
        }
        let names: Vec<&str> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
        let expected = ["Ready", "PrefillReady", "DecodeReady", "Planned", "SLOMet", "Draining", "Backup"];
        assert_eq!(names, expected);
        assert_eq!(conditions[6], foreign);
        conditions.swap(0, 6);
        assert!(set(&mut conditions, new(ConditionType::Ready, Holds::Unknown, WAITING, 1), at(3)));
        assert_eq!(conditions[0].type_, "Ready");
    }

    #[test]
    fn messages_are_cut_and_times_are_whole_seconds() {
        let mut conditions = Vec::new();
        let long = || NewCondition {
            message: "ä".repeat(MAX_MESSAGE),
            ..new(ConditionType::Ready, Holds::True, READY, 1)
        };
        let now = Timestamp::from_nanosecond(1_500_000_001).unwrap();
        assert!(set(&mut conditions, long(), now));
        assert!(conditions[0].message.len() <= MAX_MESSAGE && conditions[0].message.ends_with("ä..."));
        assert_eq!(conditions[0].last_transition_time.0, at(2));
        assert!(!set(&mut conditions, long(), now), "what was cut is compared as it was cut");
    }

    #[test]
    fn reasons_are_words() {
        for bad in ["", "1st", "two words", "dash-ed"] {
            assert!(std::panic::catch_unwind(|| Reason::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(Reason::new("Gpus_8").as_str(), "Gpus_8");
    }
}
