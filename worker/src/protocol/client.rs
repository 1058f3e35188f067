//! The client of the control API: every call has a deadline.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ndjson::LineError;
use super::{
    Bind, BindAck, DescribeSession, ErrorBody, ErrorDetail, EventStream, LoadReport, MAX_LINE, OpenRound,
    PrefillEvent, PrefillTask, PullSession, PulledSession, PushSession, PushedSession, RoundEvent,
    RoundOpened, RunRound, SessionContent, Sessions,
};

/// Largest answer that is not a stream, bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Largest description of a session, bytes: a million tokens.
const MAX_CONTENT: usize = 8 << 20;

/// How long calls may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From a call to its whole answer; for streams to the answer's head.
    pub call: Duration,
    /// Silence within a round's stream, which has a line at least every second.
    pub round_silence: Duration,
    /// Silence within a prefill's stream, which has a line at least every 500 ms.
    pub prefill_silence: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(5),
            round_silence: Duration::from_secs(5),
            prefill_silence: Duration::from_secs(2),
        }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The HTTP client could not be set up.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
    /// No connection, or none within its deadline: the call was never sent.
    #[error("the worker cannot be reached")]
    Connect(#[source] reqwest::Error),
    /// The connection broke before the answer was there.
    #[error("the call failed")]
    Call(#[source] reqwest::Error),
    /// No answer within the deadline.
    #[error("no answer within {after:?}")]
    Deadline {
        /// The deadline.
        after: Duration,
    },
    /// The worker refused.
    #[error("the worker answered {status}: {detail}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The error it told.
        detail: ErrorDetail,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// The worker refused in a form that is not the control API's.
    #[error("the worker answered {status} without an error body")]
    Status {
        /// The status.
        status: StatusCode,
    },
    /// An answer larger than any that the API gives.
    #[error("the answer exceeds {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The answer is not what the call gives.
    #[error("the answer cannot be read")]
    Answer(#[source] serde_json::Error),
    /// A stream was silent.
    #[error("nothing was heard for {after:?}")]
    Silent {
        /// How long.
        after: Duration,
    },
    /// A stream broke.
    #[error("the stream broke")]
    Stream(#[from] LineError<reqwest::Error>),
    /// A line of a stream is not an event.
    #[error("a line of the stream cannot be read")]
    Event(#[source] serde_json::Error),
}

impl ClientError {
    /// The error that the worker told, if it answered with one.
    #[must_use]
    pub fn detail(&self) -> Option<&ErrorDetail> {
        match self {
            Self::Refused { detail, .. } => Some(detail),
            _ => None,
        }
    }
}

/// An HTTP client for workers and sidecars: no proxies, no redirects, connections given up when idle before the other
/// side does so. `tls` is for `https` addresses; without it those fail.
///
/// # Errors
/// When TLS cannot be set up.
pub fn http_client(tls: Option<rustls::ClientConfig>) -> Result<reqwest::Client, ClientError> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(2))
        .pool_idle_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15));
    let tls = match tls {
        Some(tls) => tls,
        // No root is trusted: only plain addresses work.
        None => {
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(ClientError::Tls)?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        }
    };
    builder.tls_backend_preconfigured(tls).build().map_err(ClientError::Setup)
}

/// The control API of one worker. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ControlClient {
    http: reqwest::Client,
    base: Arc<str>,
    deadlines: Deadlines,
    traceparent: Option<Arc<str>>,
}

impl ControlClient {
    /// A client of the worker at `base`, such as `http://127.0.0.1:9000`.
    #[must_use]
    pub fn new(http: reqwest::Client, base: &str, deadlines: Deadlines) -> Self {
        Self { http, base: base.trim_end_matches('/').into(), deadlines, traceparent: None }
    }

    /// The same, with a W3C trace context on every call.
    #[must_use]
    pub fn traced(&self, traceparent: Option<&str>) -> Self {
        Self { traceparent: traceparent.map(Into::into), ..self.clone() }
    }

    /// Binds a session.
    ///
    /// # Errors
    /// `Refused` with `stale_epoch`, or what keeps the worker from answering.
    pub async fn bind(&self, bind: &Bind) -> Result<BindAck, ClientError> {
        self.answer(self.post("/internal/v1/bindings", bind), self.deadlines.call).await
    }

    /// Opens a round.
    ///
    /// # Errors
    /// `Refused` with the engine's reason, or what keeps the worker from answering.
    pub async fn open_round(&self, round: &OpenRound) -> Result<RoundOpened, ClientError> {
        self.answer(self.post("/internal/v1/rounds", round), self.deadlines.call).await
    }

    /// Runs an opened round; dropping the stream cancels it.
    ///
    /// # Errors
    /// `Refused`, or what keeps the worker from answering.
    pub async fn run_round(
        &self,
        round: u64,
        run: &RunRound,
    ) -> Result<EventStream<RoundEvent>, ClientError> {
        let response = self.send(self.post(&format!("/internal/v1/rounds/{round}/run"), run)).await?;
        Ok(EventStream::new(response, MAX_LINE, self.deadlines.round_silence))
    }

    /// Cancels a round in any state; an unknown one is no error.
    ///
    /// # Errors
    /// What keeps the worker from answering.
    pub async fn cancel_round(&self, round: u64) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &format!("/internal/v1/rounds/{round}"))).await.map(drop)
    }

    /// Sends a prefill task; dropping the stream cancels it.
    ///
    /// # Errors
    /// `Refused`, or what keeps the worker from answering.
    pub async fn prefill(&self, task: &PrefillTask) -> Result<EventStream<PrefillEvent>, ClientError> {
        let response = self.send(self.post("/internal/v1/prefills", task)).await?;
        Ok(EventStream::new(response, MAX_LINE, self.deadlines.prefill_silence))
    }

    /// The sessions of a decode worker.
    ///
    /// # Errors
    /// What keeps the worker from answering.
    pub async fn sessions(&self) -> Result<Sessions, ClientError> {
        self.answer(self.request(Method::GET, "/internal/v1/sessions"), self.deadlines.call).await
    }

    /// Has a decode worker pull a session's KV from another one.
    ///
    /// # Errors
    /// `Refused` with the reason, or what keeps the worker from answering.
    pub async fn pull_session(&self, pull: &PullSession) -> Result<PulledSession, ClientError> {
        self.answer(self.post("/internal/v1/sessions/pull", pull), self.deadlines.call).await
    }

    /// What a session holds on a decode worker.
    ///
    /// # Errors
    /// `Refused` with the reason, or what keeps the worker from answering.
    pub async fn describe_session(&self, ask: &DescribeSession) -> Result<SessionContent, ClientError> {
        let request = self.post("/internal/v1/sessions/describe", ask);
        let body = self.body(request, self.deadlines.call, MAX_CONTENT).await?;
        serde_json::from_slice(&body).map_err(ClientError::Answer)
    }

    /// Has a decode worker push a session's KV and let the session go; dropping the call cancels it.
    ///
    /// # Errors
    /// `Refused` with the reason, or what keeps the worker from answering.
    pub async fn push_session(&self, push: &PushSession) -> Result<PushedSession, ClientError> {
        self.answer(self.post("/internal/v1/sessions/push", push), self.deadlines.call).await
    }

    /// The worker's load now.
    ///
    /// # Errors
    /// What keeps the worker from answering within `deadline`.
    pub async fn probe(&self, deadline: Duration) -> Result<LoadReport, ClientError> {
        self.answer(self.request(Method::GET, "/internal/v1/probe"), deadline).await
    }

    /// The worker's routing series in Prometheus' text form.
    ///
    /// # Errors
    /// What keeps the worker from answering within `deadline`, and an answer that is not UTF-8.
    pub async fn load(&self, deadline: Duration) -> Result<String, ClientError> {
        let body = self.body(self.request(Method::GET, "/metrics/load"), deadline, MAX_ANSWER).await?;
        String::from_utf8(body).map_err(|error| ClientError::Answer(serde::de::Error::custom(error)))
    }

    /// Posts `body` to another API that has this one's manners, and reads the answer.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        deadline: Duration,
    ) -> Result<T, ClientError> {
        self.answer(self.post(path, body), deadline).await
    }

    /// Reads what another API has at `path`.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        deadline: Duration,
    ) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, path), deadline).await
    }

    /// Posts `body` to another API that answers with a stream of events; dropping the stream cancels the call.
    pub(crate) async fn stream<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        silence: Duration,
    ) -> Result<EventStream<T>, ClientError> {
        Ok(EventStream::new(self.send(self.post(path, body)).await?, MAX_LINE, silence))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.traceparent {
            Some(traceparent) => request.header("traceparent", traceparent.as_ref()),
            None => request,
        }
    }

    fn post(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    /// Sends a request and waits for the answer's head.
    async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let after = self.deadlines.call;
        let late = ClientError::Deadline { after };
        let response = tokio::time::timeout(after, request.send()).await.map_err(|_| late)?;
        let response = response.map_err(|error| {
            if error.is_connect() { ClientError::Connect(error) } else { ClientError::Call(error) }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = tokio::time::timeout(after, collect(response, MAX_ANSWER)).await;
        match body.ok().and_then(Result::ok).and_then(|body| serde_json::from_slice::<ErrorBody>(&body).ok())
        {
            Some(body) => Err(ClientError::Refused { status, detail: body.error, retry_after }),
            None => Err(ClientError::Status { status }),
        }
    }

    async fn body(
        &self,
        request: RequestBuilder,
        deadline: Duration,
        limit: usize,
    ) -> Result<Vec<u8>, ClientError> {
        let whole = async { collect(self.send(request).await?, limit).await };
        tokio::time::timeout(deadline, whole).await.map_err(|_| ClientError::Deadline { after: deadline })?
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        deadline: Duration,
    ) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body(request, deadline, MAX_ANSWER).await?).map_err(ClientError::Answer)
    }
}

/// Reads a bounded body.
async fn collect(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ClientError::Call)? {
        if body.len() + chunk.len() > limit {
            return Err(ClientError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
