//! Being asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `stop` at Ctrl-C, SIGTERM or the end of the terminal. A second one ends this process at once; the children
/// see that and end too.
pub(crate) fn watch(stop: CancellationToken) -> std::io::Result<()> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(|kind| signal(kind).map(|stream| (kind, stream)))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    tokio::spawn(async move {
        next(&mut signals).await;
        stop.cancel();
        let kind = next(&mut signals).await;
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

async fn next(signals: &mut [(SignalKind, Signal)]) -> SignalKind {
    let waits = signals.iter_mut().map(|(kind, stream)| {
        Box::pin(async move {
            stream.recv().await;
            *kind
        })
    });
    futures::future::select_all(waits).await.0
}
