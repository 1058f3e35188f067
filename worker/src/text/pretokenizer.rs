//! How a GGUF vocabulary's pre-tokenizer cuts text into words, by the name that the file gives it.
//!
//! The expressions are those of llama.cpp (`src/llama-vocab.cpp`), which gives the names their meaning.

use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a pre-tokenizer name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// Expressions that cut one after the other.
    expressions: &'static [&'static str],
    /// A word that is a token is that token, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether texts begin with the beginning-of-sequence token when the file does not say.
    pub(super) adds_bos: bool,
    /// Whether text is brought into Unicode's composed form first.
    composes: bool,
}

const PLAIN: Kind = Kind { expressions: &[], ignore_merges: false, adds_bos: false, composes: false };

/// The kind that `name` stands for; `None` when it is not known.
pub(super) fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "default" => Kind {
            expressions: &[
                r"[\p{P}\$\+<=>\^~\|]+",
                r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
                r"\p{N}+",
                "[0-9][0-9][0-9]",
            ],
            ..PLAIN
        },
        "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "roberta-bpe" => Kind { expressions: &[GPT2], ..PLAIN },
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            Kind { expressions: &[r"\p{N}", GPT2], ..PLAIN }
        }
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "pixtral" => {
            Kind { expressions: &[LLAMA3], ignore_merges: true, adds_bos: true, ..PLAIN }
        }
        "smaug-bpe" | "dbrx" => Kind { expressions: &[LLAMA3], ..PLAIN },
        "qwen2" | "deepseek-r1-qwen" | "megrez" => Kind { expressions: &[QWEN2], composes: true, ..PLAIN },
        "tekken" => Kind { expressions: &[TEKKEN], ignore_merges: true, adds_bos: true, ..PLAIN },
        _ => return None,
    })
}

impl Kind {
    /// The pre-tokenizer: the cuts, then each byte as its letter.
    pub(super) fn pre_tokenizer(self) -> tokenizers::Result<PreTokenizerWrapper> {
        let mut steps = Vec::new();
        for expression in self.expressions {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
        }
        steps.push(ByteLevel::new(false, false, false).into());
        Ok(Sequence::new(steps).into())
    }

    /// The normalizer, where there is one.
    pub(super) fn normalizer(self) -> Option<NormalizerWrapper> {
        self.composes.then(|| NFC.into())
    }
}
