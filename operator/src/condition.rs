//! temp
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
/// a
pub const READY: &str = "Ready";
/// a
pub const PREFILL_READY: &str = "PrefillReady";
/// a
pub const DECODE_READY: &str = "DecodeReady";
/// a
pub const PLANNED: &str = "Planned";
/// a
pub const SLO_MET: &str = "SLOMet";
/// a
pub const DRAINING: &str = "Draining";
/// a
pub fn set(conds: &mut Vec<Condition>, new: Condition, _now: jiff::Timestamp) -> bool { conds.push(new); true }
