//! From the choices' events to the client's answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::choice::ChoiceEvent;
use super::headers::RoundHead;
use super::inflight::Place;
use super::wire::Refusal;
use crate::openai::{ApiError, Renderer, error_frame, ping_frame};
use crate::protocol::RoundEvent;

/// How long a stream's head waits until it is settled where the prefill ran.
const HEAD_WAIT: Duration = Duration::from_secs(15);
/// Longest time without a byte in a stream.
const PING: Duration = Duration::from_secs(10);

/// The choices of one request on their way to the client.
pub(super) struct Responder {
    renderer: Renderer,
    events: mpsc::Receiver<(usize, ChoiceEvent)>,
    /// Events that came before the head was out.
    early: VecDeque<(usize, ChoiceEvent)>,
    /// Ends a choice.
    stops: Vec<CancellationToken>,
    /// The sidecar shuts down, and the time that requests had for their end is over.
    closing: CancellationToken,
    _place: Place,
}

impl Responder {
    pub(super) fn new(
        renderer: Renderer,
        events: mpsc::Receiver<(usize, ChoiceEvent)>,
        stops: Vec<CancellationToken>,
        closing: CancellationToken,
        place: Place,
    ) -> Self {
        Self { renderer, events, early: VecDeque::new(), stops, closing, _place: place }
    }

    /// The next event from the choices' tasks; a refusal when there is no time left to wait for it.
    async fn receive(&mut self) -> Option<(usize, ChoiceEvent)> {
        tokio::select! {
            biased;
            event = self.events.recv() => event,
            () = self.closing.cancelled() => Some((0, ChoiceEvent::Failed(Refusal::closing()))),
        }
    }

    /// One answer with everything in it.
    pub(super) async fn whole(mut self, session: &str) -> Result<Response, ApiError> {
        let head = self.head(None).await?;
        while !self.renderer.is_done() {
            let (choice, event) = self.next().await.map_err(|refusal| api_error(&refusal))?;
            self.render(choice, &event)?;
        }
        let mut response = self.renderer.body()?.into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        head.write(session, response.headers_mut());
        Ok(response)
    }

    /// A stream of server-sent events.
    pub(super) async fn stream(mut self, session: &str) -> Result<Response, ApiError> {
        let head = self.head(Some(Instant::now() + HEAD_WAIT)).await?;
        let frames = futures::stream::unfold(Some(self), |responder| async move {
            let mut responder = responder?;
            let (frame, more) = responder.frame().await;
            Some((Ok::<_, Infallible>(frame), more.then_some(responder)))
        });
        let mut response = Body::from_stream(frames).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // Buffering proxies would hold tokens back.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        head.write(session, headers);
        Ok(response)
    }

    /// Waits until it is settled where the first choice's prefill ran, but not beyond `until`.
    async fn head(&mut self, until: Option<Instant>) -> Result<RoundHead, ApiError> {
        let mut head = RoundHead::default();
        loop {
            let event = match until {
                None => self.receive().await,
                Some(until) => match timeout_at(until, self.receive()).await {
                    Ok(event) => event,
                    Err(_) => return Ok(head),
                },
            };
            match event {
                Some((choice, ChoiceEvent::Decided(decided))) => {
                    self.renderer.opened(choice, decided.history as usize);
                    if choice == 0 {
                        head.decided = Some(decided);
                    }
                }
                Some((_, ChoiceEvent::Failed(refusal))) => return Err(api_error(&refusal)),
                Some((0, ChoiceEvent::Event(event))) => {
                    if let RoundEvent::Prefill(report) = &event {
                        head.settled = Some((report.place, report.fallback));
                    }
                    self.early.push_back((0, ChoiceEvent::Event(event)));
                    return Ok(head);
                }
                Some(other) => self.early.push_back(other),
                None => return Ok(head),
            }
        }
    }

    /// The next bytes, and whether others follow.
    async fn frame(&mut self) -> (Bytes, bool) {
        loop {
            let rendered = match timeout(PING, self.next()).await {
                Err(_) => return (ping_frame(), true),
                Ok(Ok((choice, event))) => self.render(choice, &event),
                Ok(Err(refusal)) => Err(api_error(&refusal)),
            };
            match rendered {
                Ok(frames) if frames.is_empty() && !self.renderer.is_done() => {}
                Ok(frames) => return (frames, !self.renderer.is_done()),
                Err(error) => return (error_frame(&error), false),
            }
        }
    }

    /// The next event of any choice; may be dropped while it waits.
    async fn next(&mut self) -> Result<(usize, RoundEvent), Refusal> {
        loop {
            let event = match self.early.pop_front() {
                Some(event) => Some(event),
                None => self.receive().await,
            };
            match event {
                Some((choice, ChoiceEvent::Event(event))) => return Ok((choice, event)),
                Some((_, ChoiceEvent::Failed(refusal))) => return Err(refusal),
                Some((choice, ChoiceEvent::Decided(decided))) => {
                    self.renderer.opened(choice, decided.history as usize);
                }
                // The tasks of the choices tell how they end; without that they were cut off.
                None => return Err(Refusal::lost()),
            }
        }
    }

    /// Takes in an event of a choice; ends the choice when its text has met a stop string. Returns what is to go out.
    fn render(&mut self, choice: usize, event: &RoundEvent) -> Result<Bytes, ApiError> {
        let rendered = self.renderer.event(choice, event)?;
        if rendered.stop
            && let Some(stop) = self.stops.get(choice)
        {
            stop.cancel();
        }
        Ok(rendered.frames)
    }
}

/// A refusal as the client sees it, with the time to come again that its cause names.
fn api_error(refusal: &Refusal) -> ApiError {
    let error = if refusal.lost { ApiError::worker_lost() } else { ApiError::from(refusal.error.clone()) };
    let after = refusal.retry_after_ms.map(Duration::from_millis);
    ApiError { retry_after: error.retry_after.map(|own| after.unwrap_or(own)), ..error }
}
