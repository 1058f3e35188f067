//! The definition that makes the resource known to a cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_core::CustomResourceExt as _;

use crate::{AMPDPrefillScale, AMPDService};

/// The `CustomResourceDefinition`.
///
/// No field is nullable in it: the API server then drops nulls, and no rule and no reader ever sees one.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    without_nulls(AMPDService::crd())
}

/// All definitions: those of the service and of the scale of its prefill workers.
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 2] {
    [crd(), without_nulls(AMPDPrefillScale::crd())]
}

fn without_nulls(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            drop_nulls(schema);
        }
    }
    definition
}

fn drop_nulls(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(drop_nulls);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        drop_nulls(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        drop_nulls(values);
    }
}
