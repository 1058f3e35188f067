//! The processes of one local service and their addresses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ampd_ports::{Reserved, reserve};
use ampd_worker::topology::{DecodeMember, PrefillMember, Topology};

use crate::cache;

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A prefill worker.
    Prefill,
    /// A decode worker.
    Decode,
    /// The scheduler beside a decode worker.
    Sidecar,
}

impl Kind {
    /// As it is written in names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Sidecar => "sidecar",
        }
    }
}

/// Where one process listens.
#[derive(Debug)]
pub(crate) struct Member {
    /// `decode-0` and so on; `sidecar-N` belongs to `decode-N`.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) kind: Kind,
    /// Its number among its kind.
    pub(crate) index: usize,
    /// A worker's control API; a sidecar's internal listener.
    pub(crate) control: SocketAddr,
    /// A decode worker's KV port; a sidecar's public port; none of a prefill worker.
    pub(crate) second: Option<SocketAddr>,
    reserved: Vec<Reserved>,
}

impl Member {
    fn new(kind: Kind, index: usize) -> std::io::Result<Self> {
        let control = reserve()?;
        let second = if kind == Kind::Prefill { None } else { Some(reserve()?) };
        Ok(Self {
            name: format!("{}-{index}", kind.as_str()),
            kind,
            index,
            control: control.address(),
            second: second.as_ref().map(Reserved::address),
            reserved: std::iter::once(control).chain(second).collect(),
        })
    }
}

/// All processes, with the topology file that they read.
#[derive(Debug)]
pub(crate) struct Members {
    namespace: String,
    service: String,
    path: PathBuf,
    list: Mutex<Vec<Member>>,
}

impl Members {
    /// Reserves ports for all processes, decode workers first, and writes the topology into `folder`.
    pub(crate) fn new(
        namespace: &str,
        service: &str,
        (decode, prefill): (usize, usize),
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let kinds = [(Kind::Decode, decode), (Kind::Prefill, prefill), (Kind::Sidecar, decode)];
        let all = kinds.into_iter().flat_map(|(kind, count)| (0..count).map(move |index| (kind, index)));
        let list = all.map(|(kind, index)| Member::new(kind, index)).collect::<Result<Vec<_>, _>>()?;
        let members = Self {
            namespace: namespace.into(),
            service: service.into(),
            path: folder.join("topology.json"),
            list: Mutex::new(list),
        };
        members.write_topology()?;
        Ok(members)
    }

    /// The topology file.
    pub(crate) fn topology_path(&self) -> &Path {
        &self.path
    }

    /// Reads something of all members.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&[Member]) -> T) -> T {
        read(&self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the ports of member `index` go, for its process to take them.
    pub(crate) fn let_go(&self, index: usize) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = list.get_mut(index) {
            member.reserved.clear();
        }
    }

    /// Gives member `index` other ports, because one of its own was taken, and tells the others by the topology.
    pub(crate) fn move_ports(&self, index: usize) -> anyhow::Result<()> {
        {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(member) = list.get_mut(index) {
                *member = Member::new(member.kind, member.index)?;
            }
        }
        self.write_topology()
    }

    fn write_topology(&self) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(&self.topology())?;
        Ok(cache::write_atomically(&self.path, &text)?)
    }

    fn topology(&self) -> Topology {
        let url = |address: SocketAddr| format!("http://{address}");
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |kind| list.iter().filter(move |member| member.kind == kind);
        let decode = of(Kind::Decode).zip(of(Kind::Sidecar)).map(|(worker, sidecar)| DecodeMember {
            name: worker.name.clone(),
            worker_url: url(worker.control),
            sidecar_url: url(sidecar.control),
            kv_addr: worker.second.unwrap_or(worker.control).to_string(),
            ends: false,
        });
        let prefill = of(Kind::Prefill)
            .map(|worker| PrefillMember { name: worker.name.clone(), worker_url: url(worker.control) });
        Topology {
            service: self.service.clone(),
            namespace: self.namespace.clone(),
            decode: decode.collect(),
            prefill: prefill.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topology_can_be_read_and_follows_a_move() {
        let folder = tempfile::tempdir().unwrap();
        let members = Members::new("default", "chat", (2, 1), folder.path()).unwrap();
        let before = Topology::load(members.topology_path()).unwrap();
        assert_eq!((before.decode.len(), before.prefill.len()), (2, 1));
        assert_eq!(before.decode[1].name, "decode-1");
        members.move_ports(1).unwrap();
        let after = Topology::load(members.topology_path()).unwrap();
        assert_eq!(after.decode[0], before.decode[0]);
        assert_ne!(after.decode[1].worker_url, before.decode[1].worker_url);
        assert_ne!(after.decode[1].kv_addr, before.decode[1].kv_addr);
        assert_eq!(after.decode[1].sidecar_url, before.decode[1].sidecar_url);
    }
}
