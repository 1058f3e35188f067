//! The OpenAI API's routes: who asks, what is asked, and the answer's common headers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::model::ModelConfig;
use ampd_telemetry::TraceContext;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};

use super::args::Args;
use super::attainment::Ended;
use super::auth::Unauthorized;
use super::clock::unix_s;
use super::encode::Encoder;
use super::headers::{REQUEST_ID, request_id};
use super::inflight::Place;
use super::internal::health_routes;
use super::naming::Naming;
use super::state::Shared;
use crate::http::{BodyLimits, read_body};
use crate::openai::{Api, ApiError, ServedModel};
use crate::text::TextModel;

/// What the API's handlers share.
pub(super) struct Front {
    pub shared: Arc<Shared>,
    pub naming: Naming,
    pub encoder: Encoder,
    /// As the model's files and the command line say.
    served: Arc<ServedModel>,
}

/// One request's beginnings.
pub(super) struct Asked {
    pub api: Api,
    pub parts: Parts,
    pub tenant: String,
    pub request_id: String,
    pub trace: TraceContext,
    pub arrived: Instant,
    pub place: Place,
}

pub(super) fn router(front: Arc<Front>) -> Router {
    let shared = front.shared.clone();
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/v1/models", get(models))
        // Names of models may hold slashes.
        .route("/v1/models/{*id}", get(model))
        .with_state(front)
        .merge(health_routes().with_state(shared))
}

async fn chat(State(front): State<Arc<Front>>, request: axum::extract::Request) -> Response {
    front.answer(Api::Chat, request).await
}

async fn completions(State(front): State<Arc<Front>>, request: axum::extract::Request) -> Response {
    front.answer(Api::Completion, request).await
}

async fn models(State(front): State<Arc<Front>>, request: axum::extract::Request) -> Response {
    let body = front.tenant(request.headers()).map(|_| axum::Json(front.served().list()));
    front.told("models", &request_id(request.headers()), body.into_response())
}

async fn model(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: axum::extract::Request,
) -> Response {
    let body = front.tenant(request.headers()).and_then(|_| front.served().get(&id)).map(axum::Json);
    front.told("models", &request_id(request.headers()), body.into_response())
}

impl Front {
    pub(super) fn new(
        shared: Arc<Shared>,
        args: &Args,
        naming: Naming,
        text: TextModel,
        model: &ModelConfig,
    ) -> Arc<Self> {
        let served = Arc::new(ServedModel {
            name: args.model_name.clone(),
            aliases: args.model_alias.clone(),
            max_context: args.max_context.unwrap_or(usize::MAX).min(model.max_context),
            vocab: model.vocab,
            created: unix_s(),
        });
        let encoder = Encoder::new(Arc::new(text));
        Arc::new(Self { shared, naming, encoder, served })
    }

    /// The model as it can be served: the KV pool of the worker beside this sidecar may be too small for its context.
    pub(super) fn served(&self) -> Arc<ServedModel> {
        match self.shared.own.max_context() {
            Some(max_context) if max_context < self.served.max_context => {
                Arc::new(ServedModel { max_context, ..ServedModel::clone(&self.served) })
            }
            _ => self.served.clone(),
        }
    }

    async fn answer(self: Arc<Self>, api: Api, request: axum::extract::Request) -> Response {
        let arrived = Instant::now();
        let (parts, body) = request.into_parts();
        let id = request_id(&parts.headers);
        let trace = TraceContext::from_headers(&parts.headers).new_child();
        let answered = self.checked(api, parts, body, id.clone(), trace, arrived).await;
        let route = match api {
            Api::Chat => "chat_completions",
            Api::Completion => "completions",
        };
        let mut response = self.told(route, &id, answered.into_response());
        response.headers_mut().insert(ampd_telemetry::trace::TRACEPARENT, trace.header());
        response
    }

    async fn checked(
        &self,
        api: Api,
        parts: Parts,
        body: Body,
        request_id: String,
        trace: TraceContext,
        arrived: Instant,
    ) -> Result<Response, ApiError> {
        let tenant = self.tenant(&parts.headers)?;
        let full = || {
            self.shared.round_ended(Ended::TurnedAway, None);
            let message = "Too many requests are being served.";
            ApiError::unavailable("overloaded", message, Duration::from_secs(1))
        };
        let body = {
            let _reading = self.shared.places.read().ok_or_else(full)?;
            read_body(&parts.headers, body, BodyLimits::default()).await?
        };
        // Only whoever has sent all of a request takes a place from the others.
        let place = Place::take(&self.shared).ok_or_else(full)?;
        self.serve(Asked { api, parts, tenant, request_id, trace, arrived, place }, body).await
    }

    fn tenant(&self, headers: &http::HeaderMap) -> Result<String, ApiError> {
        self.shared.keys.load().tenant(headers).map_err(|Unauthorized| {
            let message = "There is no valid API key in the Authorization header (Bearer).";
            ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
        })
    }

    /// Counts an answer and gives it the headers that all have.
    fn told(&self, route: &str, request_id: &str, mut response: Response) -> Response {
        let code = response.status();
        self.shared.metrics.http_requests.with([route, code.as_str()]).inc();
        if let Ok(id) = HeaderValue::from_str(request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        // This sidecar may be about to stop, and a request on a connection that is just being closed would fail.
        if self.shared.unready().is_some() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
