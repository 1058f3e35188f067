//! A client of the OpenAI API.

use std::net::SocketAddr;

use futures::StreamExt;
use http::HeaderMap;
use serde_json::{Value, json};

use super::PATIENCE;

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// An answer as a whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect(&self.text)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The events of a stream, without comments.
    pub fn events(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }

    pub fn content(&self) -> String {
        let json = self.json();
        json["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }

    pub fn cached(&self) -> u64 {
        self.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0)
    }

    pub fn prompt(&self) -> u64 {
        self.json()["usage"]["prompt_tokens"].as_u64().unwrap_or(0)
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { http: ampd_worker::protocol::http_client(None).unwrap(), base: format!("http://{address}") }
    }

    pub async fn get(&self, path: &str) -> Answer {
        match self.http.get(format!("{}{path}", self.base)).timeout(PATIENCE).send().await {
            Ok(response) => whole(response).await,
            Err(error) => Answer { status: 0, headers: HeaderMap::new(), text: error.to_string() },
        }
    }

    pub fn request(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .timeout(PATIENCE)
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        whole(self.request(path, headers, body.to_string().into_bytes()).send().await.unwrap()).await
    }

    pub async fn raw(&self, path: &str, body: &[u8]) -> Answer {
        whole(self.request(path, &[], body.to_vec()).send().await.unwrap()).await
    }

    /// One round of chat in a session.
    pub async fn chat(&self, session: &str, messages: &[Value], more: Value) -> Answer {
        let mut body = json!({"model": "tiny", "messages": messages, "max_tokens": 8, "temperature": 0, "ignore_eos": true});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.post("/v1/chat/completions", &[("x-session-id", session)], &body).await
    }

    /// Sends a streaming round and reads until `enough` says so; then the client is gone.
    pub async fn stream_until(&self, session: &str, body: &Value, enough: impl Fn(&str) -> bool) -> String {
        let request =
            self.request("/v1/chat/completions", &[("x-session-id", session)], body.to_string().into_bytes());
        // A chunk may end within a character.
        let mut bytes = Vec::new();
        let mut stream = request.send().await.unwrap().bytes_stream();
        while let Some(chunk) = stream.next().await {
            bytes.extend(chunk.unwrap());
            if enough(&String::from_utf8_lossy(&bytes)) {
                break;
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub async fn whole(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap_or_else(|error| format!("cut: {error}")) }
}

pub fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

pub fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}
