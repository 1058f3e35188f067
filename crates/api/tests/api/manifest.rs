//! Manifests: what they mean, and what is told about wrong ones.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    reason = "a failed unwrap fails the test"
)]

use std::time::Duration;

use ampd_api::resolved::ModelSource;
use ampd_api::service::{OnRemoteFailure, Policy, SignalSource};
use ampd_api::{FieldErrors, Service, parse};
use proptest::prelude::*;

const SMALL: &str = "apiVersion: ampd.dev/v1alpha1
kind: AMPDService
metadata: {name: chat}
spec:
  model:
    name: m
    source: {path: /models/m.gguf}
";

/// The small manifest with more lines in its spec, which begin at line 8.
fn with(spec: &str) -> String {
    let lines: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("{SMALL}{lines}")
}

fn told(text: &str) -> Vec<String> {
    match Service::parse(text.as_bytes()) {
        Ok(service) => panic!("{service:?}"),
        Err(FieldErrors(errors)) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_small_manifest_has_the_defaults() {
    let service = Service::parse(SMALL.as_bytes()).unwrap();
    assert_eq!((service.name.as_str(), service.namespace.as_str()), ("chat", "default"));
    assert_eq!(service.model.source, ModelSource::Path("/models/m.gguf".into()));
    assert_eq!((service.slo.ttft, service.slo.itl), (Duration::from_secs(2), Duration::from_millis(100)));
    assert_eq!(service.slo.target, 0.9);
    for role in [&service.prefill, &service.decode] {
        assert_eq!((role.min_replicas, role.max_replicas), (1, 1));
        assert_eq!((role.token_budget, role.prefill_chunk), (512, 256));
        assert_eq!((role.threads, role.kv_cache), (None, None));
        assert_eq!(role.tensor_parallel, [1]);
    }
    assert_eq!(service.routing.policy, Policy::Ampd);
    assert_eq!((service.routing.alpha, service.routing.beta), (0.8, 0.8));
    assert_eq!(service.routing.window, Duration::from_secs(10));
    assert_eq!((service.routing.lookahead, service.routing.postponement_cap), (3, 3));
    assert_eq!(service.routing.on_remote_failure, OnRemoteFailure::Local);
    assert_eq!(service.routing.signals, SignalSource::Direct);
    assert_eq!(service.session_headers, ["x-session-id", "x-dynamo-session-id"]);
    assert_eq!(service.session_ttl, Duration::from_mins(30));
    assert_eq!(service.drain_timeout, Duration::from_secs(30));
}

#[test]
fn the_shipped_manifest_is_right() {
    let text = include_bytes!("../../../../manifests/smollm2.yaml");
    let service = Service::parse(text).unwrap();
    assert_eq!((service.prefill.min_replicas, service.decode.min_replicas), (2, 2));
    assert_eq!(service.decode.kv_cache, Some(256 << 20));
    assert!(matches!(&service.model.source, ModelSource::HuggingFace { revision, file: Some(file), .. }
            if revision.len() == 40 && file == "SmolLM2-135M-Instruct.Q4_1.gguf"));
}

#[test]
fn every_field_is_read() {
    let spec = "
slo: {ttft: 1.5s, itl: 80ms, targetPercent: 95}
accelerator: {nodeSelector: {a.b/c: d}, budget: {min: 2, max: 8}}
prefill:
  replicas: {min: 0, max: 4}
  tensorParallel: [4, 2]
  engine: {tokenBudget: 2048, prefillChunk: 1024, threads: 3, kvCache: 2Gi}
  resources: {requests: {cpu: 4, memory: 8Gi}, limits: {memory: \"16Gi\"}}
routing:
  policy: always_local
  alpha: \"0.95\"
  beta: \"1\"
  window: 30s
  lookahead: 5
  postponementCap: 0
  minRemoteTokens: 0
  onRemoteFailure: fail
  signals: {source: prometheus, url: \"http://prometheus.monitoring:9090/base\"}
sessions: {headers: [x-my-session], ttl: 1h}
drain: {timeout: 2m}
";
    let service = Service::parse(with(spec).as_bytes()).unwrap();
    assert_eq!(service.slo.ttft, Duration::from_millis(1500));
    let prefill = &service.prefill;
    assert_eq!((prefill.min_replicas, prefill.max_replicas), (0, 4));
    assert_eq!(prefill.tensor_parallel, [2, 4]);
    assert_eq!((prefill.threads, prefill.kv_cache), (Some(3), Some(2 << 30)));
    let routing = &service.routing;
    assert_eq!((routing.policy, routing.alpha, routing.beta), (Policy::AlwaysLocal, 0.95, 1.0));
    assert_eq!((routing.postponement_cap, routing.min_remote_tokens), (0, 0));
    assert_eq!(routing.on_remote_failure, OnRemoteFailure::Fail);
    assert_eq!(routing.prometheus_url.as_deref(), Some("http://prometheus.monitoring:9090/base"));
    assert_eq!(service.session_headers, ["x-my-session"]);
    assert_eq!(service.drain_timeout, Duration::from_mins(2));
}

#[test]
fn what_is_wrong_is_told_with_field_and_line() {
    for (spec, expected) in [
        ("slo: {tfft: 1s}", "line 8: spec.slo.tfft: is not a field here; did you mean ttft?"),
        ("tuning: {}", "line 8: spec.tuning: is not a field here"),
        (
            "slo:\n  ttft: 5",
            "line 9: spec.slo.ttft: must be a string, not an integer; write it in quotes: \"5\"",
        ),
        (
            "routing: {alpha: 0.5}",
            "line 8: spec.routing.alpha: must be a string, not a number; write it in quotes: \"0.5\"",
        ),
        (
            "routing: {alpha: \"11\"}",
            "line 8: spec.routing.alpha: is \"11\", must be a decimal from 0 to 10 as \"0.8\"",
        ),
        (
            "slo: {ttft: fast}",
            "line 8: spec.slo.ttft: is \"fast\", must be a duration as \"2s\", \"100ms\" or \"1m30s\"",
        ),
        ("slo: {ttft: 0s}", "line 8: spec.slo.ttft: is \"0s\", must be from 1ms to 1h"),
        ("slo: {itl: 2m}", "line 8: spec.slo.itl: is \"2m\", must be from 1ms to 1m"),
        ("slo: {targetPercent: 101}", "line 8: spec.slo.targetPercent: is 101, must be from 1 to 100"),
        ("slo: [1]", "line 8: spec.slo: must be a map, not a list"),
        (
            "decode: {replicas: {min: 0}}",
            "line 8: spec.decode.replicas.min: must be at least 1: every session needs a decode worker",
        ),
        (
            "decode:\n  replicas:\n    max: 3\n    min: 5",
            "line 10: spec.decode.replicas.max: is 3, must not be below min, 5",
        ),
        (
            "prefill: {replicas: {min: -1}}",
            "line 8: spec.prefill.replicas.min: is -1, must be from 0 to 1024",
        ),
        (
            "prefill: {replicas: {min: 1.5}}",
            "line 8: spec.prefill.replicas.min: must be an integer, not a number",
        ),
        (
            "prefill: {replicas: {min: 99999999999999999999}}",
            "line 8: spec.prefill.replicas.min: must be an integer, not a number",
        ),
        (
            "decode: {engine: {tokenBudget: 100}}",
            "line 8: spec.decode.engine.prefillChunk: is 256, must not be above tokenBudget, 100",
        ),
        (
            "decode: {engine: {kvCache: 256MB}}",
            "line 8: spec.decode.engine.kvCache: is \"256MB\", must be an amount of memory as \"512Mi\" or \"2Gi\"",
        ),
        (
            "decode: {engine: {kvCache: 1k}}",
            "line 8: spec.decode.engine.kvCache: is \"1k\", must be from 1Mi to 64Ti",
        ),
        ("decode: {tensorParallel: [2, 2]}", "line 8: spec.decode.tensorParallel[1]: is there twice"),
        ("sessions: {headers: []}", "line 8: spec.sessions.headers: must have at least 1 items"),
        ("decode: {tensorParallel: []}", "line 8: spec.decode.tensorParallel: must have at least 1 items"),
        (
            "decode: {tensorParallel: [1, x]}",
            "line 8: spec.decode.tensorParallel[1]: must be an integer, not a string",
        ),
        (
            "routing: {policy: best}",
            "line 8: spec.routing.policy: is \"best\", must be one of ampd, paper, always_local, always_remote, dynamo_conditional, llmd_prefix, ppd, session_affinity",
        ),
        (
            "routing: {signals: {source: prometheus}}",
            "line 8: spec.routing.signals.url: is required where source is prometheus",
        ),
        (
            "routing: {policy: always_remote}\nprefill: {replicas: {min: 0}}",
            "line 9: spec.prefill.replicas.min: must be at least 1 where routing.policy is always_remote",
        ),
        (
            "accelerator: {budget: {min: 3, max: 2}}",
            "line 8: spec.accelerator.budget.max: is 2, must not be below min, 3",
        ),
        ("accelerator: {budget: {min: 3}}", "line 8: spec.accelerator.budget.max: is required"),
        (
            "prefill: {resources: {limits: {cpu: lots}}}",
            "line 8: spec.prefill.resources.limits.cpu: is \"lots\", must be a quantity as \"500m\" or \"2Gi\"",
        ),
        (
            "sessions: {headers: [X_Id]}",
            "line 8: spec.sessions.headers[0]: is \"X_Id\", must match ^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        ),
        (
            "sessions: {ttl: \"\"}",
            "line 8: spec.sessions.ttl: is \"\", must be a duration as \"2s\", \"100ms\" or \"1m30s\"",
        ),
    ] {
        assert_eq!(told(&with(spec)), [expected], "{spec}");
    }
}

#[test]
fn what_is_wrong_with_pods_and_around_them_is_told() {
    for (spec, expected) in [
        ("planner: {interval: 1s}", "line 8: spec.planner.interval: is \"1s\", must be from 10s to 1h"),
        ("workload: {gap: 0s}", "line 8: spec.workload.gap: is \"0s\", must be from 1ms to 24h"),
        (
            "security: {api: {auth: Anonymous, secretName: keys}}",
            "line 8: spec.security.api.secretName: must be absent where auth is Anonymous",
        ),
        (
            "decode: {pod: {env: [{name: A, value: b}, {name: A, value: c}]}}",
            "line 8: spec.decode.pod.env[1]: is there twice",
        ),
        (
            "decode: {pod: {env: [{name: AMPD_ROLE, value: b}]}}",
            "line 8: spec.decode.pod.env[0].name: must not be POD_NAME or POD_IP, nor begin with AMPD_: those are the operator's",
        ),
        (
            "decode: {pod: {env: [{name: A}]}}",
            "line 8: spec.decode.pod.env[0]: must have exactly one of value, secretKeyRef and configMapKeyRef",
        ),
        (
            "decode: {pod: {volumes: [{name: v, mountPath: /v}]}}",
            "line 8: spec.decode.pod.volumes[0]: must have exactly one of secret, configMap, persistentVolumeClaim and emptyDir",
        ),
        (
            "decode: {pod: {volumes: [{name: v, mountPath: /a/../tmp, emptyDir: {}}]}}",
            "line 8: spec.decode.pod.volumes[0].mountPath: must not have . or .. as parts",
        ),
        (
            "decode: {pod: {affinity: {podAffinity: {}, nodeAffinity: {requiredDuringScheduling: {}}}}}",
            "line 8: spec.decode.pod.affinity.nodeAffinity.requiredDuringScheduling: is no field of Kubernetes",
        ),
        (
            "decode: {pod: {affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: a, topology: b}}]}}}}",
            "line 8: spec.decode.pod.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topology: is no field of Kubernetes",
        ),
        (
            "decode: {pod: {affinity: {nodeAffinity: 1}}}",
            "line 8: spec.decode.pod.affinity: is not of Kubernetes' form: invalid type: integer `1`, expected NodeAffinity",
        ),
        (
            "sessions: {headers: [x-id, authorization]}",
            "line 8: spec.sessions.headers: must not have a header with a meaning of its own, such as authorization or host",
        ),
        (
            "decode: {pod: {tolerations: [{operator: Exists, value: x}]}}",
            "line 8: spec.decode.pod.tolerations[0]: needs a key where operator is Equal, and no value where it is Exists",
        ),
    ] {
        assert_eq!(told(&with(spec)), [expected], "{spec}");
    }
}

#[test]
fn rules_say_nothing_of_what_could_not_be_read() {
    // Each breaks a rule by the default of the part that is wrong.
    for (spec, expected) in [
        ("prefill: {engine: {tokenBudget: x, prefillChunk: 600}}", "prefill.engine.tokenBudget"),
        ("prefill: {replicas: {min: x, max: 0}}", "prefill.replicas.min"),
        ("routing: {policy: always_remote}\nprefill: {replicas: {min: -1}}", "prefill.replicas.min"),
        ("routing: {signals: {source: prometheus, url: \"https://p\"}}", "routing.signals.url"),
        ("accelerator: {budget: {max: x}}\nprefill: {tensorParallel: [2]}", "accelerator.budget.max"),
        ("accelerator: 8\nprefill: {tensorParallel: [2]}", "accelerator"),
        ("prefill: {tensorParallel: [x, 2]}", "prefill.tensorParallel[0]"),
    ] {
        let FieldErrors(errors) = parse(with(spec).as_bytes()).unwrap_err();
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, [format!("spec.{expected}")], "{spec}");
    }
    // What is readable beside it is still held to the rules.
    let spec = "prefill: {engine: {threads: x, tokenBudget: 100}}";
    assert_eq!(told(&with(spec)).len(), 2);
}

#[test]
fn what_surrounds_the_spec_is_checked() {
    for (from, to, expected) in [
        ("v1alpha1", "v1", "line 1: apiVersion: is \"ampd.dev/v1\", must be one of ampd.dev/v1alpha1"),
        ("kind: AMPDService", "kind: Pod", "line 2: kind: is \"Pod\", must be one of AMPDService"),
        ("{name: chat}", "{}", "line 3: metadata.name: is required"),
        (
            "{name: chat}",
            "{name: Chat}",
            "line 3: metadata.name: is \"Chat\", must match ^[a-z]([a-z0-9-]*[a-z0-9])?$",
        ),
        (
            "{name: chat}",
            "{name: 7b-chat}",
            "line 3: metadata.name: is \"7b-chat\", must match ^[a-z]([a-z0-9-]*[a-z0-9])?$",
        ),
        (
            "{name: chat}",
            "{name: chat, label: {}}",
            "line 3: metadata.label: is not a field here; did you mean labels?",
        ),
        ("    source: {path: /models/m.gguf}\n", "", "line 6: spec.model.source: is required"),
        (
            "{path: /models/m.gguf}",
            "{}",
            "line 7: spec.model.source: must have exactly one of huggingFace, persistentVolumeClaim and path",
        ),
        (
            "{path: /models/m.gguf}",
            "{path: a, huggingFace: {repo: a/b}}",
            "line 7: spec.model.source: must have exactly one of huggingFace, persistentVolumeClaim and path",
        ),
        (
            "{path: /models/m.gguf}",
            "{path: 5}",
            "line 7: spec.model.source.path: must be a string, not an integer; write it in quotes: \"5\"",
        ),
        (
            "{path: /models/m.gguf}",
            "{huggingFace: {repo: a/b/c}}",
            "line 7: spec.model.source.huggingFace.repo: is \"a/b/c\", must match ^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$",
        ),
        ("name: m", "name: \"\"", "line 6: spec.model.name: must not be empty"),
    ] {
        let text = SMALL.replace(from, to);
        assert_ne!(text, SMALL);
        assert_eq!(told(&text), [expected], "{text}");
    }
}

#[test]
fn everything_is_told_at_once_in_the_order_of_lines() {
    let spec = "
slo: {ttft: 5, itl: 0s}
decode:
  replicas: {min: 0}
  engine: {threads: 0}
rooting: {}
";
    let told = told(&with(spec));
    let fields: Vec<&str> = told.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(
        fields,
        [
            "spec.slo.ttft",
            "spec.slo.itl",
            "spec.decode.replicas.min",
            "spec.decode.engine.threads",
            "spec.rooting"
        ]
    );
}

#[test]
fn a_manifest_from_a_cluster_is_accepted() {
    let text = SMALL.replace(
        "{name: chat}",
        "{name: chat, namespace: team, uid: 6f1, resourceVersion: \"7\", generation: 2, managedFields: [{a: b}], \
         labels: {a: b}, annotations: {c: \"d\"}}\nstatus: {conditions: []}",
    );
    assert_eq!(Service::parse(text.as_bytes()).unwrap().namespace, "team");
}

#[test]
fn null_is_as_absent() {
    let text = with("slo:\nrouting: {alpha: ~, signals: null}");
    assert_eq!(Service::parse(text.as_bytes()), Service::parse(SMALL.as_bytes()));
}

#[test]
fn json_is_accepted() {
    let json = serde_json::to_vec(&parse(SMALL.as_bytes()).unwrap()).unwrap();
    assert_eq!(Service::parse(&json), Service::parse(SMALL.as_bytes()));
}

#[test]
fn text_that_cannot_be_read_says_where() {
    for (text, line) in [
        ("a: b\n  c: d\n", "line 2: "),
        ("a: [1, 2\n", "line "),
        ("a: 1\na: 2\n", "line 2: "),
        ("a: *nowhere\n", "line 1: "),
        ("", ""),
        ("just text", "line 1: "),
    ] {
        let told = told(text);
        assert!(told[0].starts_with(line), "{text:?}: {told:?}");
        assert!(!told[0].trim_start_matches(line).is_empty());
    }
    let two = format!("{SMALL}---\n{SMALL}");
    assert!(parse(two.as_bytes()).is_err(), "one of two would be dropped without a word");
    let large = format!("# {}\n{SMALL}", "x".repeat(ampd_api::MAX_BYTES));
    assert!(told(&large)[0].contains("bytes"));
}

#[test]
fn errors_are_bounded() {
    let fields: String = (0..5000).map(|n| format!("x{n}: 1\n")).collect();
    assert!(told(&with(&fields)).len() <= 100);
    // What stands in the status is not checked, so that only the reader's own bounds refuse these.
    let status = |status: &str| told(&format!("{SMALL}status: {status}\n"));
    assert!(parse(format!("{SMALL}status: [[[]]]\n").as_bytes()).is_ok());
    let deep = status(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
    assert!(deep[0].contains("recursion limit"), "{deep:?}");
    let bomb = status(
        "{a: &a [x,x,x,x,x,x,x,x,x], b: &b [*a,*a,*a,*a,*a,*a,*a,*a], c: &c [*b,*b,*b,*b,*b,*b,*b,*b],\n  \
         d: &d [*c,*c,*c,*c,*c,*c,*c,*c], e: &e [*d,*d,*d,*d,*d,*d,*d,*d], f: &f [*e,*e,*e,*e,*e,*e,*e,*e],\n  \
         g: [*f,*f,*f,*f,*f,*f,*f,*f]}",
    );
    assert!(bomb[0].contains("budget"), "{bomb:?}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9:{}\\[\\]\"'\n .,&*!|>-]{0,120}") {
        let _ = parse(text.as_bytes());
        let _ = parse(with(&text).as_bytes());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = parse(&bytes);
    }
}
