//! How the hub is asked.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::snapshots::Snapshots;

/// Where Hugging Face is.
const HUGGING_FACE: &str = "https://huggingface.co";

/// How the hub is asked, and how patiently.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hub's address.
    pub endpoint: Url,
    /// Who asks.
    pub token: Option<Token>,
    /// Tries of one request that bring nothing, until it is given up.
    pub attempts: u32,
    /// The pause before the second try; each further one is about twice as long.
    pub pause: Duration,
    /// The longest pause of this side's choice.
    pub longest_pause: Duration,
    /// Longest silence of the hub, within a download too.
    pub silence: Duration,
    /// How long another process that works on the same folder is waited for.
    pub lock_wait: Duration,
    /// What another cache holds of the repository: where that is all, nothing is fetched.
    pub snapshots: Option<Snapshots>,
}

impl Settings {
    /// The usual patience with the hub at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Url, token: Option<Token>) -> Self {
        Self {
            endpoint,
            token,
            attempts: 6,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            silence: Duration::from_mins(1),
            lock_wait: Duration::from_hours(1),
            snapshots: None,
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSetting {
    /// Not an address.
    #[error("{0:?} is not an address of a hub, such as {HUGGING_FACE}")]
    Endpoint(String),
    /// Not a token.
    #[error("the token is empty or has characters that no token has")]
    Token,
}

/// Reads the address of a hub; an empty text means Hugging Face itself.
///
/// # Errors
/// When it is not an http or https address.
pub fn endpoint(text: &str) -> Result<Url, BadSetting> {
    let bad = || BadSetting::Endpoint(text.to_owned());
    let text = if text.is_empty() { HUGGING_FACE } else { text };
    let url = Url::parse(text).map_err(|_| bad())?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(bad()) }
}

/// A secret that the hub knows its user by. It is never written anywhere.
#[derive(Debug, Clone)]
pub struct Token(pub(crate) HeaderValue);

impl Token {
    /// A token as a file or variable holds it; white space around it is not part of it.
    ///
    /// # Errors
    /// When it is empty or cannot be sent.
    pub fn new(text: &str) -> Result<Self, BadSetting> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BadSetting::Token);
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| BadSetting::Token)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::new(" hf_secret\n").unwrap();
        assert_eq!(token.0.to_str().unwrap(), "Bearer hf_secret");
        let settings = Settings::new(endpoint("").unwrap(), Some(token));
        assert!(!format!("{settings:?}").contains("hf_secret"));
        assert!(Token::new(" \n").is_err() && Token::new("a\nb").is_err());
    }

    #[test]
    fn only_web_addresses_are_hubs() {
        assert_eq!(endpoint("").unwrap().as_str(), "https://huggingface.co/");
        assert_eq!(endpoint("http://hub:8080/mirror").unwrap().path(), "/mirror");
        for text in ["hub", "ftp://hub", "file:///hub", "hub:80"] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }
}
