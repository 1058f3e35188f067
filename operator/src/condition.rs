//! The conditions of a status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The service does what it is asked to: what `kubectl wait` waits for.
pub const READY: &str = "Ready";
/// All prefill workers are ready.
pub const PREFILL_READY: &str = "PrefillReady";
/// All decode workers are ready.
pub const DECODE_READY: &str = "DecodeReady";
/// The workers are as a plan says.
pub const PLANNED: &str = "Planned";
/// Rounds meet their objectives.
pub const SLO_MET: &str = "SLOMet";
/// Decode pods are on their way out.
pub const DRAINING: &str = "Draining";

/// The order in which they are told.
const ORDER: [&str; 6] = [READY, DECODE_READY, PREFILL_READY, PLANNED, SLO_MET, DRAINING];

/// Longest message that the API takes, bytes.
const MESSAGE: usize = 32_768;

/// Puts a condition into its place and says whether anything changed. The time of its last change moves only with its status.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition, now: Timestamp) -> bool {
    truncate(&mut new.message);
    let place = conditions.iter().position(|found| found.type_ == new.type_);
    match place.and_then(|place| conditions.get_mut(place)) {
        Some(found) => {
            new.last_transition_time =
                if found.status == new.status { found.last_transition_time.clone() } else { Time(now) };
            let changed = *found != new;
            *found = new;
            changed
        }
        None => {
            new.last_transition_time = Time(now);
            conditions.push(new);
            conditions.sort_by_key(|found| {
                ORDER.iter().position(|kind| *kind == found.type_).unwrap_or(ORDER.len())
            });
            true
        }
    }
}

fn truncate(message: &mut String) {
    if message.len() > MESSAGE {
        let end = (0..=MESSAGE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: &str, message: &str) -> Condition {
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: "Because".into(),
            message: message.into(),
            observed_generation: Some(1),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn times_move_with_the_status_only() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut all = Vec::new();
        assert!(set(&mut all, condition(DRAINING, "False", "a"), at(1)));
        assert!(set(&mut all, condition(READY, "False", "a"), at(1)));
        assert_eq!(all.iter().map(|found| found.type_.as_str()).collect::<Vec<_>>(), [READY, DRAINING]);
        assert!(!set(&mut all, condition(READY, "False", "a"), at(2)));
        assert!(set(&mut all, condition(READY, "False", "b"), at(3)));
        assert_eq!(all[0].last_transition_time, Time(at(1)));
        assert!(set(&mut all, condition(READY, "True", "b"), at(4)));
        assert_eq!(all[0].last_transition_time, Time(at(4)));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut all = Vec::new();
        set(&mut all, condition(READY, "False", &"ä".repeat(20_000)), Timestamp::UNIX_EPOCH);
        assert_eq!(all[0].message.len(), MESSAGE);
    }
}
