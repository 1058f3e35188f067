//! What a repository holds.

use serde::Deserialize;
use tokio::time::timeout;

use crate::client::{Answer, Asked, Hub, answer, host};
use crate::error::FetchError;
use crate::retry::Failure;
use crate::wanted::is_name;

/// Longest answer that is read.
const MAX_BODY: usize = 32 << 20;

/// The files of a revision.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The commit that the revision means now.
    pub(crate) commit: String,
    /// The files' names.
    pub(crate) names: Vec<String>,
}

#[derive(Deserialize)]
struct Body {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Hub {
    /// Asks once what the revision is and holds.
    pub(crate) async fn list(&self) -> Result<Listing, Failure> {
        let repository = self.wanted.repository.split('/');
        let parts = ["api", "models"].into_iter().chain(repository);
        let url = self.url(parts.chain(["revision", self.wanted.revision.as_str()]));
        let Answer { mut response, .. } = self.ask(url.clone(), Asked::Listing).await?;
        let mut body = Vec::new();
        loop {
            match timeout(self.settings.silence, response.chunk()).await {
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() > MAX_BODY => {
                    return Err(answer(&url, format!("answers with more than {MAX_BODY} bytes")).into());
                }
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    let source = error.without_url();
                    return Err(Failure::passing(FetchError::Unreachable { host: host(&url), source }));
                }
                Err(_) => return Err(self.silent(&url)),
            }
        }
        let unusable =
            |what: String| answer(&url, format!("answers something else than a list of files ({what})"));
        let body: Body = serde_json::from_slice(&body).map_err(|error| unusable(error.to_string()))?;
        if !is_name(&body.sha) {
            return Err(unusable("no commit".to_owned()).into());
        }
        let names = body.siblings.into_iter().map(|file| file.rfilename).collect();
        Ok(Listing { commit: body.sha, names })
    }
}
