//! Requests and their answers.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HOST, LOCATION, RANGE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, response};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, http};
use serde_json::json;

use super::content::{is_large, names};
use super::{Seen, Shared, body};

/// The hub itself.
pub(super) fn hub(shared: &Arc<Shared>) -> Router {
    Router::new().fallback(at_hub).with_state(Arc::clone(shared))
}

/// The port of large files.
pub(super) fn store(shared: &Arc<Shared>) -> Router {
    Router::new().fallback(at_store).with_state(Arc::clone(shared))
}

/// An answer, or an error of the file system, which is the hub's own fault.
type Outcome = Result<Response, io::Error>;

async fn at_hub(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let request = request.into_parts().0;
    if let Some(refused) = shared.note(&request, false) {
        return refused;
    }
    let path = request.uri.path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    finish(match parts.as_slice() {
        ["api", "models", owner, name, "revision", revision] => shared.list(&[owner, name], revision),
        [owner, name, "resolve", revision, file @ ..] => {
            shared.resolve(&request, &[owner, name], revision, &file.join("/")).await
        }
        _ => Ok(refusal(404, None)),
    })
}

async fn at_store(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let request = request.into_parts().0;
    if let Some(refused) = shared.note(&request, true) {
        return refused;
    }
    let path = shared.root.join(request.uri.path().trim_start_matches('/'));
    // The store has tags of its own.
    finish(shared.content(&request, path, "store-tag").await)
}

fn finish(outcome: Outcome) -> Response {
    outcome.unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response())
}

impl Shared {
    /// Keeps a request, and tells whether it is to be refused.
    fn note(&self, request: &Parts, at_store: bool) -> Option<Response> {
        let header = |name| Some(request.headers.get(name)?.to_str().ok()?.to_owned());
        let path = request.uri.path().to_owned();
        let refused = self.faults(|faults| faults.refuse(&path));
        let seen = Seen {
            at_store,
            method: request.method.to_string(),
            path,
            range: header(RANGE),
            authorization: header(AUTHORIZATION),
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        let refused = refused?;
        let mut answer = refusal(refused.status, refused.code);
        if let Some(after) = refused.retry_after {
            answer.headers_mut().insert("retry-after", http::HeaderValue::from_static(after));
        }
        Some(answer)
    }

    /// The folder and commit of a repository, or why there is none.
    fn repository(&self, id: &[&str], revision: &str) -> io::Result<Result<(PathBuf, String), Response>> {
        let folder = self.root.join(id.join("/"));
        if !folder.is_dir() {
            return Ok(Err(refusal(404, Some("RepoNotFound"))));
        }
        let commit = self.hashes.commit(&folder)?;
        let known = revision == "main" || revision == commit;
        Ok(if known { Ok((folder, commit)) } else { Err(refusal(404, Some("RevisionNotFound"))) })
    }

    fn list(&self, id: &[&str], revision: &str) -> Outcome {
        let (folder, commit) = match self.repository(id, revision)? {
            Ok(found) => found,
            Err(refused) => return Ok(refused),
        };
        let siblings: Vec<_> = names(&folder)?.into_iter().map(|name| json!({"rfilename": name})).collect();
        Ok(axum::Json(json!({"id": id.join("/"), "sha": commit, "siblings": siblings})).into_response())
    }

    async fn resolve(&self, request: &Parts, id: &[&str], revision: &str, file: &str) -> Outcome {
        let needed = self.faults(|faults| faults.token.clone()).map(|token| format!("Bearer {token}"));
        let given = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if needed.as_deref().is_some_and(|needed| given != Some(needed)) {
            return Ok(refusal(if given.is_some() { 403 } else { 401 }, Some("GatedRepo")));
        }
        let (folder, commit) = match self.repository(id, revision)? {
            Ok(found) => found,
            Err(refused) => return Ok(refused),
        };
        let path = folder.join(file);
        if !path.is_file() {
            return Ok(refusal(404, Some("EntryNotFound")));
        }
        let tag = self.hashes.tag(&path)?;
        if !is_large(&path) {
            let mut answer = self.content(request, path, &tag).await?;
            insert(answer.headers_mut(), "x-repo-commit", &commit);
            return Ok(answer);
        }
        let host = request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let mut answer = StatusCode::FOUND.into_response();
        let location =
            format!("http://{host}:{}/{}/{file}?signature=secret", self.store.port(), id.join("/"));
        let size = std::fs::metadata(&path)?.len().to_string();
        let tag = format!("\"{tag}\"");
        for (name, value) in [
            (LOCATION.as_str(), location.as_str()),
            ("x-repo-commit", &commit),
            ("x-linked-etag", &tag),
            ("x-linked-size", &size),
        ] {
            insert(answer.headers_mut(), name, value);
        }
        Ok(answer)
    }

    /// A file, or the part of it that is asked for.
    async fn content(&self, request: &Parts, path: PathBuf, tag: &str) -> Outcome {
        let Ok(found) = std::fs::metadata(&path) else { return Ok(refusal(404, None)) };
        let size = found.len();
        let range = request.headers.get(RANGE).and_then(|range| range.to_str().ok());
        let range = range.filter(|_| !self.faults(|faults| faults.ignores_ranges));
        let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let mut answer = response::Builder::new().header(CONTENT_TYPE, "application/octet-stream");
        answer = answer.header(ETAG, format!("\"{tag}\"")).header(CONTENT_LENGTH, size - from.unwrap_or(0));
        if let Some(from) = from {
            if from >= size {
                return Ok(refusal(416, None));
            }
            answer = answer.status(StatusCode::PARTIAL_CONTENT);
            answer = answer.header(CONTENT_RANGE, format!("bytes {from}-{}/{size}", size - 1));
        }
        let body = if request.method == Method::HEAD {
            Body::empty()
        } else {
            let faults = self.faults(super::Faults::body);
            body::body(&path, from.unwrap_or(0), faults).await?
        };
        answer.body(body).map_err(io::Error::other)
    }
}

fn refusal(status: u16, code: Option<&'static str>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = status.into_response();
    if let Some(code) = code {
        insert(answer.headers_mut(), "x-error-code", code);
    }
    answer
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = http::HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
