//! Objects from text.

use anyhow::Context;
use kube::api::{DynamicObject, Patch, PatchParams, TypeMeta};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::{Api, Client};

/// By whom the fields of applied objects are managed.
const MANAGER: &str = "ampd-e2e";

/// Applies the objects of `yaml` on the server.
pub(super) async fn apply(
    client: &Client,
    namespace: &str,
    yaml: &str,
) -> anyhow::Result<Vec<DynamicObject>> {
    let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(yaml).context("no objects in YAML")?;
    let mut applied = Vec::new();
    for object in objects {
        let kind = object.types.as_ref().context("an object without a kind")?;
        let name = object.metadata.name.as_deref().context("an object without a name")?;
        let api = api(client, namespace, kind).await?;
        let parameters = PatchParams::apply(MANAGER).force().validation_strict();
        let patched = api.patch(name, &parameters, &Patch::Apply(&object)).await;
        applied.push(patched.with_context(|| format!("cannot apply {} {name}", kind.kind))?);
    }
    Ok(applied)
}

/// The objects of a kind that the server knows.
async fn api(client: &Client, namespace: &str, kind: &TypeMeta) -> anyhow::Result<Api<DynamicObject>> {
    let kind = GroupVersionKind::try_from(kind)?;
    let known = discovery::pinned_kind(client, &kind).await;
    let (resource, capabilities) = known.with_context(|| format!("no kind {kind:?}"))?;
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
    })
}
