//! The policies that are compared, each with the settings it is tuned over.

use std::sync::Arc;

use ampd_scheduler::{
    AlwaysLocal, Binding, DynamoConditional, LlmdPrefix, Overload, Paper, Ppd, RoutingPolicy, SessionAffinity,
};
use serde::Serialize;

use crate::cluster::{Pacing, Policies};

/// A policy, whatever its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Ours. Sessions that cannot be served in time are refused.
    Ampd,
    /// Ours, and every session is let in.
    AmpdOpen,
    /// Plain disaggregation.
    AlwaysRemote,
    /// Aggregated serving.
    AlwaysLocal,
    /// AMPD as published.
    Paper,
    /// Dynamo's conditional disaggregation.
    DynamoConditional,
    /// llm-d's prefix-based decider.
    LlmdPrefix,
    /// PPD.
    Ppd,
    /// Session affinity.
    SessionAffinity,
}

/// A policy with its parameters.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The policy.
    pub family: Family,
    /// All that decides. Its name is the setting's.
    pub policies: Policies,
    /// Whether it is what its authors ship or publish as an example.
    pub shipped: bool,
}

impl Family {
    /// All, in the order of tables.
    pub const ALL: [Self; 9] = [
        Self::Ampd,
        Self::AmpdOpen,
        Self::AlwaysRemote,
        Self::AlwaysLocal,
        Self::Paper,
        Self::DynamoConditional,
        Self::LlmdPrefix,
        Self::Ppd,
        Self::SessionAffinity,
    ];

    /// Its name, as results spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ampd => "ampd",
            Self::AmpdOpen => "ampd_open",
            Self::AlwaysRemote => "always_remote",
            Self::AlwaysLocal => "always_local",
            Self::Paper => "paper",
            Self::DynamoConditional => "dynamo_conditional",
            Self::LlmdPrefix => "llmd_prefix",
            Self::Ppd => "ppd",
            Self::SessionAffinity => "session_affinity",
        }
    }

    /// The policy of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// Whether it is somebody else's.
    #[must_use]
    pub fn is_rival(self) -> bool {
        !matches!(self, Self::Ampd | Self::AmpdOpen)
    }

    /// Whether it only ever runs without prefill workers.
    #[must_use]
    pub fn is_aggregated(self) -> bool {
        self == Self::AlwaysLocal
    }

    /// The settings that it is tuned over, none of them twice. Ours have one.
    #[must_use]
    pub fn settings(self) -> Vec<Setting> {
        match self {
            Self::Ampd => vec![self.setting(Policies::ampd(), false)],
            Self::AmpdOpen => {
                let policies = Policies { overload: Overload::Off, ..Policies::ampd() };
                vec![self.setting(Policies { name: self.name().into(), ..policies }, false)]
            }
            Self::AlwaysRemote => vec![self.setting(Policies::always_remote(), true)],
            Self::AlwaysLocal => {
                let of = |chunk| self.chunked("", chunk, Arc::new(AlwaysLocal), chunk == 512);
                [128, 512].map(of).into()
            }
            Self::Paper => self.papers(),
            Self::DynamoConditional => self.dynamos(),
            Self::LlmdPrefix => {
                let of = |(tokens, chunk)| {
                    let policy = LlmdPrefix { prompt_tokens: 0, non_cached_tokens: tokens };
                    self.chunked(
                        &format!("{tokens} tokens, "),
                        chunk,
                        Arc::new(policy),
                        (tokens, chunk) == (512, 512),
                    )
                };
                [(128, 512), (256, 512), (512, 512), (256, 128)].map(of).into()
            }
            Self::Ppd => {
                let of = |(bypass_tokens, chunk)| {
                    let policy = Ppd { bypass_tokens, ..Ppd::default() };
                    let shipped = (bypass_tokens, chunk) == (512, 512);
                    self.chunked(&format!("bypass {bypass_tokens}, "), chunk, Arc::new(policy), shipped)
                };
                [(512, 512), (128, 128)].map(of).into()
            }
            Self::SessionAffinity => {
                vec![self.setting(Policies::plain(self.name(), Arc::new(SessionAffinity)), true)]
            }
        }
    }

    fn setting(self, policies: Policies, shipped: bool) -> Setting {
        Setting { family: self, policies, shipped }
    }

    fn chunked(self, what: &str, chunk: u32, routing: Arc<dyn RoutingPolicy>, shipped: bool) -> Setting {
        let plain = Policies::plain(&format!("{}: {what}chunk {chunk}", self.name()), routing);
        self.setting(Policies { pacing: Pacing::Fixed { chunk }, ..plain }, shipped)
    }

    /// As published, by free memory, and with what else others have. Its alpha and beta are not published, so that none
    /// of these is what its authors ship.
    fn papers(self) -> Vec<Setting> {
        let of = |(alpha, beta, binding)| {
            let policies = Policies::paper(Paper { alpha, beta, ..Paper::default() });
            let by = if binding == Binding::Load { ", bound by load" } else { "" };
            let name = format!("paper: alpha {alpha}, beta {beta}{by}");
            self.setting(Policies { name, binding, ..policies }, false)
        };
        let load = Binding::Load;
        [(0.8, 0.8, Binding::FreeMemory), (0.8, 0.8, load), (1.0, 0.9, load)].map(of).into()
    }

    fn dynamos(self) -> Vec<Setting> {
        let of =
            |(effective_tokens, prefill_busy, decode_busy, chunk): (u32, Option<f64>, Option<f64>, u32)| {
                let policy = DynamoConditional {
                    effective_tokens,
                    prefill_busy,
                    decode_busy,
                    ..DynamoConditional::default()
                };
                let shipped = policy == DynamoConditional::default() && chunk == 512;
                let busy = |name: &str, share: Option<f64>| {
                    share.map(|share| format!("{name} busy {share}, ")).unwrap_or_default()
                };
                let breakers = [busy("prefill", prefill_busy), busy("decode", decode_busy)].concat();
                self.chunked(
                    &format!("{effective_tokens} tokens, {breakers}"),
                    chunk,
                    Arc::new(policy),
                    shipped,
                )
            };
        [
            (2048, None, None, 512),
            (256, Some(0.5), Some(0.8), 512),
            (1024, Some(0.5), Some(0.9), 512),
            (256, None, Some(0.9), 128),
        ]
        .map(of)
        .into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_settings_have_one_name() {
        let settings: Vec<Setting> = Family::ALL.into_iter().flat_map(Family::settings).collect();
        let names: BTreeSet<&str> = settings.iter().map(|setting| setting.policies.name.as_str()).collect();
        assert_eq!(names.len(), settings.len());
    }

    #[test]
    fn ours_has_one_setting_and_each_rival_says_what_is_shipped() {
        assert_eq!(Family::Ampd.settings().len(), 1);
        for family in Family::ALL.into_iter().filter(|family| family.is_rival() && *family != Family::Paper) {
            let shipped = family.settings().into_iter().filter(|setting| setting.shipped).count();
            assert_eq!(shipped, 1, "{}", family.name());
            assert_eq!(Family::named(family.name()), Some(family));
        }
    }
}
