//! Certificates in a folder: `ca.pem`, `cert.pem`, `key.pem`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::TlsError;

/// No certificate or key is anywhere near this long.
const MAX_FILE_BYTES: u64 = 1 << 20;

const CA: &str = "ca.pem";
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";

/// One role's certificate with what it needs, in PEM form.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority's certificate.
    pub ca_pem: String,
    /// The role's certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: Secret,
}

/// A private key in PEM form, which is not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The key, for whoever stores it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(pem: String) -> Self {
        Self(pem)
    }
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Reads `ca.pem`, `cert.pem` and `key.pem` of a folder.
    ///
    /// # Errors
    /// When a file is missing, unreadable or too long.
    pub fn read(folder: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            ca_pem: read(&folder.join(CA))?,
            cert_pem: read(&folder.join(CERT))?,
            key_pem: read(&folder.join(KEY))?.into(),
        })
    }

    /// Writes the three files into a folder, which must exist. Only the owner can read the key.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), TlsError> {
        write(&folder.join(CA), &self.ca_pem, 0o644)?;
        write(&folder.join(CERT), &self.cert_pem, 0o644)?;
        write(&folder.join(KEY), self.key_pem.reveal(), 0o600)
    }
}

fn failed(file: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> TlsError {
    move |source| TlsError::File { file: file.display().to_string(), action, source }
}

fn read(file: &Path) -> Result<String, TlsError> {
    let mut text = String::new();
    let read = File::open(file).and_then(|opened| opened.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    let length = read.map_err(failed(file, "reading"))? as u64;
    if length > MAX_FILE_BYTES {
        let source = std::io::Error::other(format!("it is longer than {MAX_FILE_BYTES} bytes"));
        return Err(failed(file, "reading")(source));
    }
    Ok(text)
}

/// Replaces the file as a whole, so that a reader never sees half of it and the mode holds from the first byte.
fn write(file: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let new = file.with_extension("pem.new");
    let written = || {
        // A leftover may have another mode.
        if let Err(error) = std::fs::remove_file(&new)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        opened.write_all(text.as_bytes())?;
        std::fs::rename(&new, file)
    };
    written().map_err(failed(file, "writing"))
}
