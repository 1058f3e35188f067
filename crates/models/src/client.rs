//! Requests to the hub and to where it sends for files.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, ETAG, HeaderMap, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::time::timeout;

use crate::error::FetchError;
use crate::retry::Failure;
use crate::settings::Settings;
use crate::tls;
use crate::wanted::Wanted;

/// How often one request may be sent elsewhere.
const MAX_REDIRECTS: usize = 10;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(15);

/// The hub, asked for one repository.
pub(crate) struct Hub {
    http: Client,
    pub(crate) settings: Settings,
    pub(crate) wanted: Wanted,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// The files of the revision.
    Listing,
    /// Size and identity of a file.
    Description(&'a str),
    /// A file from this byte on.
    Content(&'a str, u64),
}

/// An answer, and what the hub itself said of the file before it sent elsewhere for it.
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) etag: Option<String>,
    pub(crate) size: Option<u64>,
}

impl Hub {
    pub(crate) fn new(wanted: Wanted, settings: Settings) -> Result<Self, FetchError> {
        let more = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
        let http = Client::builder()
            .tls_backend_preconfigured(tls::config(more.as_ref().map(std::path::Path::new))?)
            // Redirects are followed here: the token must not go along.
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .connect_timeout(CONNECT)
            .user_agent(concat!("ampd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(FetchError::Client)?;
        Ok(Self { http, settings, wanted })
    }

    /// An address at the hub. Each part is one segment whatever it holds.
    pub(crate) fn url<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.settings.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(parts);
        }
        url
    }

    /// Asks once, following redirects. An answer that refuses is a failure.
    pub(crate) async fn ask(&self, mut url: Url, asked: Asked<'_>) -> Result<Answer, Failure> {
        let (mut etag, mut size) = (None, None);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(url.clone(), asked).await?;
            let headers = response.headers();
            if self.is_hub(&url) {
                etag = etag.or_else(|| text(headers, "x-linked-etag").map(bare_etag));
                size = size.or_else(|| text(headers, "x-linked-size")?.parse().ok());
            }
            let known = etag.is_some() && size.is_some() && matches!(asked, Asked::Description(_));
            let status = response.status();
            if status.is_success() || (status.is_redirection() && known) {
                if etag.is_none() && self.is_hub(&url) {
                    etag = text(headers, ETAG.as_str()).map(bare_etag);
                }
                return Ok(Answer { response, etag, size });
            }
            if !status.is_redirection() {
                return Err(self.refusal(&url, &response, asked));
            }
            url = next(&url, &response)?;
        }
        Err(answer(&url, format!("sends on more than {MAX_REDIRECTS} times")).into())
    }

    async fn send(&self, url: Url, asked: Asked<'_>) -> Result<Response, Failure> {
        let host = host(&url);
        let method = if matches!(asked, Asked::Description(_)) { Method::HEAD } else { Method::GET };
        let mut request = self.http.request(method, url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(token) = self.settings.token.as_ref().filter(|_| self.is_hub(&url)) {
            request = request.header(AUTHORIZATION, token.0.clone());
        }
        if let Asked::Content(_, from @ 1..) = asked {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        match timeout(self.settings.silence, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            // Addresses of files carry signatures, which are nobody's business.
            Ok(Err(error)) => {
                let source = error.without_url();
                Err(Failure::passing(FetchError::Unreachable { host, source }))
            }
            Err(_) => Err(self.silent(&url)),
        }
    }

    /// The failure of a host that says nothing any more.
    pub(crate) fn silent(&self, url: &Url) -> Failure {
        let seconds = self.settings.silence.as_secs();
        Failure::passing(FetchError::Silent { host: host(url), seconds })
    }

    /// Whether an address is the hub's own.
    fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.settings.endpoint.origin()
    }

    fn refusal(&self, url: &Url, response: &Response, asked: Asked<'_>) -> Failure {
        let (status, host) = (response.status(), host(url));
        let again = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        if again || status.is_server_error() {
            let told = text(response.headers(), RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
            let error = FetchError::Status { host, status: status.as_u16() };
            return Failure::passing(error).told(told.map(Duration::from_secs));
        }
        let Wanted { repository, revision, .. } = self.wanted.clone();
        let endpoint = self.settings.endpoint.as_str().trim_end_matches('/').to_owned();
        let code = text(response.headers(), "x-error-code").unwrap_or_default();
        let error = match (status, code, asked) {
            // The hub tells strangers of a repository that is not there what it tells them of a private one. Away from
            // the hub a refusal is that of an address whose time has run out.
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, ..) if self.is_hub(url) => {
                let has_token = self.settings.token.is_some();
                FetchError::Refused { endpoint, repository, status: status.as_u16(), has_token }
            }
            (StatusCode::NOT_FOUND, "RepoNotFound", _) => FetchError::NoRepository { endpoint, repository },
            (StatusCode::NOT_FOUND, "RevisionNotFound", _) | (StatusCode::NOT_FOUND, _, Asked::Listing) => {
                FetchError::NoRevision { repository, revision }
            }
            (StatusCode::NOT_FOUND, _, Asked::Description(file) | Asked::Content(file, _)) => {
                FetchError::NoFile { repository, revision, file: file.to_owned() }
            }
            _ => return Failure::passing(FetchError::Status { host, status: status.as_u16() }),
        };
        error.into()
    }
}

/// Where an answer sends on.
fn next(url: &Url, response: &Response) -> Result<Url, FetchError> {
    let to = text(response.headers(), LOCATION.as_str()).and_then(|to| url.join(to).ok());
    let to = to.ok_or_else(|| answer(url, "sends on and does not say where".to_owned()))?;
    match (url.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(to),
        (_, scheme) => Err(answer(url, format!("sends on to an address of {scheme}, which is not followed"))),
    }
}

/// An answer that makes no sense.
pub(crate) fn answer(url: &Url, what: String) -> FetchError {
    FetchError::Answer { host: host(url), what }
}

/// Who answers at an address.
pub(crate) fn host(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// A header that is there and is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn bare_etag(text: &str) -> String {
    text.trim_start_matches("W/").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment_and_a_mirrors_path_stays_before_it() {
        let settings = Settings::new(crate::endpoint("http://hub/mirror/").unwrap(), None);
        let wanted = Wanted::new("a/b", "refs/pr/1", None).unwrap();
        let hub = Hub::new(wanted, settings).unwrap();
        let url = hub.url(["api", "models", "a", "b", "revision", "refs/pr/1"]);
        assert_eq!(url.as_str(), "http://hub/mirror/api/models/a/b/revision/refs%2Fpr%2F1");
    }

    #[test]
    fn tags_are_compared_without_their_quotes() {
        assert_eq!((bare_etag("\"ab\""), bare_etag("W/\"ab\"")), ("ab".into(), "ab".into()));
    }
}
