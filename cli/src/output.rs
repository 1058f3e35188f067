//! Standard output of the commands that print and end.

use std::io::{self, Write as _};

/// Prints `text` as it is. A reader that has gone away has seen enough: the command ends as if all had been read.
///
/// # Errors
/// When it cannot be written for another reason, such as a full disk.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Documents of YAML, one after the other.
///
/// # Errors
/// When one of them cannot be written as YAML.
pub(crate) fn yaml<T: serde::Serialize>(objects: &[T]) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        // Through JSON: what Kubernetes reads has no other types.
        text.push_str(&serde_saphyr::to_string(&serde_json::to_value(object)?)?);
    }
    Ok(text)
}
