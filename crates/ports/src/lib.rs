//! Free ports on loopback, for servers that are told where to listen.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Lowest port that is tried.
const LOWEST: u16 = 10_000;
/// Where the range of outgoing connections starts, where the kernel does not say.
const USUAL_OUTGOING: u16 = 32_768;
/// Ports tried before the kernel chooses one.
const TRIES: usize = 64;

/// A port that nobody else gets while this lives. It is let go right before the child that listens on it starts.
#[derive(Debug)]
pub struct Reserved {
    /// Holds the port.
    _listener: TcpListener,
    address: SocketAddr,
}

impl Reserved {
    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Reserves a port below the range of outgoing connections, so that none of those takes it when it is let go.
///
/// # Errors
/// When none can be had.
pub fn reserve() -> io::Result<Reserved> {
    let top = first_outgoing_port();
    if top > LOWEST {
        let random = RandomState::new();
        for attempt in 0..TRIES {
            let port = LOWEST + (random.hash_one(attempt) % u64::from(top - LOWEST)) as u16;
            if let Ok(reserved) = bind(port) {
                return Ok(reserved);
            }
        }
    }
    bind(0)
}

fn bind(port: u16) -> io::Result<Reserved> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let address = listener.local_addr()?;
    Ok(Reserved { _listener: listener, address })
}

fn first_outgoing_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(USUAL_OUTGOING)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn reserved_ports_differ_and_can_be_listened_on_once_let_go() {
        let reserved: Vec<Reserved> = (0..50).map(|_| reserve().unwrap()).collect();
        let addresses: HashSet<SocketAddr> = reserved.iter().map(Reserved::address).collect();
        assert_eq!(addresses.len(), 50);
        assert!(TcpListener::bind(reserved[0].address()).is_err(), "nobody else gets it meanwhile");
        drop(reserved);
        assert!(addresses.iter().all(|address| TcpListener::bind(address).is_ok()));
    }
}
