//! A Kubernetes API within the process, for tests: it stands below [`kube::Client`], so that what runs above it is what
//! runs in a cluster.
//!
//! Objects of any kind are kept as JSON by group, resource, namespace and name. What the real API does and a controller
//! leans on is here: resource versions and conflicts, watches that break and expire, generations, finalizers, deletion of
//! what lost its owners, `status` and `scale`, and server-side apply that writes nothing where nothing changes. Faults come
//! from a closure that is asked about each request.
//!
//! Left out: schemas and defaults, admission, versions of one group that differ, pages of lists, and lists with keys other
//! than conditions, owner references and finalizers, which are merged item by item; all others are replaced as a whole.

mod access;
mod answer;
mod api;
mod apply;
mod call;
mod delete;
mod fault;
mod fields;
mod meta;
mod perform;
mod scale;
mod selector;
mod server;
mod store;
mod strategic;
mod target;
mod watch;
mod write;

pub use api::FakeApi;
pub use call::{Call, Verb};
pub use fault::Fault;
pub use store::Write;
