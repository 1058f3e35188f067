//! Conversations through the official client, in a Python process.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::cluster::python;
use crate::process::Process;

/// Longest time for all conversations.
const LIMIT: Duration = Duration::from_secs(150);

/// What to say.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Start of the sessions' names.
    pub session: &'a str,
    /// Conversations at once.
    pub conversations: usize,
    /// Rounds of each.
    pub rounds: usize,
    /// Most output tokens of a round.
    pub max_tokens: usize,
    /// Whether the distance of the two best tokens is wanted.
    pub gaps: bool,
}

/// A round as the client saw it.
#[derive(Debug, Clone, Deserialize)]
pub struct Round {
    /// Which conversation, from 0.
    pub conversation: usize,
    /// Which round, from 1.
    #[serde(rename = "round")]
    pub number: usize,
    /// The session's name.
    pub session: String,
    /// The whole text.
    pub text: String,
    /// Why it ended.
    pub finish_reason: Option<String>,
    /// Parts that the text came in.
    pub chunks: usize,
    /// Output tokens with the distances of the two best logits, when asked for.
    pub gaps: Vec<Gap>,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Prompt tokens whose KV was there.
    pub cached_tokens: u64,
    /// Output tokens.
    pub completion_tokens: u64,
    /// Their sum, as the service says.
    pub total_tokens: u64,
    /// Response headers that start with `x-`.
    pub headers: std::collections::BTreeMap<String, String>,
}

/// How sure the model was of a token.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Gap {
    /// The token's text.
    pub token: String,
    /// Distance of the best log-probability to the next, which is that of the logits.
    pub gap: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Failed { error: String, conversation: usize, round: usize },
    Done(Round),
}

/// Holds the conversations and gives all rounds, ordered by conversation and round.
///
/// # Errors
/// When a round fails, one is missing, or the client does not end in time.
pub async fn converse(url: &str, plan: Plan<'_>) -> anyhow::Result<Vec<Round>> {
    converse_with(url, "none", plan).await
}

/// The same with a key.
///
/// # Errors
/// As [`converse`].
pub async fn converse_with(url: &str, key: &str, plan: Plan<'_>) -> anyhow::Result<Vec<Round>> {
    let folder = tempfile::tempdir()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/python/conversations.py");
    let mut command = Command::new(python().context("AMPD_PYTHON is not set")?);
    command.arg(script).args(["--url", url, "--session", plan.session]);
    command.args(["--conversations", &plan.conversations.to_string()]);
    command.args(["--rounds", &plan.rounds.to_string(), "--max-tokens", &plan.max_tokens.to_string()]);
    command.env("OPENAI_API_KEY", key);
    if plan.gaps {
        command.arg("--logprobs");
    }
    // Apart from what Python and its packages may say.
    let file = folder.path().join("rounds.json");
    command.arg("--output").arg(&file);
    let mut process = Process::start("conversations", command, folder.path())?;
    let status = process.wait(LIMIT).await?;
    anyhow::ensure!(status.success(), "the client ended with {status}:\n{}", process.output());
    let mut rounds = Vec::new();
    for line in std::fs::read_to_string(&file)?.lines() {
        match serde_json::from_str(line).with_context(|| line.to_owned())? {
            Line::Failed { error, conversation, round } => {
                anyhow::bail!("conversation {conversation}, round {round}: {error}");
            }
            Line::Done(round) => rounds.push(round),
        }
    }
    rounds.sort_by_key(|round| (round.conversation, round.number));
    let expected = plan.conversations * plan.rounds;
    anyhow::ensure!(rounds.len() == expected, "{} rounds of {expected}", rounds.len());
    Ok(rounds)
}
