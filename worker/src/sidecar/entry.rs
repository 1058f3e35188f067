//! A client's request as rounds: names the session, starts a round for each choice, and puts the answer together.

use std::sync::Arc;

use axum::response::Response;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::choice::{Choice, RoundContext};
use super::clock::unix_s;
use super::front::{Asked, Front};
use super::naming::{InvalidName, SessionName};
use super::respond::Responder;
use crate::http::WholeBody;
use crate::openai::{ApiError, Renderer, Request, ResponseHead};

/// Events of all choices on their way to the client; more wait at the workers.
const EVENTS: usize = 64;
/// Choices of one request that run at once.
const AT_ONCE: usize = 8;

impl Front {
    /// Serves a request whose sender may ask.
    pub(super) async fn serve(&self, asked: Asked, body: WholeBody) -> Result<Response, ApiError> {
        let (request, prompts) = self.encoder.encode(asked.api, body, self.served()).await?;
        let session = self.session(&asked, &request)?;
        let salt = self.naming.salt(&asked.tenant, request.cache_salt.as_deref());
        let (stream, shown) = (request.stream, session.shown.clone());
        let head = ResponseHead { request_id: asked.request_id.clone(), created: unix_s() };
        let renderer = Renderer::new(&request, &prompts, self.encoder.text().clone(), &head);
        let context = Arc::new(RoundContext {
            shared: self.shared.clone(),
            session,
            request_id: asked.request_id,
            arrived: asked.arrived,
            trace: asked.trace,
            request,
            prompts,
            salt,
            places: Semaphore::new(AT_ONCE),
        });
        let (events, receiver) = mpsc::channel(EVENTS);
        let stops = self.start(&context, &events);
        drop(events);
        let responder = Responder::new(renderer, receiver, stops, self.shared.closing.clone(), asked.place);
        if stream { responder.stream(&shown).await } else { responder.whole(&shown).await }
    }

    /// Starts a round for each choice. The first choice of a prompt goes before the others, which then find its KV.
    fn start(
        &self,
        context: &Arc<RoundContext>,
        events: &mpsc::Sender<(usize, super::choice::ChoiceEvent)>,
    ) -> Vec<CancellationToken> {
        let mut stops = Vec::new();
        let mut first = watch::channel(false).1;
        for index in 0..context.request.choices() {
            let (begun, begins) = watch::channel(false);
            let leads = index % context.request.n == 0;
            let after = if leads { None } else { Some(first.clone()) };
            if leads {
                first = begins;
            }
            let stop = CancellationToken::new();
            stops.push(stop.clone());
            let choice = Choice { index, after, begun, stop };
            let run = context.clone().run(choice, events.clone());
            self.shared.tasks.spawn(run.instrument(context.trace.span()));
        }
        stops
    }

    fn session(&self, asked: &Asked, request: &Request) -> Result<SessionName, ApiError> {
        let invalid = |error: InvalidName| ApiError::invalid(error.field.clone(), error.to_string());
        let given = request.session_id.as_deref();
        let seed = || request.conversation_seed();
        self.naming.session(&asked.parts.headers, &asked.tenant, given, seed).map_err(invalid)
    }
}
