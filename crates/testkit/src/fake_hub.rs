//! A stand-in for Hugging Face: a folder of repositories behind the hub's addresses, with large files on another port, and
//! faults at will.
//!
//! `FOLDER/organisation/name/...` are the files of a repository. It has one branch, `main`, and one commit, which follows
//! from the files: changing one makes another commit. A file `.commit` names it instead.

mod answers;
mod body;
mod content;
mod faults;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use content::{commit, is_large};
pub use faults::{Faults, Refusal};

/// A running hub. Dropping it ends it and every download from it.
#[derive(Debug)]
pub struct FakeHub {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether it came to the port of large files.
    pub at_store: bool,
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path.
    pub path: String,
    /// The header `range`.
    pub range: Option<String>,
    /// The header `authorization`.
    pub authorization: Option<String>,
}

/// What both ports share.
#[derive(Debug)]
struct Shared {
    root: PathBuf,
    store: SocketAddr,
    faults: Mutex<Faults>,
    seen: Mutex<Vec<Seen>>,
    hashes: content::Hashes,
}

impl Shared {
    /// Changes the faults, or reads them.
    fn faults<T>(&self, act: impl FnOnce(&mut Faults) -> T) -> T {
        act(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl FakeHub {
    /// Serves `folder` on a free loopback port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(folder: &Path) -> io::Result<Self> {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).await?, folder).await
    }

    /// Serves `folder` on `listener`, and its large files on another port of the same address.
    ///
    /// # Errors
    /// When that port cannot be had.
    pub async fn on(listener: TcpListener, folder: &Path) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let store = TcpListener::bind((address.ip(), 0)).await?;
        let shared = Arc::new(Shared {
            root: folder.into(),
            store: store.local_addr()?,
            faults: Mutex::default(),
            seen: Mutex::default(),
            hashes: content::Hashes::default(),
        });
        let stop = CancellationToken::new();
        for (listener, router) in [(listener, answers::hub(&shared)), (store, answers::store(&shared))] {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    // It goes on for ever.
                    _ = axum::serve(listener, router) => {}
                }
            });
        }
        Ok(Self { address, shared, _stop: stop.drop_guard() })
    }

    /// Its address, for `HF_ENDPOINT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the faults of what is asked from now on.
    pub fn set(&self, faults: Faults) {
        self.shared.faults(|current| *current = faults);
    }

    /// The requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves `folder` on `listener` for as long as this is polled.
///
/// # Errors
/// When the port of large files cannot be had.
pub async fn serve(listener: TcpListener, folder: &Path) -> io::Result<()> {
    let _hub = FakeHub::on(listener, folder).await?;
    std::future::pending().await
}
