//! Taking a port, and the rule that plain HTTP stays on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How often a port that is in use is tried. Whoever reserved it for this process may have forked others meanwhile, which hold it
/// until they have started their own programs.
const TRIES: usize = 10;
/// Time between two tries.
const BETWEEN: Duration = Duration::from_millis(50);

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error("{flag} {address}: the port is in use")]
    InUse {
        /// The flag that names the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Something else keeps the address from being used.
    #[error("{flag} {address}: cannot listen")]
    Listen {
        /// The flag that names the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// Others could reach a server that does not protect itself.
    #[error("{flag} {address} can be reached from other machines, which needs {needs}")]
    Unprotected {
        /// The flag that names the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// The flag that protects it.
        needs: &'static str,
    },
}

/// Listens on `address`, which came from `flag`. The port can be taken again right after a restart; one in use is waited for a
/// moment.
///
/// # Errors
/// `InUse`, or whatever else keeps the address from being used.
pub async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    for attempt in 1..=TRIES {
        match bound(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                if attempt < TRIES {
                    tokio::time::sleep(BETWEEN).await;
                }
            }
            Err(source) => return Err(ListenError::Listen { flag, address, source }),
            Ok(listener) => return Ok(listener),
        }
    }
    Err(ListenError::InUse { flag, address })
}

fn bound(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Refuses an address beyond loopback unless it is `protected`, by what the flag `needs` names.
///
/// # Errors
/// `Unprotected`.
pub fn require_tls(
    flag: &'static str,
    address: SocketAddr,
    protected: bool,
    needs: &'static str,
) -> Result<(), ListenError> {
    if protected || address.ip().is_loopback() {
        Ok(())
    } else {
        Err(ListenError::Unprotected { flag, address, needs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_said_with_its_flag() {
        let first = listen("--listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = listen("--listen", first.local_addr().unwrap()).await.unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        assert!(error.to_string().starts_with("--listen 127.0.0.1:"));
    }

    #[tokio::test]
    async fn a_port_that_becomes_free_is_taken() {
        let first = listen("--listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let let_go = async {
            tokio::time::sleep(BETWEEN).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(listen("--listen", address), let_go);
        assert_eq!(second.unwrap().local_addr().unwrap(), address);
    }

    #[test]
    fn plain_servers_stay_on_loopback() {
        let check = |address: &str, protected| {
            require_tls("--listen", address.parse().unwrap(), protected, "--tls-dir").is_ok()
        };
        assert!(check("127.0.0.1:1", false) && check("[::1]:1", false) && check("0.0.0.0:1", true));
        assert!(!check("0.0.0.0:1", false) && !check("10.0.0.1:1", false));
    }
}
