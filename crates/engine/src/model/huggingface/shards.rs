//! Which safetensors files a folder's tensors lie in.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::json::Fields;
use crate::model::ModelError;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// Each file with the tensors that the index promises in it; without an index, the folder's one file.
pub(super) fn find(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<String>>, ModelError> {
    let path = folder.join(INDEX);
    if !path.is_file() {
        return Ok(BTreeMap::from([(folder.join(SINGLE), Vec::new())]));
    }
    let index = Fields::read(&path)?;
    let map = index.object("weight_map")?.ok_or_else(|| index.error("weight_map", "is missing"))?;
    let mut shards: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (tensor, file) in map.into_texts()? {
        shards.entry(file.into()).or_default().push(tensor);
    }
    if shards.is_empty() {
        return Err(index.error("weight_map", "names no file"));
    }
    let found = shards.into_iter().map(|(file, tensors)| {
        let at = inside(folder, &file)
            .map_err(|what| index.error("weight_map", format!("names {}, which {what}", file.display())))?;
        Ok((at, tensors))
    });
    found.collect()
}

/// The path of the index's entry `file`, which must exist and lie in the folder. Symbolic links may lead to the blobs
/// of the download cache that the folder is a snapshot of, and to nowhere else outside.
fn inside(folder: &Path, file: &Path) -> Result<PathBuf, &'static str> {
    let plain = file.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || file.as_os_str().is_empty() {
        return Err("leads out of the folder");
    }
    let path = folder.join(file);
    let (Ok(root), Ok(target)) = (folder.canonicalize(), path.canonicalize()) else {
        return Err("is missing");
    };
    let snapshots = root.parent().filter(|parent| parent.ends_with("snapshots"));
    let blobs = snapshots.and_then(Path::parent).map(|cache| cache.join("blobs"));
    if !target.is_file() {
        return Err("is no file");
    }
    if !target.starts_with(&root) && !blobs.is_some_and(|blobs| target.starts_with(blobs)) {
        return Err("leads out of the folder");
    }
    Ok(path)
}
