//! Loopback ports for servers that are told where to listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::RngExt as _;

/// Below what kernels give to outgoing connections and to whoever asks for any port: nobody else gets these by chance while
/// the server that they are for starts.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// Ports tried for one that is free.
const TRIES: usize = 64;

/// Ports that were free a moment ago. All are held until the last is known, so that none is given twice.
///
/// # Errors
/// When none can be had.
pub fn free_ports(count: usize) -> std::io::Result<Vec<SocketAddr>> {
    let held: Result<Vec<_>, _> = (0..count).map(|_| listen()).collect();
    held?.iter().map(TcpListener::local_addr).collect()
}

/// One such port.
///
/// # Errors
/// When none can be had.
pub fn free_port() -> std::io::Result<SocketAddr> {
    listen()?.local_addr()
}

fn listen() -> std::io::Result<TcpListener> {
    let mut random = rand::rng();
    let mut tries = (0..TRIES).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, random.random_range(PORTS))));
    tries.find_map(Result::ok).map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let ports = free_ports(50).unwrap();
        assert_eq!(ports.iter().collect::<std::collections::HashSet<_>>().len(), 50);
        assert!(ports.iter().all(|port| TcpListener::bind(port).is_ok()));
    }
}
