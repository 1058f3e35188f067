//! What services become, as it is.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_api::{AMPDService, Service};
use ampd_render::{
    Children, Facts, Input, Role, Settings, Surge, children, labels, revision, surge, wanted_gpus,
};
use proptest::prelude::*;
use serde_json::Value;

const SMALL: &str = "
apiVersion: ampd.dev/v1alpha1
kind: AMPDService
metadata: {name: chat, namespace: team-a}
spec:
  model: {name: m, source: {path: /models/m.gguf}}
";

const WHOLE: &str = "
apiVersion: ampd.dev/v1alpha1
kind: AMPDService
metadata: {name: chat, namespace: team-a}
spec:
  model:
    name: org/model
    aliases: [model]
    source: {huggingFace: {repo: org/model, revision: v1, tokenSecret: {name: hub}}}
    cache: {claimName: models}
    maxContextTokens: 32768
  image: {reference: 'registry/worker:1', pullPolicy: Always, pullSecrets: [{name: registry}]}
  accelerator: {nodeSelector: {gpu: h100}, budget: {max: 8}}
  prefill:
    replicas: {min: 2, max: 4}
    tensorParallel: [2, 1]
    resources: {requests: {cpu: 4, memory: 16Gi}, limits: {memory: 16Gi}}
  decode:
    tensorParallel: [4]
    engine: {threads: 8, kvCache: 8Gi}
    pod:
      annotations: {team: a}
      nodeSelector: {zone: z1}
      tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
      affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: host, labelSelector: {}}]}}
      priorityClassName: high
      runtimeClassName: nvidia
      env: [{name: A, value: b}, {name: C, secretKeyRef: {name: s, key: k}}]
      volumes: [{name: shm, mountPath: /dev/shm, readOnly: false, emptyDir: {memory: true, sizeLimit: 1Gi}}]
  planner: {profile: {name: profile, key: profile.json}}
  routing: {signals: {source: prometheus, url: 'http://prometheus.monitoring:9090'}}
  security: {network: {clientNamespaces: {team: a}, metricsNamespaces: {team: monitoring}}}
";

fn rendered(text: &str, change: impl FnOnce(&mut Facts)) -> (AMPDService, Children) {
    let mut resource = ampd_api::parse(text.as_bytes()).unwrap();
    resource.metadata.uid = Some("1b4e28ba-2fa1-11d2-883f-0016d3cca427".into());
    let service = Service::resolve(&resource).unwrap();
    let mut facts = Facts::plain(&service);
    facts.surge = surge(&resource.spec, &facts).unwrap();
    change(&mut facts);
    let settings = Settings { worker_image: "ampd-worker:test".into(), ..Settings::default() };
    let input = Input { resource: &resource, service: &service, settings: &settings, facts: &facts };
    let made = children(&input);
    (resource, made)
}

#[test]
fn a_small_service() {
    insta::assert_yaml_snapshot!(rendered(SMALL, |_| {}).1.to_json());
}

#[test]
fn a_service_that_says_everything() {
    let (_, made) = rendered(WHOLE, |facts| {
        facts.pod_monitor = true;
        facts.prometheus_rule = true;
        facts.active_revision = Some("0123abcd".into());
    });
    insta::assert_yaml_snapshot!(made.to_json());
}

#[test]
fn names_fit_and_children_belong_to_the_service() {
    let longest = "a".repeat(40);
    let text = WHOLE.replace("name: chat", &format!("name: {longest}")).replace("[4]", "[64]");
    let (_, made) = rendered(&text.replace("{max: 8}", "{max: 512}"), |facts| facts.pod_monitor = true);
    for child in made.to_json() {
        let name = child["metadata"]["name"].as_str().unwrap();
        assert!(name.len() <= 63, "{name}");
        assert_eq!(child["metadata"]["ownerReferences"][0]["kind"], "AMPDService", "{name}");
        assert_eq!(child["metadata"]["labels"][labels::INSTANCE], longest.as_str(), "{name}");
    }
}

#[test]
fn pods_meet_the_restricted_standard() {
    for text in [SMALL, WHOLE] {
        for deployment in rendered(text, |_| {}).1.deployments {
            let pod = deployment.spec.unwrap().template.spec.unwrap();
            let security = pod.security_context.unwrap();
            assert_eq!(security.run_as_non_root, Some(true));
            assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
            for container in pod.init_containers.into_iter().flatten().chain(pod.containers) {
                let security = container.security_context.unwrap();
                assert_eq!(security.allow_privilege_escalation, Some(false), "{}", container.name);
                assert_eq!(security.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
                assert_eq!(security.read_only_root_filesystem, Some(true));
                assert!(container.image_pull_policy.is_some());
            }
        }
    }
}

#[test]
fn another_model_is_another_revision_and_another_bound_is_not() {
    let spec = |text: &str| ampd_api::parse(text.as_bytes()).unwrap().spec;
    let base = revision(&spec(SMALL));
    assert_eq!(base.len(), 8);
    assert_ne!(base, revision(&spec(&SMALL.replace("m.gguf", "n.gguf"))));
    assert_eq!(base, revision(&spec(&SMALL.replace("{name: m,", "{name: other, maxContextTokens: 64,"))));
    assert_ne!(revision(&spec(WHOLE)), revision(&spec(&WHOLE.replace("revision: v1", "revision: v2"))));
}

#[test]
fn nothing_of_a_manifest_becomes_a_variable() {
    let text = SMALL.replace("/models/m.gguf", "/models/$(POD_IP).gguf");
    let (_, made) = rendered(&text, |_| {});
    let all = serde_json::to_string(&made.deployments).unwrap();
    assert!(all.contains("/models/$$(POD_IP).gguf") && !all.contains("/models/$(POD_IP)"));
}

fn pods(value: &Value) -> i64 {
    value["spec"]["replicas"].as_i64().unwrap()
}

proptest! {
    /// However a roll goes, the most pods that it may have at once fit into the budget.
    #[test]
    fn a_roll_stays_within_the_budget(
        prefill in 0..5_i32, decode in 1..5_i32, p in 1..4_u32, d in 1..4_u32, budget in 1..40_i32,
    ) {
        let resource = ampd_api::parse(
            SMALL.replace("spec:", &format!("spec:\n  accelerator: {{budget: {{max: {budget}}}}}")).as_bytes(),
        ).unwrap();
        let replicas = [((Role::Prefill, p), prefill), ((Role::Decode, d), decode)].into();
        let facts = Facts { replicas, ..Facts::default() };
        let wanted = wanted_gpus(&facts.replicas);
        match surge(&resource.spec, &facts) {
            Err(exceeded) => prop_assert!(exceeded.wanted == wanted && wanted > i64::from(budget)),
            Ok(surge) => {
                let more = |role, degree: u32, count| {
                    if count > 0 && surge[&role] == Surge::OneMore { i64::from(degree) } else { 0 }
                };
                let most = wanted + more(Role::Prefill, p, prefill) + more(Role::Decode, d, decode);
                prop_assert!(most <= i64::from(budget));
            }
        }
    }
}

#[test]
fn a_budget_gates_pods_and_no_budget_does_not() {
    let gates = |text: &str| {
        let (_, made) = rendered(text, |_| {});
        made.to_json()
            .iter()
            .filter(|child| child["kind"] == "Deployment")
            .map(|child| (pods(child), child["spec"]["template"]["spec"]["schedulingGates"].is_array()))
            .collect::<Vec<_>>()
    };
    assert!(gates(SMALL).iter().all(|(_, gated)| !gated));
    assert_eq!(gates(WHOLE), [(1, true), (2, true)]);
}

#[test]
fn the_examples_are_services() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, made) = rendered(&text, |_| {});
        assert!(made.deployments.len() == 2 && made.services.len() == 3, "{}", path.display());
        examples += 1;
    }
    assert!(examples >= 3, "{examples} examples");
}
