//! Log-probabilities in the forms of the two APIs.

use serde::{Serialize, Serializer};

use crate::text::Pieces;

/// What stands for the logarithm of zero, which JSON cannot write.
const LOWEST: f32 = -9999.0;

/// The log-probability of a token.
#[derive(Debug)]
pub(super) struct Row {
    pub id: u32,
    /// None for the first token of a prompt.
    pub logprob: Option<f32>,
    /// The most likely tokens at its place.
    pub top: Vec<(u32, f32)>,
    /// Code points of the text before it.
    pub offset: usize,
}

/// Of a chat completion.
#[derive(Debug, Serialize)]
pub(super) struct ChatLogprobs {
    content: Vec<ChatToken>,
    refusal: (),
}

#[derive(Debug, Serialize)]
struct ChatToken {
    #[serde(flatten)]
    token: Named,
    top_logprobs: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct Named {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// Of a text completion.
#[derive(Debug, Serialize)]
pub(super) struct TextLogprobs {
    text_offset: Vec<usize>,
    token_logprobs: Vec<Option<f32>>,
    tokens: Vec<String>,
    top_logprobs: Vec<Option<Alternatives>>,
}

/// Tokens and their log-probabilities as an object, the most likely first.
#[derive(Debug)]
struct Alternatives(Vec<(String, f32)>);

impl Serialize for Alternatives {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, logprob)| (name, logprob)))
    }
}

impl Named {
    fn new(id: u32, logprob: f32, pieces: &Pieces) -> Self {
        let bytes = pieces.get(id).map(|piece| piece.bytes.to_vec()).unwrap_or_default();
        Self { token: pieces.name(id), logprob: logprob.max(LOWEST), bytes }
    }
}

impl ChatLogprobs {
    pub(super) fn new(rows: Vec<Row>, pieces: &Pieces) -> Self {
        let entry = |row: Row| ChatToken {
            token: Named::new(row.id, row.logprob.unwrap_or(LOWEST), pieces),
            top_logprobs: row.top.iter().map(|(id, logprob)| Named::new(*id, *logprob, pieces)).collect(),
        };
        Self { content: rows.into_iter().map(entry).collect(), refusal: () }
    }
}

impl TextLogprobs {
    pub(super) fn new(rows: &[Row], pieces: &Pieces) -> Self {
        Self {
            text_offset: rows.iter().map(|row| row.offset).collect(),
            token_logprobs: rows.iter().map(|row| row.logprob.map(|logprob| logprob.max(LOWEST))).collect(),
            tokens: rows.iter().map(|row| pieces.name(row.id)).collect(),
            top_logprobs: rows.iter().map(|row| row.alternatives(pieces)).collect(),
        }
    }
}

impl Row {
    /// The most likely tokens, and the token itself where it is none of them. Of tokens with one name the likeliest
    /// counts: an object has each name once.
    fn alternatives(&self, pieces: &Pieces) -> Option<Alternatives> {
        let own = (self.id, self.logprob?);
        let mut named: Vec<(String, f32)> = Vec::with_capacity(self.top.len() + 1);
        for (id, logprob) in self.top.iter().chain([&own]) {
            let name = pieces.name(*id);
            if named.iter().all(|(known, _)| *known != name) {
                named.push((name, logprob.max(LOWEST)));
            }
        }
        Some(Alternatives(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Piece, PieceKind};

    fn pieces() -> Pieces {
        let piece = |bytes: &[u8]| Piece { bytes: bytes.into(), kind: PieceKind::Normal };
        Pieces::new(vec![piece(b"a"), piece(b"b"), piece(&[0xE2]), piece(b"a")], false)
    }

    fn row(id: u32, logprob: Option<f32>, top: &[(u32, f32)]) -> Row {
        Row { id, logprob, top: top.to_vec(), offset: 0 }
    }

    #[test]
    fn the_chosen_token_is_always_among_the_alternatives() {
        let rows = [
            row(0, None, &[]),
            row(1, Some(-2.0), &[(0, -0.1)]),
            row(2, Some(f32::NEG_INFINITY), &[]),
            row(3, Some(-3.0), &[(0, -0.1)]),
        ];
        let written = serde_json::to_string(&TextLogprobs::new(&rows, &pieces())).unwrap();
        assert_eq!(
            written,
            r#"{"text_offset":[0,0,0,0],"token_logprobs":[null,-2.0,-9999.0,-3.0],"tokens":["a","b","bytes:\\xe2","a"],"top_logprobs":[null,{"a":-0.1,"b":-2.0},{"bytes:\\xe2":-9999.0},{"a":-0.1}]}"#
        );
    }

    #[test]
    fn chat_has_the_bytes_of_tokens() {
        let rows = vec![row(2, Some(-0.5), &[(2, -0.5)])];
        let written = serde_json::to_string(&ChatLogprobs::new(rows, &pieces())).unwrap();
        let token = r#""token":"bytes:\\xe2","logprob":-0.5,"bytes":[226]"#;
        assert_eq!(
            written,
            format!(r#"{{"content":[{{{token},"top_logprobs":[{{{token}}}]}}],"refusal":null}}"#)
        );
    }
}
