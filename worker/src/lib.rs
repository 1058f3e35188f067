//! The engine worker and the scheduler sidecar.

mod certificates;
pub mod http;
pub mod openai;
pub mod process;
pub mod protocol;
mod reload;
pub mod server;
pub mod sidecar;
pub mod text;
pub mod topology;
