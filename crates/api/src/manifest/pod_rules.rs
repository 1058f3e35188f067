//! Rules of what is added to pods.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Affinity;
use serde_json::Value;

use super::rules::{Violation, fits, is_memory};
use crate::schema;
use crate::service::{EnvironmentVariable, PodOptions, Toleration, TolerationOperator, Volume};

/// Every rule that the additions to the pods of `role` break.
pub fn violations(role: &str, pod: &PodOptions) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut wrong = |field: String, what: &str| {
        let field = format!("spec.{role}.pod.{field}");
        found.push(Violation { reads: vec![field.clone()], field, what: what.to_owned() });
    };
    if let Some(affinity) = pod.affinity.clone().map(Value::from) {
        match serde_json::from_value::<Affinity>(affinity.clone()).map(serde_json::to_value) {
            Ok(read) => {
                if let Some(place) = unknown(&affinity, &read.unwrap_or_default()) {
                    wrong(format!("affinity{place}"), "is no field of Kubernetes");
                }
            }
            Err(error) => wrong("affinity".into(), &format!("is not of Kubernetes' form: {error}")),
        }
    }
    for (index, toleration) in pod.tolerations.iter().enumerate() {
        if !toleration_fits(toleration) {
            let what = "needs a key where operator is Equal, and no value where it is Exists";
            wrong(format!("tolerations[{index}]"), what);
        }
    }
    for (index, variable) in pod.env.iter().enumerate() {
        let EnvironmentVariable { name, value, secret_key_ref, config_map_key_ref } = variable;
        if [value.is_some(), secret_key_ref.is_some(), config_map_key_ref.is_some()]
            .map(u8::from)
            .iter()
            .sum::<u8>()
            != 1
        {
            let what = "must have exactly one of value, secretKeyRef and configMapKeyRef";
            wrong(format!("env[{index}]"), what);
        }
        if name.starts_with("AMPD_") || name == "POD_NAME" || name == "POD_IP" {
            let what = "must not be POD_NAME or POD_IP, nor begin with AMPD_: those are the operator's";
            wrong(format!("env[{index}].name"), what);
        }
    }
    for (index, volume) in pod.volumes.iter().enumerate() {
        let Volume { secret, config_map, persistent_volume_claim, empty_dir, .. } = volume;
        let kinds =
            [secret.is_some(), config_map.is_some(), persistent_volume_claim.is_some(), empty_dir.is_some()];
        if kinds.map(u8::from).iter().sum::<u8>() != 1 {
            let what = "must have exactly one of secret, configMap, persistentVolumeClaim and emptyDir";
            wrong(format!("volumes[{index}]"), what);
        }
        if fits(schema::OWN_FOLDERS, &volume.mount_path) {
            let what =
                "must not be in a folder of the operator's own: /tmp, /models, /etc/ampd, /var/run/secrets";
            wrong(format!("volumes[{index}].mountPath"), what);
        }
        if fits(schema::DOTS, &volume.mount_path) {
            wrong(format!("volumes[{index}].mountPath"), schema::NO_DOTS);
        }
        if let Some(limit) = empty_dir.as_ref().and_then(|folder| folder.size_limit.as_ref())
            && !is_memory(limit)
        {
            wrong(format!("volumes[{index}].emptyDir.sizeLimit"), "must be from 1Mi to 64Ti");
        }
    }
    let paths: BTreeSet<&String> = pod.volumes.iter().map(|volume| &volume.mount_path).collect();
    if paths.len() < pod.volumes.len() {
        wrong("volumes".into(), "must have different mountPaths");
    }
    found
}

/// The first field of `written` that is not in what was `read` of it, as `.nodeAffinity.typo`.
fn unknown(written: &Value, read: &Value) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written.iter().find_map(|(key, value)| {
            let deeper = match read.get(key) {
                Some(read) => unknown(value, read)?,
                // What is null was not read, and means nothing.
                None if value.is_null() => return None,
                None => String::new(),
            };
            Some(format!(".{key}{deeper}"))
        }),
        (Value::Array(written), Value::Array(read)) => {
            let mut pairs = written.iter().zip(read).enumerate();
            pairs.find_map(|(index, (written, read))| Some(format!("[{index}]{}", unknown(written, read)?)))
        }
        _ => None,
    }
}

fn toleration_fits(toleration: &Toleration) -> bool {
    match toleration.operator {
        TolerationOperator::Equal => toleration.key.is_some(),
        TolerationOperator::Exists => toleration.value.is_none(),
    }
}
