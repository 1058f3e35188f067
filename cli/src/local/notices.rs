//! What happened, for the person at the terminal.

use tokio::sync::mpsc;

/// Notices that may wait to be shown.
const WAITING: usize = 256;

/// Takes notices; clones share one queue.
#[derive(Debug, Clone)]
pub(crate) struct Notices(mpsc::Sender<String>);

impl Notices {
    /// A queue and its end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Tells something. A notice that finds the queue full is dropped: nobody could read that many.
    pub(crate) fn say(&self, text: String) {
        let _ = self.0.try_send(text);
    }
}
