//! The control protocol of a worker: JSON over HTTP, streams as one JSON object a line.
//!
//! A sidecar binds sessions, opens rounds and runs them on its decode worker; a decode worker sends prefill tasks to
//! prefill workers. Every worker answers probes with its load.

mod binding;
mod client;
mod error;
mod load;
mod moves;
mod ndjson;
mod prefill;
mod round;
mod salt;
mod stream;

pub use binding::{Bind, BindAck};
pub use client::{ClientError, ControlClient, Deadlines, http_client};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use load::{DecodingRound, KvBlocks, LoadReport, MOST_TOLD, ORCA_HEADER, Role, WaitingPrefill};
pub use moves::{
    DescribeSession, HeldSession, MAX_SESSIONS, PullSession, PulledSession, PushSession, PushedSession,
    SessionContent, Sessions,
};
pub use ndjson::{LineError, Lines, to_line};
pub use prefill::{MAX_PREFILL_DEADLINE, PrefillDone, PrefillEvent, PrefillTask, prefill_deadline};
pub use round::{
    Fallback, FinishReason, OpenRound, OutputToken, PrefillPlace, PrefillReport, PrefillTarget,
    RemotePrefill, RoundDone, RoundEvent, RoundOpened, RunRound, SamplingParams, TokenLogprob,
};
pub use salt::{InvalidSalt, Salt};
pub use stream::EventStream;

/// Longest line of an event stream, bytes. The largest are log-probabilities of a long prompt: 32 768 tokens with 20
/// alternatives take about 20 MB.
pub const MAX_LINE: usize = 32 << 20;
