//! What must not change a single bit of a result: how a prompt is cut, what else is in the batch, where KV lies, whether
//! KV has travelled, how a model is cut into files, and whether weights are decoded early or late.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use crate::model_support::{Files, backend, bits, logits, part, read, step, table, text};
use ampd_engine::BackendKind;
use ampd_engine::backend::{KvSpan, LogitsWanted, RaggedBatch};
use ampd_engine::model::Model;
use ampd_testkit::tiny_model::{Family, TinyModel, write_gguf};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device};

on_every_backend!(
    a_prompt_may_be_cut_anywhere,
    a_batch_gives_what_each_sequence_gives_alone,
    logits_come_only_where_wanted,
    moved_kv_continues_as_if_it_had_stayed,
    exported_kv_has_the_documented_layout,
    the_hook_sees_each_layer_when_it_is_complete,
    a_copied_block_is_the_same_and_apart,
    leftovers_in_a_block_do_no_harm,
    quantised_files_equal_their_decoded_values,
    a_sharded_folder_is_the_same_model,
    impossible_batches_are_refused,
);

/// Tokens of the test's prompts: five blocks, the last of them not full.
const LENGTH: usize = 150;

fn model(family: Family) -> Model {
    Files::huggingface(&TinyModel::new(family), DType::BF16, 1).load()
}

fn a_prompt_may_be_cut_anywhere(kind: BackendKind) {
    for family in Family::ALL {
        let model = model(family);
        let tokens = text(1, LENGTH, model.config.vocab);
        let whole = bits(&logits(&mut *backend(kind, &model), &tokens, LENGTH));
        for chunk in [1, 7, 32, 33, 64, 149] {
            let cut = bits(&logits(&mut *backend(kind, &model), &tokens, chunk));
            assert!(cut == whole, "{family:?}: steps of {chunk} tokens give other logits");
        }
    }
}

/// Prefill chunks and decode rows of several sequences in shared steps.
fn a_batch_gives_what_each_sequence_gives_alone(kind: BackendKind) {
    let model = model(Family::Qwen3);
    let vocab = model.config.vocab;
    let prompts: Vec<Vec<u32>> =
        [100, 33, 70].iter().enumerate().map(|(i, length)| text(i as u32, *length, vocab)).collect();
    let alone: Vec<Vec<f32>> =
        prompts.iter().map(|prompt| logits(&mut *backend(kind, &model), prompt, prompt.len())).collect();
    let tables: Vec<Vec<u32>> = (0..3).map(|index| table(index * 11, 100)).collect();
    // Rows of each sequence in each step; the second sequence decodes from its first block's end on.
    let steps = [[40, 32, 1], [10, 1, 69], [50, 0, 0]];
    let mut shared = backend(kind, &model);
    let mut done = [0; 3];
    let mut together = vec![Vec::new(); 3];
    for rows in steps {
        let running: Vec<usize> = (0..3).filter(|index| rows[*index] > 0).collect();
        let sequences = running
            .iter()
            .map(|&i| part(&prompts[i], done[i], done[i] + rows[i], &tables[i], LogitsWanted::All));
        let result = step(&mut *shared, sequences.collect());
        let mut row = 0;
        for index in running {
            for _ in 0..rows[index] {
                together[index].extend_from_slice(result.row(row));
                row += 1;
            }
            done[index] += rows[index];
        }
        assert_eq!(row, result.rows());
    }
    for (alone, together) in alone.iter().zip(&together) {
        assert!(bits(alone) == bits(together));
    }
}

/// Only the rows that ask for logits get them, and asking changes nothing.
fn logits_come_only_where_wanted(kind: BackendKind) {
    let model = model(Family::Llama);
    let vocab = model.config.vocab;
    let (first, second) = (text(1, 40, vocab), text(2, 9, vocab));
    let all = logits(&mut *backend(kind, &model), &first, 40);
    let mut shared = backend(kind, &model);
    let (one, two, three) = (table(0, 40), table(10, 9), table(20, 9));
    let result = step(
        &mut *shared,
        vec![
            part(&second, 0, 9, &two, LogitsWanted::None),
            part(&first, 0, 40, &one, LogitsWanted::Last),
            part(&second, 0, 9, &three, LogitsWanted::None),
        ],
    );
    assert_eq!(result.rows(), 1);
    assert!(bits(result.row(0)) == bits(&all[39 * vocab..]));
}

/// KV that was exported in pieces, imported elsewhere and continued from gives what never moving gives, and exports to
/// the same bytes again.
fn moved_kv_continues_as_if_it_had_stayed(kind: BackendKind) {
    for family in Family::ALL {
        let model = model(family);
        let tokens = text(5, LENGTH, model.config.vocab);
        let stayed = logits(&mut *backend(kind, &model), &tokens, LENGTH);
        let mut source = backend(kind, &model);
        let (here, there) = (table(2, LENGTH), table(7, LENGTH));
        for moved in [1, 31, 32, 100, 149] {
            let mut target = backend(kind, &model);
            step(&mut *source, vec![part(&tokens, 0, moved, &here, LogitsWanted::None)]);
            for layer in 0..model.config.layers {
                let mut start = 0;
                for length in [5, 40, 1, 64, 149] {
                    let end = (start + length).min(moved);
                    let data = read(&*source, layer, &here, start, end);
                    let span = KvSpan { block_table: &there, start, end };
                    target.write_kv(layer, span, &data).unwrap();
                    start = end;
                }
                assert_eq!(read(&*source, layer, &here, 0, moved), read(&*target, layer, &there, 0, moved));
            }
            let result = step(&mut *target, vec![part(&tokens, moved, LENGTH, &there, LogitsWanted::All)]);
            let rest = &stayed[moved * model.config.vocab..];
            assert!(bits(&result.data) == bits(rest), "{family:?}: {moved} tokens moved");
        }
    }
}

/// The documented layout: K, then V; each block by block; in a block head by head; in a head token by token.
fn exported_kv_has_the_documented_layout(kind: BackendKind) {
    let model = model(Family::Llama);
    let tokens = text(6, 80, model.config.vocab);
    let blocks = table(1, 80);
    let mut source = backend(kind, &model);
    step(&mut *source, vec![part(&tokens, 0, 80, &blocks, LogitsWanted::None)]);
    let (heads, row_bytes) = (model.config.kv_heads, model.config.head_dim * 2);
    let rows: Vec<Vec<u8>> = (0..80).map(|token| read(&*source, 1, &blocks, token, token + 1)).collect();
    let (start, end) = (20, 70);
    let mut expected = Vec::new();
    for part in 0..2 {
        for block in [20..32, 32..64, 64..70] {
            for head in 0..heads {
                for token in block.clone() {
                    let at = (part * heads + head) * row_bytes;
                    expected.extend_from_slice(&rows[token][at..at + row_bytes]);
                }
            }
        }
    }
    assert_eq!(read(&*source, 1, &blocks, start, end), expected);
}

/// The hook sees each layer once, in order, with the KV that stays.
fn the_hook_sees_each_layer_when_it_is_complete(kind: BackendKind) {
    let model = model(Family::Mistral);
    let tokens = text(7, 70, model.config.vocab);
    let blocks = table(4, 70);
    let mut source = backend(kind, &model);
    let mut seen = Vec::new();
    let sequences = vec![part(&tokens, 0, 70, &blocks, LogitsWanted::Last)];
    source
        .step(&RaggedBatch { sequences }, &mut |layer, kv| {
            seen.push((layer, read(kv, layer, &blocks, 0, 70)));
        })
        .unwrap();
    let after: Vec<_> =
        (0..model.config.layers).map(|layer| (layer, read(&*source, layer, &blocks, 0, 70))).collect();
    assert_eq!(seen, after);
}

fn a_copied_block_is_the_same_and_apart(kind: BackendKind) {
    let model = model(Family::Qwen2);
    let tokens = text(8, 32, model.config.vocab);
    let mut pool = backend(kind, &model);
    step(&mut *pool, vec![part(&tokens, 0, 32, &[3], LogitsWanted::None)]);
    pool.copy_block(3, 9).unwrap();
    for layer in 0..model.config.layers {
        assert_eq!(read(&*pool, layer, &[3], 0, 32), read(&*pool, layer, &[9], 0, 32));
        let span = KvSpan { block_table: &[9], start: 4, end: 5 };
        let zeros = vec![0; pool.kv_shape().token_layer_bytes()];
        pool.write_kv(layer, span, &zeros).unwrap();
        assert_ne!(read(&*pool, layer, &[3], 0, 32), read(&*pool, layer, &[9], 0, 32));
    }
}

/// What an earlier user left in a block, even values that are no numbers, does not reach a sequence that reuses it.
fn leftovers_in_a_block_do_no_harm(kind: BackendKind) {
    let model = model(Family::Llama);
    let tokens = text(9, 50, model.config.vocab);
    let clean = logits(&mut *backend(kind, &model), &tokens, 50);
    let mut pool = backend(kind, &model);
    let blocks = table(5, 50);
    for layer in 0..model.config.layers {
        let span = KvSpan { block_table: &blocks, start: 0, end: 64 };
        let not_numbers = vec![0xff; 64 * pool.kv_shape().token_layer_bytes()];
        pool.write_kv(layer, span, &not_numbers).unwrap();
    }
    assert!(bits(&logits(&mut *pool, &tokens, 50)) == bits(&clean));
}

/// A quantised file gives what its decoded values give as f32.
fn quantised_files_equal_their_decoded_values(kind: BackendKind) {
    let encodings = [
        GgmlDType::F16,
        GgmlDType::BF16,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q2K,
        GgmlDType::Q3K,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ];
    let tiny = TinyModel::new(Family::Llama).with_hidden(256);
    let original = Files::gguf(&tiny, GgmlDType::F32).load();
    let tokens = text(10, 40, original.config.vocab);
    let original = logits(&mut *backend(kind, &original), &tokens, 40);
    for encoding in encodings {
        let mut files = Files::gguf(&tiny, encoding);
        let quantised = files.load();
        let decoded: Vec<(String, QTensor)> = tiny
            .gguf_tensors(encoding)
            .unwrap()
            .into_iter()
            .map(|(name, tensor)| {
                let values = tensor.dequantize(&Device::Cpu).unwrap();
                (name, QTensor::quantize(&values, GgmlDType::F32).unwrap())
            })
            .collect();
        files.path = files.path.with_file_name("decoded.gguf");
        write_gguf(&files.path, &tiny.gguf_fields(), &decoded).unwrap();
        let decoded = files.load();
        assert_ne!(quantised.digest, decoded.digest);
        let quantised = logits(&mut *backend(kind, &quantised), &tokens, 40);
        assert!(
            bits(&quantised) == bits(&logits(&mut *backend(kind, &decoded), &tokens, 40)),
            "{encoding:?}"
        );
        assert!(bits(&quantised) != bits(&original), "{encoding:?} quantised nothing");
    }
}

/// Sharding does not change the model, not even its digest; the values do.
fn a_sharded_folder_is_the_same_model(kind: BackendKind) {
    let tiny = TinyModel::new(Family::Qwen3);
    let single = Files::huggingface(&tiny, DType::BF16, 1).load();
    let sharded = Files::huggingface(&tiny, DType::BF16, 3).load();
    assert_eq!(single.digest, sharded.digest);
    let tokens = text(11, 20, single.config.vocab);
    let of = |model: &Model| bits(&logits(&mut *backend(kind, model), &tokens, 20));
    assert!(of(&single) == of(&sharded));
    let digests = [
        Files::huggingface(&tiny, DType::F16, 1).load().digest,
        Files::huggingface(&tiny.clone().with_seed(2), DType::BF16, 1).load().digest,
        Files::gguf(&tiny, GgmlDType::BF16).load().digest,
    ];
    assert!(!digests.contains(&single.digest));
}

fn impossible_batches_are_refused(kind: BackendKind) {
    let model = model(Family::Llama);
    let vocab = model.config.vocab as u32;
    let tokens = text(12, 40, model.config.vocab);
    let mut pool = backend(kind, &model);
    let mut refused = |sequence| {
        let batch = RaggedBatch { sequences: vec![sequence] };
        pool.step(&batch, &mut |_, _| {}).unwrap_err().to_string()
    };
    let unknown = part(&[vocab], 0, 1, &[0], LogitsWanted::Last);
    assert!(refused(unknown).contains("beyond the vocabulary"));
    assert!(refused(part(&tokens, 0, 0, &[0], LogitsWanted::Last)).contains("no rows"));
    assert!(refused(part(&tokens, 0, 40, &[0], LogitsWanted::Last)).contains("with blocks for 32"));
    assert!(refused(part(&tokens, 0, 40, &[0, 99], LogitsWanted::Last)).contains("block 99"));
    let mut late = part(&tokens, 0, 40, &table(0, 544), LogitsWanted::Last);
    late.start = 480;
    assert!(refused(late).contains("beyond the context"));
    let span = KvSpan { block_table: &[0], start: 0, end: 2 };
    assert!(pool.write_kv(0, span, &[0; 10]).unwrap_err().to_string().contains("has 10 bytes"));
    assert!(pool.write_kv(9, span, &[0; 10]).unwrap_err().to_string().contains("layer 9"));
    assert!(pool.copy_block(0, 99).unwrap_err().to_string().contains("block 99"));
}
