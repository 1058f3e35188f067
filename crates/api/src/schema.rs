//! Schemas of texts with a form: what the API server checks before anything reads them.

use std::ops::RangeInclusive;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Durations as Go and Kubernetes write them.
pub const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";

/// Memory as Kubernetes writes it, whole bytes only.
pub const MEMORY: &str = "^[1-9][0-9]*(k|M|G|T|Ki|Mi|Gi|Ti)?$";

/// A decimal from 0 to 10.
pub const SHARE: &str = r"^([0-9](\.[0-9]{1,6})?|10(\.0{1,6})?)$";

/// A Kubernetes quantity of a resource.
pub const QUANTITY: &str = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$";

/// A key of labels and annotations.
pub const KEY: &str = "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$";

/// What a map is told whose keys are not of that form.
pub const KEYS: &str = "must have keys as app or example.com/app";

/// The name of a resource of a container.
pub const RESOURCE: &str = "^(cpu|memory|ephemeral-storage|hugepages-[A-Za-z0-9]+|[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)$";

/// What a map of resources is told that has others.
pub const RESOURCE_NAMES: &str = "must have cpu, memory, ephemeral-storage, hugepages or devices as example.com/device; GPUs are asked for by spec.accelerator";

/// Folders of the operator's own in the worker's container.
pub const OWN_FOLDERS: &str = "^/+(tmp|models|etc/ampd|var/run/secrets)(/.*)?$";

/// Paths with a part that names another folder than it seems to.
pub const DOTS: &str = "(^|/)[.][.]?(/|$)";

/// What such a path is told.
pub const NO_DOTS: &str = "must not have . or .. as parts";

/// Headers of requests that have a meaning of their own, so that none of them can name a session.
pub const TAKEN_HEADERS: [&str; 8] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "transfer-encoding",
    "user-agent",
];

/// What a list with one of them is told.
pub const HEADER_TAKEN: &str =
    "must not have a header with a meaning of its own, such as authorization or host";

/// The rule that no header of a list is one of those.
pub fn no_taken_header() -> Value {
    let taken = TAKEN_HEADERS.map(|header| format!("'{header}'")).join(", ");
    rule(&format!("self.all(header, !(header in [{taken}]))"), HEADER_TAKEN, "")
}

fn keys_rule() -> Value {
    rule(&format!("self.all(key, key.matches('{KEY}'))"), KEYS, "")
}

/// What a pattern asks for, in words and with an example.
#[must_use]
pub fn form_of(pattern: &str) -> Option<&'static str> {
    match pattern {
        DURATION => Some("a duration as \"2s\", \"100ms\" or \"1m30s\""),
        MEMORY => Some("an amount of memory as \"512Mi\" or \"2Gi\""),
        SHARE => Some("a decimal from 0 to 10 as \"0.8\""),
        QUANTITY => Some("a quantity as \"500m\" or \"2Gi\""),
        _ => None,
    }
}

/// A rule in the Common Expression Language that the API server enforces. `path` names the field at fault below the one
/// that has the rule; empty for that one itself.
#[must_use]
pub fn rule(rule: &str, message: &str, path: &str) -> Value {
    let mut value = json!({"rule": rule, "message": message});
    if !path.is_empty() {
        value["fieldPath"] = path.into();
    }
    value
}

/// The bounds of a duration, as it is written.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// At least.
    pub min: &'static str,
    /// At most.
    pub max: &'static str,
}

impl Bounds {
    fn schema(self) -> Schema {
        let Self { min, max } = self;
        let bounded = format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')");
        json_schema!({
            "type": "string",
            "maxLength": 24,
            "pattern": DURATION,
            "x-kubernetes-validations": [rule(&bounded, &self.message(), "")],
        })
    }

    /// What is wrong with a duration out of bounds.
    #[must_use]
    pub fn message(self) -> String {
        format!("must be from {} to {}", self.min, self.max)
    }
}

/// Of the TTFT objective.
pub const TTFT: Bounds = Bounds { min: "1ms", max: "1h" };
/// Of the ITL objective.
pub const ITL: Bounds = Bounds { min: "1ms", max: "1m" };
/// Of the window of statistics.
pub const WINDOW: Bounds = Bounds { min: "1s", max: "10m" };
/// Of the time that an idle session is kept.
pub const TTL: Bounds = Bounds { min: "1s", max: "168h" };
/// Of the time that a worker may take to stop.
pub const TIMEOUT: Bounds = Bounds { min: "1s", max: "1h" };

/// Of the time between two plans.
pub const INTERVAL: Bounds = Bounds { min: "10s", max: "1h" };
/// Of the time that a smaller plan must hold.
pub const STABILISATION: Bounds = Bounds { min: "1s", max: "24h" };
/// Of the time between two rounds of a session.
pub const GAP: Bounds = Bounds { min: "1ms", max: "24h" };

/// See [`TTFT`].
pub fn ttft(_: &mut SchemaGenerator) -> Schema {
    TTFT.schema()
}

/// See [`ITL`].
pub fn itl(_: &mut SchemaGenerator) -> Schema {
    ITL.schema()
}

/// See [`WINDOW`].
pub fn window(_: &mut SchemaGenerator) -> Schema {
    WINDOW.schema()
}

/// See [`TTL`].
pub fn ttl(_: &mut SchemaGenerator) -> Schema {
    TTL.schema()
}

/// See [`TIMEOUT`].
pub fn timeout(_: &mut SchemaGenerator) -> Schema {
    TIMEOUT.schema()
}

/// See [`INTERVAL`].
pub fn interval(_: &mut SchemaGenerator) -> Schema {
    INTERVAL.schema()
}

/// See [`STABILISATION`].
pub fn stabilisation(_: &mut SchemaGenerator) -> Schema {
    STABILISATION.schema()
}

/// See [`GAP`].
pub fn gap(_: &mut SchemaGenerator) -> Schema {
    GAP.schema()
}

/// The bounds of a memory, bytes: 1Mi and 64Ti.
pub const MEMORY_BYTES: RangeInclusive<u64> = 1 << 20..=64 << 40;

/// `"512Mi"`.
pub fn memory(_: &mut SchemaGenerator) -> Schema {
    let bounded =
        "quantity(self).compareTo(quantity('1Mi')) >= 0 && quantity(self).compareTo(quantity('64Ti')) <= 0";
    json_schema!({
        "type": "string",
        "maxLength": 20,
        "pattern": MEMORY,
        "nullable": true,
        "x-kubernetes-validations": [rule(bounded, "must be from 1Mi to 64Ti", "")],
    })
}

/// `"0.8"`.
pub fn share(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 9, "pattern": SHARE})
}

/// Quantities by resource.
pub fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"x-kubernetes-int-or-string": true, "maxLength": 24, "pattern": QUANTITY},
        "x-kubernetes-validations": [rule(&format!("self.all(key, key.matches('{RESOURCE}') && !key.endsWith('/gpu'))"), RESOURCE_NAMES, "")],
    })
}

/// Labels with their values.
pub fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": "^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"},
        "x-kubernetes-validations": [keys_rule()],
    })
}

/// Annotations with their values.
pub fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 16_384},
        "x-kubernetes-validations": [keys_rule()],
    })
}

/// An object of Kubernetes whose fields the API server checks where it is used.
pub fn open(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Conditions as Kubernetes writes them, one of a type.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    let items = generator.subschema_for::<Condition>();
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": items,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
