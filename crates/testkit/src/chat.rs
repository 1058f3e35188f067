//! A client of the OpenAI API that looks closely: at the stream's form, its end, its headers and its errors.

mod answer;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

pub use answer::{Answer, Usage};

/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_mins(3);

/// A client of one service. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ChatClient {
    http: reqwest::Client,
    base: Arc<str>,
    model: Arc<str>,
}

/// A client for plain HTTP on this machine, without proxies.
///
/// # Errors
/// When it cannot be set up.
pub fn http() -> anyhow::Result<reqwest::Client> {
    // No root is trusted: only plain addresses work.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).timeout(LIMIT);
    Ok(builder.build()?)
}

impl ChatClient {
    /// A client of the service at `base`, such as `http://127.0.0.1:8000`, for the first model that it serves.
    ///
    /// # Errors
    /// When the service does not name a model.
    pub async fn new(base: &str) -> anyhow::Result<Self> {
        let http = http()?;
        let models: Value = http.get(format!("{base}/v1/models")).send().await?.json().await?;
        let model = models["data"][0]["id"].as_str().with_context(|| format!("no model in {models}"))?.into();
        Ok(Self { http, base: base.into(), model })
    }

    /// The model that it asks for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Runs a streamed round of greedy decoding. `more` adds fields to the request or replaces them.
    ///
    /// # Errors
    /// When the connection fails, or the stream has not the form of one. An error that the service tells is an answer.
    pub async fn round(&self, session: &str, messages: &[Value], more: Value) -> anyhow::Result<Answer> {
        let (response, start) = self.post(session, messages, more).await?;
        stream::read(response, start).await
    }

    /// Begins a streamed round, waits for `chunks` parts of text, and goes away. Returns how many came.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub async fn leave_after(
        &self,
        session: &str,
        messages: &[Value],
        more: Value,
        chunks: usize,
    ) -> anyhow::Result<usize> {
        stream::read_some(self.post(session, messages, more).await?.0, chunks).await
    }

    async fn post(
        &self,
        session: &str,
        messages: &[Value],
        more: Value,
    ) -> anyhow::Result<(reqwest::Response, Instant)> {
        let mut body = json!({
            "model": &*self.model, "messages": messages, "temperature": 0, "stream": true,
            "stream_options": {"include_usage": true},
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let start = Instant::now();
        let request = self.http.post(format!("{}/v1/chat/completions", self.base));
        let response = request.header("x-session-id", session).json(&body).send().await?;
        Ok((response, start))
    }
}

/// A conversation: each round adds the user's words and the model's answer.
#[derive(Debug)]
pub struct Conversation {
    client: ChatClient,
    session: String,
    /// The messages so far.
    pub messages: Vec<Value>,
}

impl Conversation {
    /// An empty one.
    #[must_use]
    pub fn new(client: &ChatClient, session: impl Into<String>) -> Self {
        Self { client: client.clone(), session: session.into(), messages: Vec::new() }
    }

    /// Runs the next round. An answer that is not complete leaves the conversation as it was, so that the round can be
    /// tried again.
    ///
    /// # Errors
    /// As [`ChatClient::round`].
    pub async fn say(&mut self, text: &str, max_tokens: u32) -> anyhow::Result<Answer> {
        self.messages.push(json!({"role": "user", "content": text}));
        let answer =
            self.client.round(&self.session, &self.messages, json!({"max_tokens": max_tokens})).await;
        match &answer {
            Ok(answer) if answer.complete() => {
                self.messages.push(json!({"role": "assistant", "content": answer.text}));
            }
            _ => {
                self.messages.pop();
            }
        }
        answer
    }
}
