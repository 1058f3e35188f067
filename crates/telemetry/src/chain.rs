//! Errors as text.

/// An error with everything that led to it, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        // Some errors of libraries repeat what their source says.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[test]
    fn all_causes_are_told_once() {
        let cause = || std::io::Error::other("no room");
        assert_eq!(chain(&Outer("cannot write", cause())), "cannot write: no room");
        assert_eq!(chain(&Outer("cannot write: no room", cause())), "cannot write: no room");
        assert_eq!(chain(&cause()), "no room");
    }
}
