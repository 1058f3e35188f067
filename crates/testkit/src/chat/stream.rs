//! Reading server-sent events of a chat completion.

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BytesMut};
use serde_json::Value;

use super::answer::{Answer, Usage};

/// Longest event, bytes.
const MAX_EVENT: usize = 1 << 20;

/// The data of events, one after the other.
struct Events {
    response: reqwest::Response,
    buffer: BytesMut,
}

impl Events {
    fn new(response: reqwest::Response) -> Self {
        Self { response, buffer: BytesMut::new() }
    }

    /// The data of the next event; `None` at the end. Comments are skipped.
    async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event = String::from_utf8(self.buffer.split_to(end).to_vec())?;
                self.buffer.advance(2);
                let data: Vec<_> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                match data.as_slice() {
                    [] => {}
                    [data] => return Ok(Some((*data).to_owned())),
                    _ => bail!("an event of several lines: {event:?}"),
                }
                continue;
            }
            ensure!(self.buffer.len() < MAX_EVENT, "an event exceeds {MAX_EVENT} bytes");
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => bail!("the stream ends within an event: {:?}", self.buffer),
            }
        }
    }
}

/// Reads a whole answer.
pub(super) async fn read(response: reqwest::Response, start: Instant) -> anyhow::Result<Answer> {
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()));
    let mut answer =
        Answer { status: response.status().as_u16(), headers: headers.collect(), ..Answer::default() };
    if answer.status != 200 {
        let body: Value = response.json().await.context("an error that is not JSON")?;
        answer.error = Some(body["error"].clone());
        answer.total = start.elapsed();
        return Ok(answer);
    }
    ensure!(answer.header("content-type").starts_with("text/event-stream"), "not a stream: {answer:?}");
    let mut events = Events::new(response);
    while let Some(data) = events.next().await? {
        ensure!(!answer.done, "an event after the end: {data}");
        if data == "[DONE]" {
            answer.done = true;
        } else {
            take(&mut answer, &serde_json::from_str(&data).with_context(|| data.clone())?, start)?;
        }
    }
    answer.total = start.elapsed();
    Ok(answer)
}

fn take(answer: &mut Answer, event: &Value, start: Instant) -> anyhow::Result<()> {
    if let Some(error) = event.get("error") {
        answer.error = Some(error.clone());
        return Ok(());
    }
    ensure!(event["object"] == "chat.completion.chunk", "not a chunk: {event}");
    if !event["usage"].is_null() {
        let usage = Usage::read(&event["usage"]).with_context(|| format!("usage of {event}"))?;
        ensure!(answer.usage.replace(usage).is_none(), "usage twice");
    }
    let choice = &event["choices"][0];
    if let Some(text) = choice["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
        ensure!(answer.finish_reason.is_none(), "text after the finish reason");
        answer.first.get_or_insert_with(|| start.elapsed());
        answer.text.push_str(text);
    }
    if let Some(reason) = choice["finish_reason"].as_str() {
        ensure!(answer.finish_reason.replace(reason.into()).is_none(), "two finish reasons");
    }
    Ok(())
}

/// Reads until `chunks` parts of text were there, then drops the connection.
pub(super) async fn read_some(response: reqwest::Response, chunks: usize) -> anyhow::Result<usize> {
    let mut events = Events::new(response);
    let mut seen = 0;
    while seen < chunks {
        let Some(data) = events.next().await? else { break };
        seen += usize::from(data.contains("\"content\":\"") && !data.contains("\"content\":\"\""));
    }
    Ok(seen)
}
