//! Calls to the API server: each has a deadline, and each error its kind.

use std::time::Duration;

use crate::error::ReconcileError;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for the answer to `action`.
///
/// # Errors
/// What the API server says, or its silence.
pub(crate) async fn call<T>(
    action: impl Into<String>,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ReconcileError> {
    let action = action.into();
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ReconcileError::of(action, error)),
        Err(_) => Err(ReconcileError::ApiTimeout { action, within: DEADLINE }),
    }
}
