//! Why a pod does not become ready, in the words of whoever stopped it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

use crate::condition::Reason;

use super::observed::{is_gated, is_over, is_ready};

/// What keeps a pod from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The reason in conditions.
    pub reason: Reason,
    /// What happened, with the pod's name.
    pub message: String,
}

const fn word(word: &'static str) -> Reason {
    Reason::new(word)
}

/// The pod waits until the budget has room for it.
pub(crate) const WAITING: Reason = word("WaitingForBudget");
/// No node takes the pod.
const UNSCHEDULABLE: Reason = word("Unschedulable");
/// The image cannot be had.
const IMAGE: Reason = word("ImagePullFailed");
/// Something that the container needs is not there.
const CONFIGURATION: Reason = word("ConfigurationMissing");
/// The model cannot be fetched.
const FETCH: Reason = word("ModelFetchFailed");
/// A container used more memory than it may.
const MEMORY: Reason = word("OutOfMemory");
/// A container ends again and again.
const FAILS: Reason = word("ContainerFails");

/// Longest part of a program's last words.
const WORDS: usize = 600;

/// What keeps `pod` from being ready; `None` if it is, or simply starts.
#[must_use]
pub fn trouble(pod: &Pod) -> Option<Trouble> {
    if is_ready(pod) || is_over(pod) || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let name = pod.name_any();
    let told = |reason, words: &str| Some(Trouble { reason, message: format!("pod {name}: {words}") });
    if is_gated(pod) {
        return told(WAITING, "waits until the budget of accelerators has room for it");
    }
    let status = pod.status.as_ref()?;
    let scheduled = status.conditions.iter().flatten().find(|found| found.type_ == "PodScheduled");
    if let Some(condition) = scheduled
        && condition.status == "False"
    {
        return told(UNSCHEDULABLE, condition.message.as_deref().unwrap_or("no node takes it"));
    }
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.filter_map(|container| container_trouble(&name, container)).min_by_key(|trouble| rank(trouble.reason))
}

/// The cause rather than its consequences.
fn rank(reason: Reason) -> usize {
    [IMAGE, CONFIGURATION, FETCH, MEMORY, FAILS]
        .iter()
        .position(|known| *known == reason)
        .unwrap_or(usize::MAX)
}

fn container_trouble(pod: &str, container: &ContainerStatus) -> Option<Trouble> {
    let (name, state) = (&container.name, container.state.as_ref()?);
    let told = |reason, words: String| {
        Some(Trouble { reason, message: format!("pod {pod}, container {name}: {words}") })
    };
    let waiting = state.waiting.as_ref();
    let why = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_else(|| why.to_owned());
    match why {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull"
        | "ImageInspectError" => {
            return told(IMAGE, message);
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            return told(CONFIGURATION, message);
        }
        _ => {}
    }
    let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let ended = state.terminated.as_ref().or(last).filter(|ended| ended.exit_code != 0)?;
    if state.running.is_some() && container.restart_count < 2 {
        // It may have been started again for a reason that is over.
        return None;
    }
    let words = ended.message.as_deref().map(last_words).unwrap_or_default();
    let end = format!("ended with {} after {} restarts", ended.exit_code, container.restart_count);
    let text = if words.is_empty() { end } else { format!("{end}; it said: {words}") };
    if ended.reason.as_deref() == Some("OOMKilled") {
        return told(MEMORY, format!("was killed for its memory; {text}"));
    }
    told(if name == "fetch-model" { FETCH } else { FAILS }, text)
}

/// The last line of a log; of a line in JSON what it says.
fn last_words(log: &str) -> String {
    let Some(line) = log.lines().map(str::trim).rfind(|line| !line.is_empty()) else { return String::new() };
    let said = serde_json::from_str::<serde_json::Value>(line).ok().and_then(|line| {
        let places = [Some(&line), line.get("fields")];
        let part = |key: &str| {
            places.into_iter().flatten().find_map(|place| place.get(key)?.as_str()).map(str::to_owned)
        };
        match (part("message"), part("error")) {
            (Some(message), Some(error)) => Some(format!("{message}: {error}")),
            (message, error) => message.or(error),
        }
    });
    let mut said = said.unwrap_or_else(|| line.to_owned());
    if let Some((end, _)) = said.char_indices().nth(WORDS) {
        said.truncate(end);
        said.push('…');
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: &Value) -> Option<Trouble> {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": []}, "status": status});
        trouble(&serde_json::from_value(pod).unwrap())
    }

    fn container(state: &Value, last: &Value, restarts: i32) -> Value {
        json!({"containerStatuses": [{
            "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": restarts, "state": state, "lastState": last,
        }]})
    }

    #[test]
    fn the_schedulers_words_are_told() {
        let words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.";
        let found = of(
            &json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}]}),
        );
        assert_eq!(found, Some(Trouble { reason: UNSCHEDULABLE, message: format!("pod p: {words}") }));
    }

    #[test]
    fn a_programs_last_words_are_told() {
        let log = "{\"level\":\"INFO\",\"message\":\"loading\"}\n{\"fields\":{\"error\":\"cannot load the model: no such file\"},\"level\":\"ERROR\",\"message\":\"the worker ends\"}\n";
        let last = json!({"terminated": {"exitCode": 78, "reason": "Error", "message": log}});
        let found = of(&container(&json!({"waiting": {"reason": "CrashLoopBackOff"}}), &last, 3)).unwrap();
        assert_eq!(found.reason.as_str(), "ContainerFails");
        assert!(
            found.message.ends_with("it said: the worker ends: cannot load the model: no such file"),
            "{}",
            found.message
        );
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        assert_eq!(
            of(&container(&json!({"waiting": {"reason": "CrashLoopBackOff"}}), &killed, 1))
                .unwrap()
                .reason
                .as_str(),
            "OutOfMemory"
        );
    }

    #[test]
    fn images_and_starting_pods() {
        let waiting =
            json!({"waiting": {"reason": "ErrImageNeverPull", "message": "Container image is not present"}});
        assert_eq!(of(&container(&waiting, &json!({}), 0)).unwrap().reason.as_str(), "ImagePullFailed");
        assert_eq!(of(&container(&json!({"waiting": {"reason": "PodInitializing"}}), &json!({}), 0)), None);
        assert_eq!(of(&container(&json!({"running": {}}), &json!({}), 0)), None);
    }
}
