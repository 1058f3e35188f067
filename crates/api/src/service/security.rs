//! Who may reach the service.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Who may reach the service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Security {
    /// How clients of the OpenAI API prove who they are.
    pub api: ApiSecurity,
    /// Which connections are let through, where the cluster's network enforces policies.
    pub network: NetworkSecurity,
}

/// How clients prove who they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("self.auth == 'ApiKeys' || !has(self.secretName)", "must be absent where auth is Anonymous", ".secretName")]))]
pub struct ApiSecurity {
    /// By a key, or not at all.
    pub auth: ApiAuth,
    /// A Secret of the service's namespace with the key `keys`: one `tenant:key` a line. Where it is absent, the operator
    /// makes the Secret `NAME-api-keys` with one random key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub secret_name: Option<String>,
}

impl Default for ApiSecurity {
    fn default() -> Self {
        Self { auth: ApiAuth::ApiKeys, secret_name: None }
    }
}

/// Ways to prove who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiAuth {
    /// A bearer token.
    ApiKeys,
    /// None: everybody who reaches the service may use it, and all are one tenant.
    Anonymous,
}

/// Which connections are let through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkSecurity {
    /// Whether policies are made.
    pub policies: bool,
    /// Labels of the namespaces whose pods may call the API, besides the service's own; every namespace where there are
    /// none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub client_namespaces: BTreeMap<String, String>,
    /// Labels of the namespaces whose pods may connect to the ports of metrics, such as Prometheus' own, besides the
    /// operator's; every namespace where there are none. The ports demand a certificate of the service in any case.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub metrics_namespaces: BTreeMap<String, String>,
}

impl Default for NetworkSecurity {
    fn default() -> Self {
        Self { policies: true, client_namespaces: BTreeMap::new(), metrics_namespaces: BTreeMap::new() }
    }
}
