//! Who is who between the processes of one service: one authority per service, one certificate per role, TLS 1.3 with
//! certificates on both sides.

mod authority;
mod config;
mod credentials;
mod files;
mod identity;
mod peer;

pub use authority::CertificateAuthority;
pub use credentials::Credentials;
pub use files::{Secret, TlsFiles};
pub use identity::{Identity, InvalidIdentity, Role};
pub use peer::{peer_uri, san_uri};

/// The DNS name in every certificate, which clients verify whatever address they connected to. Who the peer is, its SAN
/// URI says.
pub const SERVER_NAME: &str = "ampd.internal";

/// What is wrong with certificates or keys.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// A file cannot be read or written.
    #[error("{file}: {action} failed")]
    File {
        /// The file.
        file: String,
        /// What was tried.
        action: &'static str,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// A file has no certificate or no key in PEM form.
    #[error("{file} holds no valid PEM {what}")]
    Pem {
        /// The file's name.
        file: &'static str,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key cannot be used together, or not at all.
    #[error("the certificate and its key cannot be used")]
    Unusable(#[from] rustls::Error),
    /// A name that cannot be in a certificate.
    #[error("the certificate's owner")]
    Owner(#[from] InvalidIdentity),
    /// Somebody else's certificate in the place of one's own.
    #[error("the certificate is of {got} now, and was of {expected}")]
    Identity {
        /// Who it was of.
        expected: String,
        /// Who it is of.
        got: String,
    },
    /// Client certificates cannot be verified.
    #[error("client certificates cannot be verified")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A certificate without exactly one SAN URI.
    #[error("the certificate has {0} URIs as subject alternative names, expected 1")]
    NoUri(usize),
    /// The peer's certificate is missing or unreadable.
    #[error("the peer showed no readable certificate")]
    NoCertificate,
}
