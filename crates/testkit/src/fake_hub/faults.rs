//! What goes wrong.

/// What goes wrong; by default nothing. Counts go down as they act.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Answers that refuse.
    pub refusal: Option<Refusal>,
    /// Who may ask for files: all when absent. Others are told that the repository is gated.
    pub token: Option<String>,
    /// Bodies that end after so many bytes, and how many.
    pub cut: Option<(u64, u32)>,
    /// Bodies after whose so many bytes nothing comes any more, and how many.
    pub stall: Option<(u64, u32)>,
    /// Bodies whose first byte is another.
    pub corrupt: u32,
    /// Speed of a body.
    pub bytes_per_second: Option<u64>,
    /// Whether requests for a part get the whole.
    pub ignores_ranges: bool,
}

/// An answer that refuses.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// A part of the path that is refused.
    pub path: String,
    /// The status.
    pub status: u16,
    /// The header `x-error-code`.
    pub code: Option<&'static str>,
    /// The header `retry-after`.
    pub retry_after: Option<&'static str>,
    /// How many.
    pub times: u32,
}

impl Refusal {
    /// Refuses `times` requests whose path contains `path`.
    #[must_use]
    pub fn new(path: &str, status: u16, times: u32) -> Self {
        Self { path: path.to_owned(), status, code: None, retry_after: None, times }
    }
}

/// What goes wrong with one body.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BodyFaults {
    pub(super) cut: Option<u64>,
    pub(super) stall: Option<u64>,
    pub(super) corrupt: bool,
    pub(super) bytes_per_second: Option<u64>,
}

impl Faults {
    /// The refusal of a request to `path`.
    pub(super) fn refuse(&mut self, path: &str) -> Option<Refusal> {
        let refusal = self.refusal.as_mut().filter(|refusal| path.contains(&refusal.path))?;
        refusal.times = refusal.times.checked_sub(1)?;
        Some(refusal.clone())
    }

    /// The faults of the next body.
    pub(super) fn body(&mut self) -> BodyFaults {
        let take = |fault: &mut Option<(u64, u32)>| {
            let (after, times) = fault.as_mut()?;
            *times = times.checked_sub(1)?;
            Some(*after)
        };
        let corrupt = self.corrupt > 0;
        self.corrupt = self.corrupt.saturating_sub(1);
        BodyFaults {
            cut: take(&mut self.cut),
            stall: take(&mut self.stall),
            corrupt,
            bytes_per_second: self.bytes_per_second,
        }
    }
}
