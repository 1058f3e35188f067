//! A whole server session on what arbitrary bytes describe.

#![no_main]

#[path = "../../tests/kv/common/entry.rs"]
#[allow(dead_code)]
mod entry;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ampd_kv::tls::{CertificateAuthority, Identity, Role};

/// A server has TLS settings; the session under test runs on a stream in memory and makes no use of them.
static TLS: LazyLock<Arc<rustls::ServerConfig>> = LazyLock::new(|| {
    let authority = CertificateAuthority::new("fuzz", Duration::from_secs(3600)).expect("an authority");
    let identity = Identity::new("fuzz", "kv", Role::Decode).expect("an identity");
    Arc::new(authority.issue(&identity).and_then(|files| files.server_config()).expect("a certificate"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::session(&TLS, data));
