//! The schema against the conventions of Kubernetes' API.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    reason = "a failed unwrap fails the test"
)]

use serde_json::{Value, json};

fn crd() -> Value {
    serde_json::to_value(ampd_api::crd()).unwrap()
}

fn root_schema() -> Value {
    crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` for each schema below and at the given one.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&schema[key], &format!("{path}{suffix}"), visit);
        }
    }
}

#[test]
fn the_definition_is_as_expected() {
    insta::assert_yaml_snapshot!(crd());
}

#[test]
fn the_definition_is_small() {
    let bytes = crd().to_string().len();
    assert!(bytes < 100_000, "{bytes} bytes");
}

#[test]
fn names_are_those_of_the_project() {
    let crd = crd();
    assert_eq!(crd["metadata"]["name"], "ampdservices.ampd.dev");
    assert_eq!(crd["spec"]["scope"], "Namespaced");
    assert_eq!(crd["spec"]["names"]["shortNames"], json!(["ampd"]));
    assert_eq!(crd["spec"]["versions"][0]["name"], "v1alpha1");
}

#[test]
fn every_field_is_bounded_and_described() {
    let mut seen = 0;
    walk(&root_schema()["properties"]["spec"], "spec", &mut |path, schema| {
        seen += 1;
        let has = |key: &str| schema.get(key).is_some();
        assert!(!has("nullable"), "{path} would store nulls, which no rule expects");
        let item = path.ends_with(['}', ']']);
        assert!(item || has("description"), "{path} has no description");
        if schema["x-kubernetes-int-or-string"] == true {
            assert!(has("pattern") && has("maxLength"), "{path}");
            return;
        }
        match schema["type"].as_str().unwrap_or_else(|| panic!("{path} has no type")) {
            "string" => assert!(has("enum") || has("maxLength"), "{path} has no bound"),
            "integer" => {
                assert!(has("minimum") && has("maximum"), "{path} has no bounds");
                let format = schema["format"].as_str().unwrap();
                assert!(matches!(format, "int32" | "int64"), "{path} has format {format}");
            }
            "array" => {
                assert!(has("maxItems") && has("items"), "{path} has no bound");
                assert!(has("x-kubernetes-list-type"), "{path} does not say how it is merged");
            }
            "object" if schema["x-kubernetes-preserve-unknown-fields"] == true => {
                assert_eq!(path.rsplit('.').next(), Some("affinity"), "{path} is open");
            }
            "object" => {
                assert!(
                    has("properties") != has("additionalProperties"),
                    "{path} is neither a struct nor a map"
                );
                assert!(has("properties") || has("maxProperties"), "{path} has no bound");
                assert!(!has("additionalProperties") || schema["additionalProperties"].is_object(), "{path}");
            }
            "boolean" => {}
            other => panic!("{path} has type {other}: floats differ between clients"),
        }
        for name in schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys()) {
            let camel = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric());
            assert!(camel, "{path}.{name} is not in camel case");
        }
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            assert!(rule["message"].as_str().is_some_and(|message| !message.is_empty()), "{path}: {rule}");
            if let Some(field) = rule["fieldPath"].as_str() {
                let pointer = field.replace('.', "/properties/");
                assert!(schema.pointer(&pointer).is_some(), "{path} has no {field}");
            }
        }
    });
    assert!(seen > 50, "only {seen} fields were seen");
}
