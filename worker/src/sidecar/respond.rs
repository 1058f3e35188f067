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
use crate::openai::{ApiError, Renderer, done_frame, error_frame, ping_frame};
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
    /// Choices that have not ended.
    open: usize,
    /// Frames that are to go out.
    frames: VecDeque<Bytes>,
    _place: Place,
}

/// What comes next.
enum Next {
    Event(usize, RoundEvent),
    Failed(Refusal),
    /// All choices have ended.
    End,
}

impl Responder {
    pub(super) fn new(
        renderer: Renderer,
        events: mpsc::Receiver<(usize, ChoiceEvent)>,
        stops: Vec<CancellationToken>,
        place: Place,
    ) -> Self {
        let open = stops.len();
        let (early, frames) = (VecDeque::new(), VecDeque::new());
        Self { renderer, events, early, stops, open, frames, _place: place }
    }

    /// One answer with everything in it.
    pub(super) async fn whole(mut self, session: &str) -> Result<Response, ApiError> {
        let head = self.head(None).await?;
        loop {
            match self.next().await {
                Next::Event(choice, event) => {
                    self.render(choice, &event)?;
                    self.frames.clear();
                }
                Next::Failed(refusal) => return Err(api_error(&refusal)),
                Next::End => break,
            }
        }
        let mut response = axum::Json(self.renderer.body()).into_response();
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
                None => self.events.recv().await,
                Some(until) => match timeout_at(until, self.events.recv()).await {
                    Ok(event) => event,
                    Err(_) => return Ok(head),
                },
            };
            match event {
                Some((0, ChoiceEvent::Decided(decided))) => head.decided = Some(decided),
                Some((_, ChoiceEvent::Decided(_))) => {}
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

    /// The next frame, and whether others follow.
    async fn frame(&mut self) -> (Bytes, bool) {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return (frame, true);
            }
            let rendered = match timeout(PING, self.next()).await {
                Err(_) => return (ping_frame(), true),
                Ok(Next::Event(choice, event)) => self.render(choice, &event),
                Ok(Next::Failed(refusal)) => Err(api_error(&refusal)),
                Ok(Next::End) => return (done_frame(), false),
            };
            if let Err(error) = rendered {
                return (error_frame(&error), false);
            }
        }
    }

    async fn next(&mut self) -> Next {
        loop {
            if self.open == 0 {
                return Next::End;
            }
            let event = match self.early.pop_front() {
                Some(event) => Some(event),
                None => self.events.recv().await,
            };
            match event {
                Some((choice, ChoiceEvent::Event(event))) => return Next::Event(choice, event),
                Some((_, ChoiceEvent::Failed(refusal))) => return Next::Failed(refusal),
                Some((_, ChoiceEvent::Decided(_))) => {}
                None => return Next::Failed(Refusal::lost()),
            }
        }
    }

    /// Takes in an event of a choice; ends the choice when its text has met a stop string.
    fn render(&mut self, choice: usize, event: &RoundEvent) -> Result<(), ApiError> {
        let Some(stop) = self.stops.get(choice).filter(|stop| !stop.is_cancelled()).cloned() else {
            return Ok(());
        };
        let rendered = self.renderer.push(choice, event)?;
        self.frames.extend(rendered.frames);
        if rendered.stop || matches!(event, RoundEvent::Done(_)) {
            stop.cancel();
            self.open -= 1;
        }
        if self.open == 0 {
            self.frames.extend(self.renderer.finish());
        }
        Ok(())
    }
}

/// A refusal as the client sees it, with the time to come again that its cause names.
fn api_error(refusal: &Refusal) -> ApiError {
    let error = if refusal.lost { ApiError::worker_lost() } else { ApiError::from(refusal.error.clone()) };
    let after = refusal.retry_after_ms.map(Duration::from_millis);
    ApiError { retry_after: error.retry_after.map(|own| after.unwrap_or(own)), ..error }
}
