//! Text for fields of limited size.

/// What a text that was cut ends with.
const CUT: &str = "...";

/// The text within so many bytes, whole characters only; one that is longer ends with dots.
pub(crate) fn within(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(within("abcdef".into(), 6), "abcdef");
        assert_eq!(within("abcdefg".into(), 6), "abc...");
        assert_eq!(within("aäääää".into(), 7), "aä...", "a character would be split");
        assert_eq!(within("äää".into(), 6), "äää");
    }
}
