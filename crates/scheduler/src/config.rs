//! A policy's configuration.

use crate::routing::{
    AlwaysLocal, AlwaysRemote, Ampd, DynamoConditional, LlmdPrefix, Paper, Ppd, RoutingPolicy,
    SessionAffinity,
};

/// The policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PolicyKind {
    /// AMPD's rule.
    Paper,
    /// Every prefill local.
    AlwaysLocal,
    /// Every prefill remote.
    AlwaysRemote,
    /// Dynamo's conditional disaggregation, as shipped.
    DynamoConditional,
    /// llm-d's prefix-based decider.
    LlmdPrefix,
    /// PPD's rule.
    Ppd,
    /// One prefill worker a session.
    SessionAffinity,
    /// Ours.
    #[default]
    Ampd,
}

impl PolicyKind {
    /// Every policy.
    pub const ALL: [Self; 8] = [
        Self::Ampd,
        Self::Paper,
        Self::AlwaysLocal,
        Self::AlwaysRemote,
        Self::DynamoConditional,
        Self::LlmdPrefix,
        Self::Ppd,
        Self::SessionAffinity,
    ];

    /// The policy as configuration spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::AlwaysLocal => "always_local",
            Self::AlwaysRemote => "always_remote",
            Self::DynamoConditional => "dynamo_conditional",
            Self::LlmdPrefix => "llmd_prefix",
            Self::Ppd => "ppd",
            Self::SessionAffinity => "session_affinity",
            Self::Ampd => "ampd",
        }
    }
}

impl std::fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No policy has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("routing.policy: there is no policy {name:?}")]
pub struct UnknownPolicy {
    /// The name.
    pub name: String,
}

impl std::str::FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == name);
        found.ok_or_else(|| UnknownPolicy { name: name.to_owned() })
    }
}

/// Routing parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyConfig {
    /// Which policy.
    pub policy: PolicyKind,
    /// See [`Paper::alpha`].
    pub alpha: f64,
    /// See [`Paper::beta`].
    pub beta: f64,
    /// See [`Paper::min_remote_tokens`].
    pub min_remote_tokens: u32,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        let paper = Paper::default();
        Self {
            policy: PolicyKind::default(),
            alpha: paper.alpha,
            beta: paper.beta,
            min_remote_tokens: paper.min_remote_tokens,
        }
    }
}

/// A parameter out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("routing.{field} is {value}, it must be a number from 0 to 10")]
pub struct ConfigError {
    /// The parameter.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
}

impl PolicyConfig {
    /// Makes the policy.
    ///
    /// # Errors
    /// When a parameter is out of its range.
    pub fn build(&self) -> Result<Box<dyn RoutingPolicy>, ConfigError> {
        for (field, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            if !(0.0..=10.0).contains(&value) {
                return Err(ConfigError { field, value });
            }
        }
        let Self { policy, alpha, beta, min_remote_tokens } = *self;
        Ok(match policy {
            PolicyKind::Paper => Box::new(Paper { alpha, beta, min_remote_tokens }),
            PolicyKind::AlwaysLocal => Box::new(AlwaysLocal),
            PolicyKind::AlwaysRemote => Box::new(AlwaysRemote),
            PolicyKind::DynamoConditional => Box::new(DynamoConditional::default()),
            PolicyKind::LlmdPrefix => Box::new(LlmdPrefix::default()),
            PolicyKind::Ppd => Box::new(Ppd::default()),
            PolicyKind::SessionAffinity => Box::new(SessionAffinity),
            PolicyKind::Ampd => Box::new(Ampd::default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_builds_its_policy() {
        for policy in PolicyKind::ALL {
            let name = PolicyConfig { policy, ..PolicyConfig::default() }.build().unwrap().name();
            assert_eq!((policy.as_str(), name.parse()), (name, Ok(policy)));
        }
        let error = "best".parse::<PolicyKind>().unwrap_err();
        assert_eq!(error.to_string(), "routing.policy: there is no policy \"best\"");
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for (config, field) in [
            (PolicyConfig { alpha: -0.1, ..PolicyConfig::default() }, "routing.alpha"),
            (PolicyConfig { beta: f64::NAN, ..PolicyConfig::default() }, "routing.beta"),
        ] {
            let error = config.build().err().unwrap().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
