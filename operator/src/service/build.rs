//! Third step: everything that there is to be. Pure, and nothing in it can fail.

use std::collections::{BTreeMap, BTreeSet};

use ampd_api::AMPDService;
use ampd_render::{Input, Role, Settings, children, labels, wanted_gpus};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;

use super::dereference::Observed;
use super::drain::{Drain, Held, drain};
use super::gates;
use super::kinds::Kind;
use super::observed::degree_of;
use super::subset::{holds, without_additions};
use super::validate::Validated;

/// The annotation with the digest of what was applied: by it a field that is no longer wanted is noticed.
pub(crate) const APPLIED: &str = "ampd.dev/applied";

/// What is to be written.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Objects to apply, those that are as wanted left out.
    pub apply: Vec<(Kind, String, Value)>,
    /// Merge patches that take out what others added to children.
    pub shorten: Vec<(Kind, String, Value)>,
    /// Deployments of the present revision that are to have so many more replicas while the newest one comes up.
    pub grow: Vec<(String, i32)>,
    /// Objects to remove: nothing wants them any more.
    pub remove: Vec<(Kind, String)>,
    /// Pods that the budget has room for.
    pub open: Vec<String>,
    /// Decode pods that are to go.
    pub drain: Drain,
}

/// Decides what is to be written, from what is wanted and what is there.
#[must_use]
pub fn build(
    resource: &AMPDService,
    validated: &Validated,
    observed: &Observed,
    settings: &Settings,
    held: &BTreeMap<String, Held>,
    now: Timestamp,
) -> Plan {
    let Validated { service, facts, newest, .. } = validated;
    let mut drain = drain(observed, newest, &facts.replicas, held, service.drain_timeout, now);
    if let Some(active) = facts.active_revision.as_deref().filter(|active| active != newest) {
        // A revision that is to be replaced serves with all that it has until then.
        drain.unmark.extend(observed.marked(active));
    }
    let mut facts = facts.clone();
    for (degree, count) in &drain.replicas {
        facts.replicas.insert((Role::Decode, *degree), *count);
    }
    let input = Input { resource, service, settings, facts: &facts };
    let mut wanted = BTreeSet::new();
    let (mut apply, mut shorten) = (Vec::new(), Vec::new());
    for object in children(&input).to_json() {
        let Some((kind, name)) = identify(&object) else { continue };
        let object = with_digest(object);
        wanted.insert((kind, name.clone()));
        let present = observed.children.get(&(kind, name.clone()));
        if present.is_none_or(|present| !is_as_applied(&object, present)) {
            let added = present.and_then(|present| without_additions(&object, present));
            shorten.extend(added.map(|change| (kind, name.clone(), change)));
            apply.push((kind, name, object));
        }
    }
    let active = facts.active_revision.as_deref().unwrap_or(newest);
    let remove = observed
        .children
        .iter()
        .filter(|(key, _)| !wanted.contains(key))
        // The present revision serves until the newest one can.
        .filter(|(_, object)| active == newest || revision_of(object) != Some(active))
        // Pods that end still serve who comes to them, and find each other through their Services.
        .filter(|((kind, _), object)| {
            *kind == Kind::Deployment || !revision_of(object).is_some_and(|of| observed.has_pods(of))
        })
        .map(|((kind, name), _)| (*kind, name.clone()))
        .collect();
    let budget = resource.spec.accelerator.as_ref().and_then(|accelerator| accelerator.budget.as_ref());
    let open = budget.map(|budget| gates::open(&observed.pods, i64::from(budget.max))).unwrap_or_default();
    let grow = grow(observed, active, newest, &facts.replicas, budget.map(|budget| i64::from(budget.max)));
    Plan { apply, shorten, grow, remove, open, drain }
}

/// The Deployments of the present revision that are to have more replicas, and how many: whoever asks for more workers has load
/// now, and the newest revision may take long to come up. It is not made smaller: that comes with its end. Nothing is added
/// where the budget would then have no room for both revisions.
fn grow(
    observed: &Observed,
    active: &str,
    newest: &str,
    wanted: &BTreeMap<(Role, u32), i32>,
    budget: Option<i64>,
) -> Vec<(String, i32)> {
    if active == newest {
        return Vec::new();
    }
    let mut room = budget.map(|most| most - wanted_gpus(wanted) - observed.gpus_meant_for(active));
    let mut grown = Vec::new();
    for role in Role::ALL {
        let count: i32 = wanted.iter().filter(|((of, _), _)| *of == role).map(|(_, count)| count).sum();
        let mut of_role = observed.deployments_of(active, role);
        // With several parallel degrees nothing says which of them is to grow.
        let (Some(deployment), None) = (of_role.next(), of_role.next()) else { continue };
        let present = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let needs = i64::from(count - present) * i64::from(degree_of(deployment));
        if count > present && room.is_none_or(|room| needs <= room) {
            room = room.map(|room| room - needs);
            grown.push((deployment.name_any(), count));
        }
    }
    grown
}

fn identify(object: &Value) -> Option<(Kind, String)> {
    let kind = Kind::from_name(object["kind"].as_str()?)?;
    Some((kind, object["metadata"]["name"].as_str()?.to_owned()))
}

fn revision_of(object: &Value) -> Option<&str> {
    object["metadata"]["labels"][labels::REVISION].as_str()
}

fn with_digest(mut object: Value) -> Value {
    let digest = digest(&object);
    object["metadata"]["annotations"][APPLIED] = digest.into();
    object
}

/// A short digest, the same in all builds of the operator.
fn digest(object: &Value) -> String {
    let mut digits = blake3::hash(object.to_string().as_bytes()).to_hex().to_string();
    digits.truncate(16);
    digits
}

/// Whether an object says all that it should, and nothing more that the operator once said.
fn is_as_applied(wanted: &Value, present: &Value) -> bool {
    // The digest is among the annotations of both. Lists leave kind and version out.
    holds(&wanted["metadata"], &present["metadata"])
        && wanted
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| !matches!(key.as_str(), "metadata" | "kind" | "apiVersion"))
            .all(|(key, value)| holds(value, &present[key.as_str()]))
}
