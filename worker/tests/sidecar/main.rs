//! The sidecar with real workers behind it.

mod cluster;
mod contexts;
mod drain;
mod faults;
mod http;
mod kubernetes;
mod moves;
mod overload;
mod rounds;
mod slices;
mod text;
mod tls;
