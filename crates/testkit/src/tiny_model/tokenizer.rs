//! A small byte-level BPE tokenizer in Hugging Face's and in GGUF's form.

use serde_json::{Value, json};

/// Ends a text; id 0.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Begins a turn; id 1.
pub const TURN_START: &str = "<|im_start|>";
/// Ends a turn; id 2.
pub const TURN_END: &str = "<|im_end|>";

/// The special tokens, which have the first ids.
pub(super) const SPECIAL: [&str; 3] = [END_OF_TEXT, TURN_START, TURN_END];

/// Merges of the GPT-2 alphabet, in which `Ġ` stands for a space.
const MERGES: [(&str, &str); 24] = [
    ("Ġ", "t"),
    ("h", "e"),
    ("i", "n"),
    ("Ġt", "he"),
    ("e", "r"),
    ("Ġ", "a"),
    ("o", "n"),
    ("r", "e"),
    ("a", "t"),
    ("Ġ", "s"),
    ("e", "n"),
    ("o", "r"),
    ("in", "g"),
    ("Ġ", "o"),
    ("Ġ", "w"),
    ("i", "s"),
    ("e", "s"),
    ("Ġa", "n"),
    ("Ġan", "d"),
    ("Ġo", "f"),
    ("i", "t"),
    ("l", "l"),
    ("o", "u"),
    ("y", "ou"),
];

/// The chat template: `ChatML`.
pub(super) const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + \
     message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ \
     '<|im_start|>assistant\\n' }}{% endif %}";

/// GPT-2's printable character of each byte.
fn byte_characters() -> Vec<char> {
    let mut next = 256;
    let characters = (0..=255_u8).map(|byte| match byte {
        33..=126 | 161..=172 | 174..=255 => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
    });
    characters.collect()
}

/// Every token by id.
pub(super) fn vocabulary() -> Vec<String> {
    let special = SPECIAL.iter().map(|token| (*token).to_owned());
    let bytes = byte_characters().into_iter().map(String::from);
    let merged = MERGES.iter().map(|(first, second)| format!("{first}{second}"));
    special.chain(bytes).chain(merged).collect()
}

/// Merges as GGUF lists them.
pub(super) fn merges() -> Vec<String> {
    MERGES.iter().map(|(first, second)| format!("{first} {second}")).collect()
}

/// `tokenizer.json`.
pub(super) fn tokenizer_json() -> Value {
    let added = SPECIAL.iter().enumerate().map(|(id, content)| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    });
    let vocab: serde_json::Map<String, Value> =
        vocabulary().into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": byte_level.clone(),
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges(),
        },
    })
}

/// `tokenizer_config.json`.
pub(super) fn tokenizer_config_json(context: usize) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": TURN_START,
        "eos_token": TURN_END,
        "chat_template": CHAT_TEMPLATE,
        "model_max_length": context,
        "clean_up_tokenization_spaces": false,
    })
}
