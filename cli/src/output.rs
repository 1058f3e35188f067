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
