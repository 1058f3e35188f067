//! Parsing and tokenising off the async threads, on a bounded number of others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::http::WholeBody;
use crate::openai::{Api, ApiError, Prompt, Request, ServedModel, parse_chat, parse_completion, tokenize};
use crate::text::TextModel;

/// How long a request waits for a thread.
const WAIT: Duration = Duration::from_secs(20);

/// Turns bodies into requests with tokens.
#[derive(Debug)]
pub(super) struct Encoder {
    text: Arc<TextModel>,
    threads: Arc<Semaphore>,
}

impl Encoder {
    pub(super) fn new(text: Arc<TextModel>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { text, threads: Arc::new(Semaphore::new(threads)) }
    }

    /// The text side of the model.
    pub(super) fn text(&self) -> &Arc<TextModel> {
        &self.text
    }

    /// Parses a body for the model that is served and tokenises its prompts.
    pub(super) async fn encode(
        &self,
        api: Api,
        body: WholeBody,
        served: Arc<ServedModel>,
    ) -> Result<(Request, Vec<Prompt>), ApiError> {
        let overloaded = || {
            let message = "Too many requests are waiting to be tokenised.";
            ApiError::unavailable("overloaded", message, Duration::from_secs(1))
        };
        let thread = tokio::time::timeout(WAIT, self.threads.clone().acquire_owned());
        let Ok(Ok(thread)) = thread.await else { return Err(overloaded()) };
        let text = self.text.clone();
        let work = move || {
            // Held until the work is done, also when nobody waits for it any more.
            let _thread = thread;
            let request = match api {
                Api::Chat => parse_chat(body.as_ref(), &served)?,
                Api::Completion => parse_completion(body.as_ref(), &served)?,
            };
            let prompts = tokenize(&request, &text)?;
            Ok((request, prompts))
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "tokenising failed");
            let message = "The request could not be read.";
            Err(ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message))
        })
    }
}
