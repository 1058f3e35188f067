//! Loopback ports for servers under test.

use std::net::SocketAddr;

use ampd_ports::{Reserved, reserve};

/// Ports that were free a moment ago. All are held until the last is known, so that none is given twice.
///
/// # Errors
/// When none can be had.
pub fn free_ports(count: usize) -> std::io::Result<Vec<SocketAddr>> {
    let held: Result<Vec<Reserved>, _> = (0..count).map(|_| reserve()).collect();
    Ok(held?.iter().map(Reserved::address).collect())
}

/// One such port.
///
/// # Errors
/// When none can be had.
pub fn free_port() -> std::io::Result<SocketAddr> {
    Ok(reserve()?.address())
}
