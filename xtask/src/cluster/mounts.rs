//! What is mounted where.

use std::path::{Path, PathBuf};

use crate::command::{program, run};

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    pub(crate) kind: String,
}

/// All of them, later ones last.
pub(crate) fn all() -> anyhow::Result<Vec<Mount>> {
    let list = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(list.lines().filter_map(parse).collect())
}

/// A line has the point in its fifth field, and the kind after a lone dash.
fn parse(line: &str) -> Option<Mount> {
    let point = line.split(' ').nth(4)?.replace("\\040", " ");
    let kind = line.split_once(" - ")?.1.split(' ').next()?.to_owned();
    Some(Mount { point: point.into(), kind })
}

/// Unmounts everything below `folder`.
pub(crate) fn remove_below(folder: &Path) -> anyhow::Result<()> {
    let mut mounts = all()?.into_iter().rev().filter(|mount| mount.point.starts_with(folder));
    // A lazy one goes when its last user has gone; they have been ended, and some take a moment.
    mounts.try_for_each(|mount| run(program("umount").arg("--lazy").arg(mount.point)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_its_optional_fields() {
        let mount = parse("36 35 98:0 /a /b\\040c rw,noatime shared:1 master:2 - tmpfs tmpfs rw").unwrap();
        assert_eq!((mount.point.as_path(), mount.kind.as_str()), (Path::new("/b c"), "tmpfs"));
        let mount = parse("29 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu").unwrap();
        assert_eq!((mount.point.as_path(), mount.kind.as_str()), (Path::new("/sys/fs/cgroup/cpu"), "cgroup"));
        assert!(parse("not a mount").is_none());
    }
}
