//! The rules that the API server evaluates against those of this crate: they must find the same fields at fault.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;

use kube_cel::{compile_schema, validate_compiled};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

fn root_schema() -> Value {
    let definition = serde_json::to_value(ampd_api::crd()).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn by_the_api_server(object: &Value) -> BTreeSet<String> {
    let errors = validate_compiled(&compile_schema(&root_schema()), object, None);
    let errors = errors.err().map(kube_cel::ValidationErrors::into_vec).unwrap_or_default();
    errors
        .into_iter()
        .map(|error| {
            let broken = matches!(error.kind, kube_cel::ErrorKind::ValidationFailure);
            assert!(broken, "the rule {} cannot be evaluated: {error}", error.rule);
            error.field_path
        })
        .collect()
}

fn by_this_crate(object: &Value) -> BTreeSet<String> {
    match ampd_api::parse(object.to_string().as_bytes()) {
        Ok(_) => BTreeSet::new(),
        Err(errors) => errors.0.into_iter().map(|error| error.field).collect(),
    }
}

/// Rules of a schema and of all below it.
fn rules(schema: &Value) -> usize {
    let here = schema["x-kubernetes-validations"].as_array().map_or(0, Vec::len);
    let below = schema["properties"].as_object().into_iter().flat_map(Map::values).map(rules);
    here + below.sum::<usize>()
}

/// The same of a compiled schema, all of whose rules compile.
fn compiled(schema: &kube_cel::CompiledSchema) -> usize {
    assert!(!schema.has_errors(), "{:?}", schema.compilation_errors());
    schema.validations.len() + schema.properties.values().map(compiled).sum::<usize>()
}

#[test]
fn every_rule_compiles() {
    let schema = root_schema();
    let count = rules(&schema);
    assert!(count >= 15, "only {count} rules");
    assert_eq!(compiled(&compile_schema(&schema)), count);
}

#[test]
fn names_that_cannot_name_pods_are_refused_by_both() {
    for (name, fits) in [
        ("a".repeat(40), true),
        ("a-1".to_owned(), true),
        ("a".repeat(41), false),
        ("a.b".to_owned(), false),
        ("1a".to_owned(), false),
    ] {
        let object = json!({
            "apiVersion": "ampd.dev/v1alpha1", "kind": "AMPDService", "metadata": {"name": name},
            "spec": {"model": {"name": "m", "source": {"path": "/m"}}},
        });
        assert_eq!(by_the_api_server(&object).is_empty(), fits, "{name}");
        assert_eq!(by_this_crate(&object).is_empty(), fits, "{name}");
    }
}

/// A field with one of these values, or without any.
fn field(values: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    prop::option::of(select(values))
}

fn duration() -> impl Strategy<Value = Option<Value>> {
    let texts = [
        "0s", "0.5ms", "0.9999s", "1ms", "1s", "60s", "1m", "1m1s", "0.5h", "10m", "601s", "1h", "61m",
        "168h", "169h",
    ];
    field(texts.map(Value::from).to_vec())
}

fn integers(values: &[i32]) -> impl Strategy<Value = Option<Value>> + use<> {
    field(values.iter().copied().map(Value::from).collect())
}

fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    let present = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect())
}

fn role() -> impl Strategy<Value = Value> {
    let memory = ["1", "1048575", "1048576", "1Mi", "1023Ki", "64Ti", "65Ti", "1G"].map(Value::from).to_vec();
    let degrees = field(vec![json!([1]), json!([2]), json!([4, 1])]);
    let pods = field(vec![
        json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}),
        json!({"env": [{"name": "A", "value": "b"}, {"name": "AMPD_X", "value": "b"}, {"name": "C"}]}),
        json!({"env": [{"name": "POD_IP", "value": "b"}], "annotations": {"a b": "x"}}),
        json!({"nodeSelector": {"example.com/a": "x"}, "annotations": {"a": "x", "a/b/c": "y"}}),
        json!({"volumes": [{"name": "v", "mountPath": "/tmp", "emptyDir": {}}, {"name": "w", "mountPath": "/etc/ampd/x", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "mountPath": "/v", "emptyDir": {}}, {"name": "w", "mountPath": "/v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "mountPath": "/a/../tmp", "emptyDir": {}}, {"name": "w", "mountPath": "/a..b/.c", "emptyDir": {}}]}),
        json!({"tolerations": [{"operator": "Exists"}, {}, {"key": "k", "operator": "Exists", "value": "v"}]}),
        json!({"volumes": [{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/w", "emptyDir": {"sizeLimit": "65Ti"}}]}),
    ]);
    let resources = field(vec![
        json!({"requests": {"cpu": 4, "memory": "8Gi"}, "limits": {"memory": "8192Mi"}}),
        json!({"requests": {"cpu": "4500m"}, "limits": {"cpu": 4, "memory": "1Mi"}}),
        json!({"limits": {"memory": 1_048_577}}),
        json!({"requests": {"memory": "1G", "foo": 1}}),
        json!({"limits": {"nvidia.com/gpu": 1, "rdma/hca": 1}}),
    ]);
    (
        integers(&[0, 1, 2]),
        integers(&[0, 1, 2]),
        integers(&[100, 512]),
        integers(&[100, 256, 600]),
        field(memory),
        degrees,
        pods,
        resources,
    )
        .prop_map(|(min, max, budget, chunk, cache, degrees, pod, resources)| {
            let replicas = object(vec![("min", min), ("max", max)]);
            let engine = object(vec![("tokenBudget", budget), ("prefillChunk", chunk), ("kvCache", cache)]);
            object(vec![
                ("replicas", Some(replicas)),
                ("engine", Some(engine)),
                ("tensorParallel", degrees),
                ("pod", pod),
                ("resources", resources),
            ])
        })
}

fn accelerator() -> impl Strategy<Value = Option<Value>> {
    field(vec![json!({}), json!({"budget": {"max": 1}}), json!({"budget": {"min": 3, "max": 2}})])
}

fn source() -> impl Strategy<Value = Value> {
    let repo = field(vec![json!({"repo": "a/b"})]);
    let claim = field(["p", "a/../b", "a/..b"].map(|path| json!({"claimName": "c", "path": path})).to_vec());
    (repo, claim, field(vec![json!("/m")])).prop_map(|(repo, claim, path)| {
        object(vec![("huggingFace", repo), ("persistentVolumeClaim", claim), ("path", path)])
    })
}

fn routing() -> impl Strategy<Value = Value> {
    let policy = field(["ampd", "paper", "always_local", "always_remote"].map(Value::from).to_vec());
    let signals = field(vec![
        json!({}),
        json!({"source": "prometheus"}),
        json!({"source": "prometheus", "url": "http://p:9090"}),
        json!({"source": "direct", "url": "http://p"}),
    ]);
    (policy, signals, duration()).prop_map(|(policy, signals, window)| {
        object(vec![("policy", policy), ("signals", signals), ("window", window)])
    })
}

fn security() -> impl Strategy<Value = Option<Value>> {
    field(vec![
        json!({"api": {"auth": "Anonymous", "secretName": "s"}}),
        json!({"api": {"secretName": "s"}}),
        json!({"api": {"auth": "Anonymous"}}),
        json!({"network": {"clientNamespaces": {"x y": "z"}, "metricsNamespaces": {"team": "a"}}}),
    ])
}

fn manifest() -> impl Strategy<Value = Value> {
    let times = (duration(), duration(), duration(), duration(), duration(), duration(), duration());
    let headers = field([json!(["x-a"]), json!(["x-a", "host"]), json!(["cookie"])].to_vec());
    (source(), role(), role(), accelerator(), routing(), security(), times, headers).prop_map(
        |(source, prefill, decode, accelerator, routing, security, times, headers)| {
            let (ttft, itl, ttl, timeout, interval, stable, gap) = times;
            let spec = object(vec![
                ("model", Some(json!({"name": "m", "source": source}))),
                ("prefill", Some(prefill)),
                ("decode", Some(decode)),
                ("accelerator", accelerator),
                ("routing", Some(routing)),
                ("slo", Some(object(vec![("ttft", ttft), ("itl", itl)]))),
                ("sessions", Some(object(vec![("ttl", ttl), ("headers", headers)]))),
                ("drain", Some(object(vec![("timeout", timeout)]))),
                ("security", security),
                ("planner", Some(object(vec![("interval", interval), ("stabilisation", stable)]))),
                ("workload", Some(object(vec![("gap", gap)]))),
            ]);
            let metadata = json!({"name": "chat"});
            json!({"apiVersion": "ampd.dev/v1alpha1", "kind": "AMPDService", "metadata": metadata, "spec": spec})
        },
    )
}

proptest! {
    #[test]
    fn both_find_the_same_fields_at_fault(object in manifest()) {
        prop_assert_eq!(by_the_api_server(&object), by_this_crate(&object));
    }
}
