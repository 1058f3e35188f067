//! Models from Hugging Face into a folder that many may share.
//!
//! [`fetch`] leaves the files that a model is loaded from and a record of what they are. It goes on where an earlier
//! process broke off, one process at a time works on a folder, and nothing gets its name before it is complete and
//! checked.

mod client;
mod digest;
mod download;
mod error;
mod fetch;
mod listing;
mod lock;
mod place;
mod record;
mod remote;
mod report;
mod retry;
mod selection;
mod settings;
mod snapshots;
mod space;
mod tls;
mod wanted;

pub use error::FetchError;
pub use fetch::{Fetched, fetch};
pub use report::{Line, Note, Pace, Progress, Report};
pub use reqwest::Url;
pub use selection::{SelectError, Selection, select};
pub use settings::{BadSetting, Settings, Token, endpoint};
pub use snapshots::Snapshots;
pub use wanted::{BadName, Wanted};
