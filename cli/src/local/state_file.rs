//! The state file: who runs where, for scripts and tests.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::members::{Kind, Member};
use crate::cache::{self, CacheError};

/// The whole state.
#[derive(Debug, Serialize)]
pub(crate) struct State<'a> {
    /// Where clients connect.
    pub(crate) url: &'a str,
    /// Whether every process is ready.
    pub(crate) ready: bool,
    /// The folder of the run.
    pub(crate) run_dir: &'a Path,
    /// The processes.
    pub(crate) processes: Vec<Process>,
}

/// One process.
#[derive(Debug, Serialize)]
pub(crate) struct Process {
    name: String,
    role: Kind,
    pid: Option<u32>,
    control_url: Option<String>,
    public_url: Option<String>,
    internal_url: Option<String>,
    kv_addr: Option<String>,
    restarts: u32,
}

impl Process {
    /// What the file says of a member.
    pub(crate) fn new(member: &Member, pid: Option<u32>, restarts: u32) -> Self {
        let control = Some(format!("http://{}", member.control));
        let second = member.second.map(|address| address.to_string());
        let is_sidecar = member.kind == Kind::Sidecar;
        let public_url = second.as_ref().filter(|_| is_sidecar).map(|address| format!("http://{address}"));
        Self {
            name: member.name.clone(),
            role: member.kind,
            pid,
            control_url: control.clone().filter(|_| !is_sidecar),
            public_url,
            internal_url: control.filter(|_| is_sidecar),
            kv_addr: second.filter(|_| !is_sidecar),
            restarts,
        }
    }
}

/// Writes the file at every change.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: Option<PathBuf>,
    last: Vec<u8>,
    /// Whether the last write failed after others that did not.
    stale: bool,
}

impl StateFile {
    /// Writes to `path`, or nowhere.
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, last: Vec::new(), stale: false }
    }

    /// Writes `state` if it differs from what the file says. Only the first write has to succeed: clients are worth more
    /// than the file, and a later failure is given as a notice, once, and tried again.
    ///
    /// # Errors
    /// When the first write fails: the path is wrong.
    pub(crate) fn update(&mut self, state: &State<'_>) -> Result<Option<String>, CacheError> {
        let Some(path) = &self.path else { return Ok(None) };
        let text = serde_json::to_vec_pretty(state).unwrap_or_default();
        if text == self.last {
            return Ok(None);
        }
        match cache::write_atomically(path, &text) {
            Ok(()) => {
                (self.last, self.stale) = (text, false);
                Ok(None)
            }
            Err(error) if self.last.is_empty() => Err(error),
            Err(_) if self.stale => Ok(None),
            Err(error) => {
                self.stale = true;
                Ok(Some(format!("--state-file: {:#}; the service goes on", anyhow::Error::from(error))))
            }
        }
    }

    /// Removes the file: nothing runs any more.
    pub(crate) fn remove(&self) {
        // What was never written is not this run's.
        if let Some(path) = self.path.as_ref().filter(|_| !self.last.is_empty()) {
            // Somebody may have removed it already.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::members::Members;

    #[test]
    fn the_file_names_every_address_under_its_role() {
        let folder = tempfile::tempdir().unwrap();
        let members = Members::new("default", "chat", (1, 1), folder.path()).unwrap();
        let path = folder.path().join("state.json");
        let mut file = StateFile::new(Some(path.clone()));
        let processes = members.with(|list| list.iter().map(|m| Process::new(m, Some(7), 2)).collect());
        let state = State { url: "http://127.0.0.1:8000", ready: true, run_dir: folder.path(), processes };
        file.update(&state).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let [decode, prefill, sidecar] = &value["processes"].as_array().unwrap()[..] else { panic!() };
        assert_eq!((&decode["role"], &decode["name"]), (&"decode".into(), &"decode-0".into()));
        assert!(decode["control_url"].is_string() && decode["kv_addr"].is_string());
        assert!(decode["public_url"].is_null() && decode["internal_url"].is_null());
        assert!(prefill["control_url"].is_string() && prefill["kv_addr"].is_null());
        assert!(sidecar["public_url"].is_string() && sidecar["internal_url"].is_string());
        assert!(sidecar["control_url"].is_null() && sidecar["kv_addr"].is_null());
        assert_eq!(sidecar["restarts"], 2);
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn only_the_first_write_has_to_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let state = |ready| State {
            url: "http://127.0.0.1:8000",
            ready,
            run_dir: Path::new("/run"),
            processes: vec![],
        };
        let mut file = StateFile::new(Some(home.join("state.json")));
        assert!(file.update(&state(false)).is_err());
        std::fs::create_dir(&home).unwrap();
        assert_eq!(file.update(&state(false)).unwrap(), None);
        std::fs::remove_dir_all(&home).unwrap();
        let notice = file.update(&state(true)).unwrap().unwrap();
        assert!(notice.contains("--state-file") && notice.contains("state.json"), "{notice}");
        assert_eq!(file.update(&state(true)).unwrap(), None, "once is enough");
        std::fs::create_dir(&home).unwrap();
        assert_eq!(file.update(&state(true)).unwrap(), None);
        assert!(home.join("state.json").exists(), "it is written as soon as it can be");
    }
}
