//! What can be wrong with a trace.

/// A trace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// No session in it.
    #[error("the trace holds no session")]
    Empty,
    /// One line is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// The line, from 1; blank ones count.
        line: usize,
        /// What is wrong.
        #[source]
        problem: TraceProblem,
    },
    /// One session cannot be served here.
    #[error("session {session}: {problem}")]
    Session {
        /// The session, from 1.
        session: usize,
        /// What is wrong.
        #[source]
        problem: TraceProblem,
    },
}

/// What is wrong with a line or a session.
#[derive(Debug, thiserror::Error)]
pub enum TraceProblem {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
    /// Not the JSON of a session.
    #[error("not the JSON of a session: {0}")]
    Json(#[from] serde_json::Error),
    /// A session without rounds.
    #[error("the session has no rounds")]
    NoRounds,
    /// A number out of its range.
    #[error("{field} of round {round} is {value}, it must be {wanted}")]
    Number {
        /// The round, from 1.
        round: usize,
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        wanted: &'static str,
    },
    /// Rounds that are numbered, and not in order.
    #[error("round {got} comes where round {wanted} is due")]
    Order {
        /// The number given.
        got: u64,
        /// The number due.
        wanted: u64,
    },
    /// An arrival that is no time.
    #[error("arrival_s is {0}, it must be a number that is not negative")]
    Arrival(f64),
    /// More tokens than the model's context.
    #[error("the session reaches {tokens} tokens, the model's context holds {max_context}")]
    LongerThanContext {
        /// Tokens it reaches.
        tokens: u64,
        /// Tokens there is room for.
        max_context: u64,
    },
    /// More tokens than a decode worker's memory.
    #[error("the session reaches {tokens} tokens, a decode worker's KV memory holds {kv_tokens}")]
    LongerThanMemory {
        /// Tokens it reaches.
        tokens: u64,
        /// Tokens there is room for.
        kv_tokens: u64,
    },
}
