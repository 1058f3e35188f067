//! One line of the text format: `name{label="value",...} value [time]`.

use super::{Fault, MAX_LABELS, Sample};

/// Reads a line that is neither empty nor a comment.
pub fn sample(line: &str) -> Result<Sample, Fault> {
    let (name, rest) = name(line, |c| c == ':').ok_or(Fault::Name)?;
    let rest = blank(rest);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let value = words.next().and_then(number).ok_or(Fault::Value)?;
    let timestamp_ms = words.next().map(|word| word.parse().map_err(|_| Fault::Timestamp)).transpose()?;
    if words.next().is_some() {
        return Err(Fault::Trailing);
    }
    Ok(Sample { name: name.to_owned(), labels, value, timestamp_ms })
}

/// The name at the start and what follows it.
fn name(text: &str, also: impl Fn(char) -> bool) -> Option<(&str, &str)> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || also(c);
    let end = text.find(|c| !allowed(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((name, rest))
}

fn blank(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

type Labels = Vec<(String, String)>;

/// The labels behind the opening brace, and what follows the closing one.
fn labels(mut rest: &str) -> Result<(Labels, &str), Fault> {
    let mut labels = Labels::new();
    loop {
        rest = blank(rest);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        if labels.len() == MAX_LABELS {
            return Err(Fault::TooManyLabels);
        }
        let (label, after) = name(rest, |_| false).ok_or(Fault::LabelName)?;
        if labels.iter().any(|(known, _)| known == label) {
            return Err(Fault::LabelTwice);
        }
        let after = blank(after).strip_prefix('=').ok_or(Fault::LabelValue)?;
        let (value, after) = quoted(blank(after))?;
        labels.push((label.to_owned(), value));
        let after = blank(after);
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => return Err(Fault::Separator),
        };
    }
}

/// The text in quotes at the start, and what follows them.
fn quoted(text: &str) -> Result<(String, &str), Fault> {
    let inner = text.strip_prefix('"').ok_or(Fault::LabelValue)?;
    let (mut value, mut escaped) = (String::new(), false);
    for (index, c) in inner.char_indices() {
        match (escaped, c) {
            (false, '"') => return Ok((value, &inner[index + 1..])),
            (false, '\\') => {
                escaped = true;
                continue;
            }
            (true, 'n') => value.push('\n'),
            (true, '\\' | '"') | (false, _) => value.push(c),
            (true, _) => return Err(Fault::Escape),
        }
        escaped = false;
    }
    Err(Fault::LabelValue)
}

/// A number as Go writes and reads them: besides decimal numbers `NaN`, `Inf`, `+Inf` and `-Inf` in any case.
fn number(word: &str) -> Option<f64> {
    let digits = word.trim_start_matches(['+', '-']);
    let first = digits.chars().next()?;
    let special = ["nan", "inf", "infinity"].iter().any(|name| digits.eq_ignore_ascii_case(name));
    if !special && !first.is_ascii_digit() && first != '.' {
        return None;
    }
    word.parse().ok()
}
