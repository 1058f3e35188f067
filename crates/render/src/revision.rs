//! What cannot change in place: workers that differ in it cannot exchange KV.

use ampd_api::service::Model;

/// Digits of a revision.
const DIGITS: usize = 8;

/// The revision of a model: part of the names of the pods' Deployments, so that another model's workers come up beside the
/// present ones and never among them.
#[must_use]
pub fn revision(model: &Model) -> String {
    // Names and bounds of the model may change in place; a new revision of it is new weights.
    let source = serde_json::to_vec(&model.source).unwrap_or_default();
    let mut digits = blake3::hash(&source).to_hex().to_string();
    digits.truncate(DIGITS);
    digits
}
