//! On a real Kubernetes: its node, the operator and the services that it makes, and the chart.

use tokio::sync::Mutex;

mod chart;
mod node;
mod service;

/// One test at a time: they have several engines each and machines are small, and they count on the node's accelerators
/// and on the operator.
static ONE: Mutex<()> = Mutex::const_new(());
