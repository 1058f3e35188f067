//! Which model, and where from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// The name that clients ask for.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._/:-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// Other names that it answers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._/:-]*[A-Za-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub aliases: Vec<String>,
    /// Where it comes from: exactly one place.
    pub source: ModelSource,
    /// A bound of the context, tokens. The model's own where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 10_485_760))]
    pub max_context_tokens: Option<i32>,
    /// Where pods keep a model that they fetch. `ampd local` has a cache of its own.
    #[serde(default)]
    pub cache: ModelCache,
}

/// Where pods keep a model that they fetch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelCache {
    /// A claim that all pods can write, so that the model is fetched once. Each pod fetches for itself where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub claim_name: Option<String>,
    /// Most bytes of a pod's own copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub size_limit: Option<String>,
}

/// Where the model comes from: exactly one of the fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("(has(self.huggingFace) ? 1 : 0) + (has(self.persistentVolumeClaim) ? 1 : 0) + (has(self.path) ? 1 : 0) == 1", "must have exactly one of huggingFace, persistentVolumeClaim and path", "")]))]
pub struct ModelSource {
    /// A repository at Hugging Face.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugging_face: Option<HuggingFace>,
    /// A file or folder on a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaim>,
    /// A file or folder in the workers' image, or on this machine under `ampd local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
}

/// A repository at Hugging Face.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HuggingFace {
    /// Its id, `organisation/name`.
    #[schemars(
        length(max = 200),
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
    )]
    pub repo: String,
    /// A branch, a tag or, so that it never changes, a commit.
    #[serde(default = "main_branch")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"))]
    pub revision: String,
    /// One GGUF file of the repository. The repository's safetensors where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/-]*\.gguf$"))]
    pub file: Option<String>,
    /// The Secret with a token for repositories that ask for one. `ampd local` takes `HF_TOKEN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret: Option<TokenSecret>,
}

/// A Secret with a token of Hugging Face.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSecret {
    /// The Secret, in the namespace of the service.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// Its key.
    #[serde(default = "token")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub key: String,
}

fn token() -> String {
    "token".into()
}

fn main_branch() -> String {
    "main".into()
}

/// A file or folder on a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("!self.path.matches('(^|/)[.][.](/|$)')", "must stay within the volume", ".path")]))]
pub struct PersistentVolumeClaim {
    /// The claim, in the namespace of the service.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub claim_name: String,
    /// The path within the volume.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
}
