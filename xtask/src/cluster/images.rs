//! The images of the cluster: built when what goes into them has changed, and given to its nodes.

use std::path::{Path, PathBuf};

use anyhow::Context;
use cargo_metadata::{MetadataCommand, Package};

use super::kubernetes::Kubernetes;
use super::state::State;
use super::{base, runtime};
use crate::cache;
use crate::command::{cargo, root, run};

/// What builds the programs, and the tests on a cluster: dependencies have other features when tests are built, and a
/// build of the programs alone would compile much twice.
pub(crate) const BUILD: [&str; 7] =
    ["build", "--release", "--workspace", "--locked", "--bins", "--test", "cluster"];
/// The folders of the packages whose programs go into images; the targets of the Dockerfile are named like them.
const PACKAGES: [&str; 2] = ["worker", "operator"];
/// The image's file in its folder of the cache.
const ARCHIVE: &str = "image.tar";
/// Files beside the programs that the Dockerfile takes.
const BESIDE: [&str; 3] = ["Dockerfile", "LICENSE", "Cargo.lock"];

/// An image that is built. On nodes it has a second name, which ends in `-next`: what changes to it is rolled.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) name: String,
    archive: PathBuf,
}

impl Image {
    /// Tells what went into the image.
    pub(crate) fn key(&self) -> String {
        self.archive.display().to_string()
    }

    /// Gives it to a node that does not have it.
    pub(crate) fn load(&self, state: &State, node: usize) -> anyhow::Result<()> {
        let loaded = format!("node-{node}/images/{}", self.name.replace(['/', ':'], "_"));
        let key = self.key();
        if std::fs::read_to_string(state.path(&loaded)).is_ok_and(|there| there == key) {
            return Ok(());
        }
        runtime::import(state, node, &self.archive)?;
        runtime::tag(state, node, &self.name, &format!("{}-next", self.name))?;
        state.write(&loaded, &key)
    }
}

/// Builds all of them, with the programs that cargo builds from the current sources.
pub(crate) fn build(kubernetes: &Kubernetes) -> anyhow::Result<Vec<Image>> {
    run(&mut cargo(&BUILD))?;
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    let built = metadata.target_directory.join("release").into_std_path_buf();
    let mut images = vec![pause(kubernetes)?];
    for folder in PACKAGES {
        let in_folder = |package: &&&Package| package.manifest_path.ends_with(format!("{folder}/Cargo.toml"));
        let packages = metadata.workspace_packages();
        if let Some(package) = packages.iter().find(|package| in_folder(package)) {
            images.push(programs(folder, package, &built)?);
        }
    }
    Ok(images)
}

/// The image that keeps a pod's namespaces.
fn pause(kubernetes: &Kubernetes) -> anyhow::Result<Image> {
    let files = [File { from: kubernetes.program("pause"), to: "pause".to_owned() }];
    let dockerfile = "FROM scratch\nCOPY pause /pause\nUSER 10001:10001\nENTRYPOINT [\"/pause\"]\n";
    image("pause", runtime::PAUSE, &files, Some(dockerfile), &[])
}

/// The image with the programs of one package.
fn programs(folder: &str, package: &Package, built: &Path) -> anyhow::Result<Image> {
    let programs = package.targets.iter().filter(|target| target.is_bin()).map(|target| &target.name);
    let program = |name: &String| File { from: built.join(name), to: format!("prebuilt/{folder}/{name}") };
    let beside = BESIDE.map(|name| File { from: root().join(name), to: name.to_owned() });
    let files: Vec<_> = programs.map(program).chain(beside).collect();
    let arguments = [
        format!("--target={folder}"),
        "--build-arg=BINARIES=prebuilt".to_owned(),
        format!("--build-arg=PACKAGES={folder}"),
        format!("--build-arg=RUST={}", base::NAME),
    ];
    image(folder, &format!("localhost/ampd-{folder}:e2e"), &files, None, &arguments)
}

/// A file and its name in the context of a build.
#[derive(Debug)]
struct File {
    from: PathBuf,
    to: String,
}

/// The image `name` from these files, in the cache.
fn image(
    short: &str,
    name: &str,
    files: &[File],
    dockerfile: Option<&str>,
    arguments: &[String],
) -> anyhow::Result<Image> {
    let base = base::store()?;
    let mut source = format!("{name} {} {dockerfile:?} {arguments:?}", base.display()).into_bytes();
    for File { from, to } in files {
        source.extend(to.as_bytes());
        source.extend(std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?);
    }
    let place = cache::folder(&format!("image-{short}"), &source, |place| {
        eprintln!("building the image {name}");
        let (context, work) = (place.join("context"), place.join("work"));
        std::fs::create_dir(&context)?;
        for File { from, to } in files {
            let to = context.join(to);
            std::fs::create_dir_all(to.parent().unwrap_or(&context))?;
            std::fs::copy(from, to)?;
        }
        if let Some(dockerfile) = dockerfile {
            std::fs::write(context.join("Dockerfile"), dockerfile)?;
        }
        let mut build = base::buildah(&work);
        build.arg(format!("--storage-opt=vfs.imagestore={}", base.display()));
        run(base::build(&mut build, name).args(arguments).arg(&context))?;
        let archive = format!("docker-archive:{}:{name}", place.join(ARCHIVE).display());
        let mut push = base::buildah(&work);
        push.arg(format!("--storage-opt=vfs.imagestore={}", base.display()));
        run(push.args(["push", "--quiet", name, &archive]))?;
        std::fs::remove_dir_all(work)?;
        Ok(std::fs::remove_dir_all(context)?)
    })?;
    cache::forget_others(&place)?;
    Ok(Image { name: name.to_owned(), archive: place.join(ARCHIVE) })
}
