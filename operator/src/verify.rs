//! `--verify`: whether services would be taken up.

use std::time::Duration;

use ampd_api::AMPDService;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, ListParams};

use crate::args::Args;
use crate::calls::call;
use crate::error::chain;
use crate::run::LEASE;

/// A Lease that was renewed so long ago has no holder.
const FRESH: Duration = Duration::from_secs(30);
/// How long a replica may take to begin.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until an operator holds the Lease and the resource can be read.
///
/// # Errors
/// What is missing, for people.
pub(crate) async fn verify(client: &Client, args: &Args) -> Result<(), String> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match look(client, args).await {
            Err(_) if tokio::time::Instant::now() < until => tokio::time::sleep(Duration::from_secs(2)).await,
            result => return result,
        }
    }
}

async fn look(client: &Client, args: &Args) -> Result<(), String> {
    let leases = Api::<Lease>::namespaced(client.clone(), &args.namespace);
    let found = call("get the Lease", leases.get_opt(LEASE)).await.map_err(|error| chain(&error))?;
    let spec = found.and_then(|lease| lease.spec).unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let fresh = spec
        .renew_time
        .is_some_and(|time| jiff::Timestamp::now().duration_since(time.0).unsigned_abs() < FRESH);
    if holder.is_none() || !fresh {
        return Err(format!("no operator holds the Lease {}/{}", args.namespace, LEASE));
    }
    let services = match &args.watch_namespace {
        Some(namespace) => Api::<AMPDService>::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    call("list AMPDServices", services.list(&ListParams::default().limit(1)))
        .await
        .map_err(|error| chain(&error))?;
    Ok(())
}
