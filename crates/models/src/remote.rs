//! A file at the hub before it is fetched.

use reqwest::Url;
use reqwest::header::CONTENT_LENGTH;

use crate::client::{Asked, Hub, answer, text};
use crate::digest::Promise;
use crate::retry::Failure;

/// A file at the hub.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// Its name in the repository.
    pub(crate) path: String,
    /// Its name here.
    pub(crate) name: String,
    pub(crate) url: Url,
    pub(crate) size: u64,
    pub(crate) etag: Option<String>,
}

impl Remote {
    pub(crate) fn promise(&self) -> Promise {
        Promise::of(self.etag.as_deref())
    }

    /// What tells this content from others. Of a file without a tag it is its address, which has the commit.
    pub(crate) fn identity(&self) -> &str {
        self.etag.as_deref().unwrap_or(self.url.as_str())
    }
}

impl Hub {
    /// Asks once for size and tag of a file.
    pub(crate) async fn describe(&self, commit: &str, path: &str) -> Result<Remote, Failure> {
        let repository = self.wanted.repository.split('/');
        let url = self.url(repository.chain(["resolve", commit]).chain(path.split('/')));
        let answered = self.ask(url.clone(), Asked::Description(path)).await?;
        let length = text(answered.response.headers(), CONTENT_LENGTH.as_str());
        let size = answered.size.or_else(|| length?.parse().ok());
        let size = size.ok_or_else(|| answer(&url, format!("does not tell the size of {path}")))?;
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        Ok(Remote { path: path.to_owned(), name, url, size, etag: answered.etag })
    }
}
