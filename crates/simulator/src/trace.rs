//! Traces: sessions with their rounds.

mod error;
mod parse;
mod write;

pub use error::{TraceError, TraceProblem};
pub use parse::parse;
pub use write::write;

/// One round of a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceRound {
    /// New input, tokens that are in no earlier input or output of the session; at least 1.
    pub increment: u32,
    /// Output, tokens; at least 1.
    pub output: u32,
    /// Seconds from the end of the round before it, or from the session's arrival, to this round's arrival.
    pub gap_s: f64,
    /// Tokens of history that survive into this round, where the session's context was rewritten or cut; all of it
    /// where `None`.
    pub keep: Option<u32>,
}

impl TraceRound {
    /// Tokens of the context at the round's end, after so many at the end of the round before it.
    fn context_after(&self, context: u64) -> u64 {
        let kept = context.min(self.keep.map_or(u64::MAX, u64::from));
        kept + u64::from(self.increment) + u64::from(self.output)
    }
}

/// One session.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSession {
    /// When it arrives, seconds from the trace's beginning; `None` where the source does not say.
    pub arrival_s: Option<f64>,
    /// Its rounds, at least one.
    pub rounds: Vec<TraceRound>,
}

impl TraceSession {
    /// The longest context that the session reaches, tokens: of any round, history, increment and output.
    #[must_use]
    pub fn longest_context(&self) -> u64 {
        let (mut context, mut longest) = (0_u64, 0);
        for round in &self.rounds {
            context = round.context_after(context);
            longest = longest.max(context);
        }
        longest
    }
}

/// Sessions in the order of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// The sessions.
    pub sessions: Vec<TraceSession>,
}

impl Trace {
    /// Ends each session before the round that would outgrow the model's context, tokens, as whoever uses a model has
    /// to; sessions without any round left are left out.
    #[must_use]
    pub fn cut(mut self, max_context: u64) -> Self {
        for session in &mut self.sessions {
            let mut context = 0_u64;
            let fits = session.rounds.iter().take_while(|round| {
                context = round.context_after(context);
                context <= max_context
            });
            let count = fits.count();
            session.rounds.truncate(count);
        }
        self.sessions.retain(|session| !session.rounds.is_empty());
        self
    }

    /// Checks that every session fits the model's context and a decode worker's KV memory, both in tokens.
    ///
    /// # Errors
    /// Names the first session that does not.
    pub fn check(&self, max_context: u64, kv_tokens: u64) -> Result<(), TraceError> {
        if self.sessions.is_empty() {
            return Err(TraceError::Empty);
        }
        for (index, session) in self.sessions.iter().enumerate() {
            let tokens = session.longest_context();
            let problem = if tokens > max_context {
                TraceProblem::LongerThanContext { tokens, max_context }
            } else if tokens > kv_tokens {
                TraceProblem::LongerThanMemory { tokens, kv_tokens }
            } else {
                continue;
            };
            return Err(TraceError::Session { session: index + 1, problem });
        }
        Ok(())
    }
}
