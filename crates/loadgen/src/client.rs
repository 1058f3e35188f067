//! One round as a client of the `OpenAI` API runs it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use eventsource_stream::Eventsource as _;
use futures::StreamExt as _;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest body of a refusal that is told.
const WORDS: usize = 300;
/// Headers of an answer that are kept begin so.
const OWN: &str = "x-ampd-";

/// The service that is to be asked.
#[derive(Debug, Clone)]
pub struct Target {
    /// Base address of the API, with `/v1`.
    pub url: String,
    /// The model's name.
    pub model: String,
    /// The bearer token, where the service asks for one.
    pub key: Option<String>,
    /// Longest time for a round, from sending it to its last token.
    pub timeout: Duration,
}

/// Asks a service.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    target: Target,
    authorization: Option<HeaderValue>,
}

/// A client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("the address {url:?} cannot be used: {what}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The key has characters that no header can carry.
    #[error("the API key has characters that no header can carry")]
    Key,
    /// The HTTP client cannot be made.
    #[error("no HTTP client")]
    Http(#[from] reqwest::Error),
    /// TLS cannot be set up.
    #[error("no TLS")]
    Tls(#[from] rustls::Error),
}

/// A round that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The service cannot be reached, or breaks off.
    #[error("the connection failed")]
    Connection(#[source] reqwest::Error),
    /// Its deadline came first.
    #[error("no end within {0:?}")]
    Timeout(Duration),
    /// The service refused it, or gave it up.
    #[error("status {status}: {words}")]
    Refused {
        /// The HTTP status; 200 where an error came within the stream.
        status: u16,
        /// What the service said.
        words: String,
    },
    /// The stream is not of the API's form.
    #[error("the answer is not of the API's form: {0}")]
    Malformed(String),
    /// The stream ended without a token.
    #[error("the answer has no token")]
    Empty,
}

/// A message of a conversation.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Message {
    pub(crate) role: &'static str,
    pub(crate) content: String,
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// When each part with text came, from sending on.
    pub(crate) parts: Vec<Duration>,
    /// Prompt tokens, as the service counts them.
    pub(crate) prompt_tokens: Option<u64>,
    /// Those whose KV was there.
    pub(crate) cached_tokens: Option<u64>,
    /// Output tokens.
    pub(crate) output_tokens: Option<u64>,
    /// The service's own headers.
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Client {
    /// A client of `target`.
    ///
    /// # Errors
    /// When the address or the key cannot be used.
    pub fn new(target: Target) -> Result<Self, ClientError> {
        let wrong = |what: String| ClientError::Url { url: target.url.clone(), what };
        let parsed = reqwest::Url::parse(&target.url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("it must begin with http:// or https://".into()));
        }
        let authorization = target.key.as_ref().map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| ClientError::Key)?;
            value.set_sensitive(true);
            Ok::<_, ClientError>(value)
        });
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            .timeout(target.timeout)
            .build()?;
        Ok(Self { http, authorization: authorization.transpose()?, target })
    }

    /// Asks for the first model that the service tells.
    ///
    /// # Errors
    /// When it does not answer, or tells none.
    pub async fn take_first_model(&mut self) -> Result<(), RoundError> {
        let mut request = self.http.get(format!("{}/models", self.target.url.trim_end_matches('/')));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let words = response.text().await.map_err(|error| self.failed(error))?;
        if !status.is_success() {
            return Err(RoundError::Refused { status: status.as_u16(), words: shortened(&words) });
        }
        let list: serde_json::Value =
            serde_json::from_str(&words).map_err(|error| RoundError::Malformed(error.to_string()))?;
        let first =
            list["data"][0]["id"].as_str().ok_or(RoundError::Malformed("no model in the list".into()))?;
        first.clone_into(&mut self.target.model);
        Ok(())
    }

    /// Runs a round of `session` with these messages and exactly so many output tokens, where the service can do that.
    pub(crate) async fn round(
        &self,
        session: &str,
        messages: &[Message],
        output: u32,
    ) -> Result<Answer, RoundError> {
        let body = json!({
            "model": self.target.model, "messages": messages, "max_tokens": output, "stream": true,
            "stream_options": {"include_usage": true}, "temperature": 0, "ignore_eos": true,
        });
        let url = format!("{}/chat/completions", self.target.url.trim_end_matches('/'));
        let mut request = self.http.post(url).header("x-session-id", session).json(&body);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let sent = Instant::now();
        let response = request.send().await.map_err(|error| self.failed(error))?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let words = response.text().await.unwrap_or_default();
            return Err(RoundError::Refused { status, words: shortened(&words) });
        }
        let own = response.headers().iter().filter(|(name, _)| name.as_str().starts_with(OWN));
        let headers =
            own.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let mut answer = Answer { headers: headers.collect(), ..Answer::default() };
        let mut events = response.bytes_stream().eventsource();
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| match error {
                eventsource_stream::EventStreamError::Transport(error) => self.failed(error),
                other => RoundError::Malformed(other.to_string()),
            })?;
            if event.data == "[DONE]" {
                break;
            }
            answer.take(&event.data, sent.elapsed())?;
        }
        if answer.parts.is_empty() { Err(RoundError::Empty) } else { Ok(answer) }
    }

    fn failed(&self, error: reqwest::Error) -> RoundError {
        if error.is_timeout() {
            RoundError::Timeout(self.target.timeout)
        } else {
            RoundError::Connection(error)
        }
    }
}

impl Answer {
    /// Takes in one event of the stream, which came so long after sending.
    fn take(&mut self, data: &str, after: Duration) -> Result<(), RoundError> {
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|error| RoundError::Malformed(error.to_string()))?;
        if let Some(error) = chunk.error {
            return Err(RoundError::Refused { status: 200, words: shortened(&error.to_string()) });
        }
        let text =
            chunk.choices.first().and_then(|choice| choice.delta.content.as_deref()).unwrap_or_default();
        if !text.is_empty() {
            self.text.push_str(text);
            self.parts.push(after);
        }
        if let Some(usage) = chunk.usage {
            self.prompt_tokens = Some(usage.prompt_tokens);
            self.output_tokens = Some(usage.completion_tokens);
            self.cached_tokens = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
        }
        Ok(())
    }
}

fn shortened(words: &str) -> String {
    match words.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}
