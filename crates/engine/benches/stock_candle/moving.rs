//! Export and import of KV, against a plain copy of as many bytes.

use std::path::Path;

use ampd_engine::backend::{Backend, KvRead, KvSpan};

use crate::PROMPT;
use crate::decoder::{Decoder, Ours};
use crate::timing::{Samples, seconds};

pub(crate) fn rows(path: &Path, threads: usize, repeats: usize) -> anyhow::Result<()> {
    let mut ours = Ours::load(path, threads, 2)?;
    ours.advance(0, PROMPT)?;
    let shape = ours.backend.kv_shape();
    let (from, to) = (Ours::blocks(0), Ours::blocks(1));
    let span = |block_table| KvSpan { block_table, start: 0, end: PROMPT };
    let mut data = vec![Vec::new(); shape.layers];
    let mut copies = data.clone();
    let mut samples: [Samples; 3] = Default::default();
    for turn in 0..=repeats {
        data.iter_mut().for_each(Vec::clear);
        let export = seconds(|| {
            data.iter_mut()
                .enumerate()
                .try_for_each(|(layer, out)| Ok(ours.backend.read_kv(layer, span(&from), out)?))
        })?;
        let import = seconds(|| {
            data.iter()
                .enumerate()
                .try_for_each(|(layer, data)| Ok(ours.backend.write_kv(layer, span(&to), data)?))
        })?;
        copies.iter_mut().for_each(Vec::clear);
        let copy = seconds(|| {
            copies.iter_mut().zip(&data).for_each(|(copy, data)| copy.extend_from_slice(data));
            Ok(())
        })?;
        // The first turn allocates.
        if turn > 0 {
            samples.iter_mut().zip([export, import, copy]).for_each(|(samples, time)| samples.add(time));
        }
    }
    let bytes = shape.token_bytes() * PROMPT;
    println!("KV of {PROMPT} tokens, {:.1} MB", bytes as f64 / 1e6);
    for (name, samples) in ["  export", "  import", "  copy"].iter().zip(&samples) {
        let median = samples.median();
        println!("{name:<34}{:>9.2} ms{:>9.2} GB/s", 1e3 * median, bytes as f64 / median / 1e9);
    }
    Ok(())
}
