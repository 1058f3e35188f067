//! The record beside a model: what it is, and that it is complete.

use serde::{Deserialize, Serialize};

use crate::wanted::Wanted;

/// Version of the form below.
const FORM: u32 = 1;

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    form: u32,
    /// Whether all files are there. While they are being exchanged they are not.
    pub(crate) complete: bool,
    pub(crate) repository: String,
    /// What was asked for.
    pub(crate) revision: String,
    pub(crate) file: Option<String>,
    /// What that meant.
    pub(crate) commit: String,
    pub(crate) files: Vec<Entry>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

impl Record {
    pub(crate) fn new(wanted: &Wanted, commit: &str, files: Vec<Entry>) -> Self {
        let Wanted { repository, revision, file } = wanted.clone();
        Self { form: FORM, complete: true, repository, revision, file, commit: commit.to_owned(), files }
    }

    /// The record while its files take the places of `stale` ones.
    pub(crate) fn unfinished(&self, stale: &[Entry]) -> Self {
        let files = self.files.iter().chain(stale).cloned().collect();
        Self { complete: false, files, ..self.clone() }
    }

    /// Whether it is of the same model, at whatever commit.
    pub(crate) fn is_of(&self, wanted: &Wanted) -> bool {
        self.form == FORM && self.repository == wanted.repository && self.file == wanted.file
    }

    /// Whether it answers the same question, perhaps with the answer of an earlier day.
    pub(crate) fn answers(&self, wanted: &Wanted) -> bool {
        self.is_of(wanted) && (self.revision == wanted.revision || self.commit == wanted.revision)
    }
}
