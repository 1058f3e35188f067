//! The cluster itself does what the tests on it take for granted.

use std::time::Duration;

use ampd_e2e::cluster::{WORKER_IMAGE, connect, state, wait_for, with_namespace};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;

use crate::ONE;

const LIMIT: Duration = Duration::from_mins(2);
/// What the restricted Pod Security Standard asks of every container.
const RESTRICTED: &str = "{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, \
                          capabilities: {drop: [ALL]}, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}";

/// A pod that runs `script`, asks for `gpus` and ends with the script.
fn pod(name: &str, script: &str, gpus: u32) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: {WORKER_IMAGE}
    command: [sh, -c, {script:?}]
    securityContext: {RESTRICTED}
    resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}
"
    )
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn the_node_is_ready_and_has_accelerators() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    let nodes = Api::<Node>::all(connect().await?);
    let node = wait_for(&nodes, "node-1", "is ready", LIMIT, state::node_ready).await?.unwrap();
    let status = node.status.unwrap();
    for list in [status.capacity, status.allocatable] {
        assert_eq!(list.unwrap()["nvidia.com/gpu"].0, "8");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn pods_find_services_by_name_and_reach_them() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        // The shell's own redirection is all there is in the image to open a connection with.
        let script = "getent hosts kubernetes.default.svc.cluster.local && \
                      timeout 10 bash -c 'exec 3<>/dev/tcp/kubernetes.default.svc/443'";
        namespace.apply(&pod("asks", script, 0)).await?;
        namespace.wait_for("asks", "has its answer", LIMIT, state::pod_succeeded).await?;
        let said = namespace.logs("asks", "main").await?;
        assert!(said.starts_with("10.96.0.1 "), "{said:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn accelerators_are_counted() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        namespace.apply(&pod("first", "sleep 600", 5)).await?;
        namespace.wait_for("first", "is ready", LIMIT, state::pod_ready).await?;
        namespace.apply(&pod("second", "sleep 600", 5)).await?;
        let unschedulable = |pod: Option<&Pod>| {
            let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            conditions
                .any(|one| one.message.as_deref().is_some_and(|m| m.contains("Insufficient nvidia.com/gpu")))
        };
        namespace.wait_for("second", "has no room", LIMIT, unschedulable).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn a_deployment_with_a_native_sidecar_rolls_out() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        let serve = "trap 'exit 0' TERM; touch /tmp/up; while true; do sleep 0.1; done";
        let deployment = format!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: pair}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: pair}}}}
  template:
    metadata: {{labels: {{app: pair}}}}
    spec:
      initContainers:
      - name: sidecar
        image: {WORKER_IMAGE}
        restartPolicy: Always
        command: [sh, -c, {serve:?}]
        startupProbe: {{exec: {{command: [test, -f, /tmp/up]}}, periodSeconds: 1}}
        securityContext: {RESTRICTED}
        volumeMounts: [{{name: tmp, mountPath: /tmp}}]
      containers:
      - name: main
        image: {WORKER_IMAGE}
        command: [sh, -c, {serve:?}]
        securityContext: {RESTRICTED}
        resources: {{limits: {{memory: 64Mi}}}}
        volumeMounts: [{{name: tmp, mountPath: /tmp}}]
      volumes: [{{name: tmp, emptyDir: {{}}}}]
"
        );
        namespace.apply(&deployment).await?;
        namespace.wait_for::<Deployment>("pair", "is rolled out", LIMIT, state::rolled_out).await?;
        let pods = namespace.pods("app=pair").await?;
        assert_eq!(pods.len(), 2);
        let shown =
            namespace.exec(&pods[0], "main", &["sh", "-c", "id -u; ampd-worker --version >&2"]).await?;
        assert!(shown.success, "{shown:?}");
        assert_eq!(shown.stdout, "10001\n");
        assert!(shown.stderr.starts_with("ampd-worker "), "{shown:?}");
        Ok(())
    })
    .await
}

/// What the tests rely on when they say that pods are restricted.
#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn pods_that_ask_for_more_are_refused() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        let root = pod("root", "true", 0).replace("runAsNonRoot: true", "runAsNonRoot: false");
        let error = format!("{:#}", namespace.apply(&root).await.unwrap_err());
        assert!(error.contains("violates PodSecurity \"restricted:latest\""), "{error}");
        Ok(())
    })
    .await
}
