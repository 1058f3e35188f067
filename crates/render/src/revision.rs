//! What cannot change in place: workers that differ in it cannot exchange KV.

use ampd_api::service::{AMPDServiceSpec, ModelSource};

/// Digits of a revision.
const DIGITS: usize = 8;

/// The revision of a model with its parallel degrees: part of the names of the pods' Deployments, so that workers of another
/// one come up beside the present ones and never among them.
#[must_use]
pub fn revision(spec: &AMPDServiceSpec) -> String {
    // Names and bounds of the model may change in place; a new revision of it is new weights. Workers of other degrees are
    // other Deployments, and the present ones have to serve until those do.
    let ModelSource { hugging_face, persistent_volume_claim, path } = &spec.model.source;
    // With which token it is fetched says nothing of what is fetched.
    let hub = hugging_face.as_ref().map(|hub| (&hub.repo, &hub.revision, &hub.file));
    let claim = persistent_volume_claim.as_ref().map(|claim| (&claim.claim_name, &claim.path));
    let parts = (hub, claim, path, &spec.prefill.tensor_parallel, &spec.decode.tensor_parallel);
    let parts = serde_json::to_vec(&parts).unwrap_or_default();
    let mut digits = blake3::hash(&parts).to_hex().to_string();
    digits.truncate(DIGITS);
    digits
}
