//! The images that others are built on, made here: nothing is fetched but Debian's packages.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cache;
use crate::command::{program, run};

/// Debian's release, and the name by which the Dockerfile knows it.
const RELEASE: &str = "bookworm";
pub(crate) const NAME: &str = "docker.io/library/debian:bookworm-slim";
/// What the published image of this name does not have either.
const LEFT_OUT: [&str; 7] = [
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
    "./usr/share/doc/*",
    "./usr/share/info/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
];
/// Another number when the image is made in another way.
const LAYOUT: u32 = 1;

/// The store that has the image; it is never written to again.
pub(crate) fn store() -> anyhow::Result<PathBuf> {
    let source = format!("{RELEASE} {LAYOUT} {LEFT_OUT:?}");
    Ok(cache::folder("debian", source.as_bytes(), make)?.join("root"))
}

fn make(place: &Path) -> anyhow::Result<()> {
    eprintln!("installing Debian {RELEASE} for images: a minute, once");
    let (system, context) = (place.join("system"), place.join("context"));
    let mut debootstrap = program("debootstrap");
    debootstrap.args(["--variant=minbase", "--include=ca-certificates", RELEASE]).arg(&system);
    run(debootstrap.stdout(Stdio::null()))?;
    std::fs::create_dir(&context)?;
    let mut tar = program("tar");
    tar.args(["--sort=name", "--numeric-owner"]).args(LEFT_OUT.map(|files| format!("--exclude={files}")));
    run(tar.arg("-C").arg(&system).arg("-cf").arg(context.join("system.tar")).arg("."))?;
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nADD system.tar /\nCMD [\"bash\"]\n")?;
    run(build(&mut buildah(place), NAME).arg(&context))?;
    std::fs::remove_dir_all(context)?;
    Ok(std::fs::remove_dir_all(system)?)
}

/// buildah with a store of its own in `folder`. Whole copies take little more time than layers and mount nothing, so
/// that the folder can be removed at any moment.
pub(crate) fn buildah(folder: &Path) -> Command {
    let mut buildah = program("buildah");
    buildah.arg("--root").arg(folder.join("root")).arg("--runroot").arg(folder.join("run"));
    buildah.args(["--storage-driver", "vfs"]).stdout(Stdio::null());
    buildah
}

/// Adds the arguments of a build; the context is to be appended.
pub(crate) fn build<'a>(buildah: &'a mut Command, name: &str) -> &'a mut Command {
    // The time of the build is left out, so that the same files make the same image.
    buildah.args(["bud", "--quiet", "--isolation=chroot", "--pull-never", "--timestamp=0", "--tag", name])
}
