//! Routing policies on command lines.

use ampd_scheduler::PolicyKind;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Reads a policy's name; the help and the errors of a command line name them all.
pub fn policy_parser() -> impl TypedValueParser<Value = PolicyKind> {
    PossibleValuesParser::new(PolicyKind::ALL.map(PolicyKind::as_str))
        .try_map(|name| name.parse::<PolicyKind>())
}
