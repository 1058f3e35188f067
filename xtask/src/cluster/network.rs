//! The network namespaces of a cluster's nodes. The control plane shares the first node's, and everything that listens
//! does so in them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{output, program, run};

use super::state::State;

/// The bridge that carries a node's address; the second node is plugged into the first one's.
const BRIDGE: &str = "nodes";

/// The namespace's name.
fn namespace(state: &State, node: usize) -> String {
    format!("{}-{node}", state.name)
}

/// Where the namespace can be entered.
fn path(state: &State, node: usize) -> PathBuf {
    Path::new("/run/netns").join(namespace(state, node))
}

/// The argument of `nsenter`. `ip netns exec` would mount a new /sys, without the cgroups.
pub(crate) fn enter(state: &State, node: usize) -> String {
    format!("--net={}", path(state, node).display())
}

/// The node's address, as its own pods and the others reach it.
pub(crate) fn address(node: usize) -> String {
    format!("10.250.0.{node}")
}

/// The first three numbers of the addresses of a node's pods.
pub(crate) fn pods(node: usize) -> String {
    format!("10.244.{}", node - 1)
}

/// Makes the first node's network.
pub(crate) fn make(state: &State) -> anyhow::Result<()> {
    run(program("ip").args(["netns", "add", &namespace(state, 1)]))?;
    let address = address(1);
    ip(state, 1, &["link", "set", "lo", "up"])?;
    ip(state, 1, &["link", "add", BRIDGE, "type", "bridge"])?;
    ip(state, 1, &["address", "add", &format!("{address}/24"), "dev", BRIDGE])?;
    ip(state, 1, &["link", "set", BRIDGE, "up"])?;
    // Addresses of Services have no route of their own: what they are rewritten to has.
    ip(state, 1, &["route", "add", "default", "via", &address, "dev", BRIDGE])?;
    forward(state, 1)
}

/// Makes the network of another node, plugged into the first one's bridge.
pub(crate) fn join(state: &State, node: usize) -> anyhow::Result<()> {
    let name = namespace(state, node);
    run(program("ip").args(["netns", "add", &name]))?;
    let plug = format!("to-{node}");
    ip(state, 1, &["link", "add", &plug, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
    ip(state, 1, &["link", "set", &plug, "master", BRIDGE, "up"])?;
    ip(state, node, &["link", "set", "lo", "up"])?;
    ip(state, node, &["address", "add", &format!("{}/24", address(node)), "dev", "eth0"])?;
    ip(state, node, &["link", "set", "eth0", "up"])?;
    ip(state, node, &["route", "add", "default", "via", &address(1)])?;
    // The way to its pods; the default route is its own way to the first node's.
    ip(state, 1, &["route", "add", &format!("{}.0/24", pods(node)), "via", &address(node)])?;
    forward(state, node)
}

fn forward(state: &State, node: usize) -> anyhow::Result<()> {
    inside(state, node, "sysctl", &["--quiet", "--write", "net.ipv4.ip_forward=1"])
}

fn ip(state: &State, node: usize, arguments: &[&str]) -> anyhow::Result<()> {
    inside(state, node, "ip", arguments)
}

fn inside(state: &State, node: usize, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
    run(program("nsenter").arg(enter(state, node)).arg(name).args(arguments))
}

/// Whether an HTTP server in there answers `path` with OK.
pub(crate) fn answers(state: &State, node: usize, server: SocketAddr, path: &str) -> anyhow::Result<()> {
    let namespace = File::open(self::path(state, node))?;
    let ask = || -> anyhow::Result<String> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let limit = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&server, limit)?;
        stream.set_read_timeout(Some(limit))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    };
    // A thread of its own, as a namespace is entered for good.
    let status = std::thread::scope(|scope| scope.spawn(ask).join());
    let status = status.ok().context("the look panicked")??;
    anyhow::ensure!(status.contains(" 200 "), "{server}{path} says {status:?}");
    Ok(())
}

/// Removes the namespaces that there are.
pub(crate) fn remove(state: &State) -> anyhow::Result<()> {
    let prefix = namespace(state, 0);
    let prefix = prefix.trim_end_matches('0');
    let list = output(program("ip").args(["netns", "list"]))?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| name.starts_with(prefix))
        .try_for_each(|name| run(program("ip").args(["netns", "delete", name])))
}
