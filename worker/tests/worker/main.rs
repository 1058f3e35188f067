//! The worker from outside: its two planes, its process, and the fetching of models.

mod fallback;
mod http;
mod model_fetch;
mod moves;
mod process;
mod refusals;
mod rounds;
mod worker_support;
