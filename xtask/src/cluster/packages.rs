//! What a cluster needs of this machine.

use std::path::Path;

use crate::command::{program, run};

/// Files of Debian's packages, by which it is told whether they are there.
const PACKAGES: [(&str, &str); 10] = [
    ("buildah", "/usr/bin/buildah"),
    ("conntrack", "/usr/sbin/conntrack"),
    ("containerd", "/usr/bin/containerd"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("debootstrap", "/usr/sbin/debootstrap"),
    ("iproute2", "/usr/sbin/ip"),
    ("iptables", "/usr/sbin/iptables"),
    ("procps", "/usr/sbin/sysctl"),
    ("runc", "/usr/sbin/runc"),
    ("util-linux", "/usr/bin/nsenter"),
];

/// Why no cluster can run here, if so.
pub(crate) fn obstacle() -> Option<String> {
    let has = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
    };
    if !cfg!(target_os = "linux") {
        return Some("it needs Linux".to_owned());
    }
    if !cfg!(target_arch = "x86_64") {
        return Some("its kubectl and helm are those of x86-64".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, for namespaces and containers".to_owned());
    }
    if !has("go") {
        return Some("it needs Go, to build Kubernetes".to_owned());
    }
    let missing = missing();
    if !missing.is_empty() && !has("apt-get") {
        return Some(format!("it needs {}, and there is no apt-get", missing.join(", ")));
    }
    None
}

/// Installs the packages that are missing.
pub(crate) fn install() -> anyhow::Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let mut install = program("apt-get");
    install.args(["install", "--quiet", "--yes", "--no-install-recommends"]).args(missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    if run(&mut install).is_err() {
        // The lists of packages may be missing or too old.
        run(program("apt-get").args(["update", "--quiet"]))?;
        run(&mut install)?;
    }
    Ok(())
}

fn missing() -> Vec<&'static str> {
    PACKAGES.into_iter().filter(|(_, file)| !Path::new(file).exists()).map(|(name, _)| name).collect()
}
