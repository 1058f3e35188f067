//! What goes wrong with a request.

use std::time::Duration;

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing unusual.
    Pass,
    /// It is refused with this status code and reason, and changes nothing.
    Fail(u16, &'static str),
    /// It is answered with what is no answer, and changes nothing.
    Garbage,
    /// The connection breaks before it arrives.
    DropBefore,
    /// It is carried out, and the connection breaks before its answer.
    CommitThenDrop,
    /// It arrives later, even when its client has stopped waiting by then.
    Delay(Duration),
    /// It never arrives, and no answer ever comes.
    Hang,
}
