//! Measured points as text.

use ampd_perfmodel::{DecodePoint, Points, PrefillPoint};

/// A table of points that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PointsError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Reads points from lines of `kind,a,b,ms`: prefills of `b` tokens on a history of `a`, decode steps of `a` rows with
/// a context of `b` tokens. The first line names the columns.
///
/// # Errors
/// Names the line that is no point.
pub fn read_points(text: &str) -> Result<Points, PointsError> {
    let mut points = Points::default();
    for (index, row) in text.lines().enumerate().skip(1) {
        let error = |what| PointsError { line: index + 1, what };
        let mut fields = row.split(',').map(str::trim);
        let mut next = || fields.next().ok_or(error("four fields are wanted: kind, a, b, ms"));
        let kind = next()?;
        let a = next()?.parse().map_err(|_| error("a is no count"))?;
        let b = next()?.parse().map_err(|_| error("b is no count"))?;
        let ms: f64 = next()?.parse().map_err(|_| error("ms is no number"))?;
        let seconds = ms / 1e3;
        match kind {
            "prefill" => points.prefill.push(PrefillPoint { history: a, increment: b, seconds }),
            "decode" => points.decode.push(DecodePoint { batch: a, context: b, seconds }),
            _ => return Err(error("the kind is neither prefill nor decode")),
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_and_bad_lines_named() {
        let points = read_points("kind,a,b,ms\nprefill,0,16,2.5\ndecode,4,256,8\n").unwrap();
        assert_eq!(points.prefill, [PrefillPoint { history: 0, increment: 16, seconds: 0.0025 }]);
        assert_eq!(points.decode, [DecodePoint { batch: 4, context: 256, seconds: 0.008 }]);
        for (text, line) in [
            ("h\nprefill,0,16", 2),
            ("h\nprefill,0,16,1\nprefill,-1,16,1", 3),
            ("h\nprefill,0,x,1", 2),
            ("h\nwarmup,0,1,1", 2),
        ] {
            assert_eq!(read_points(text).unwrap_err().line, line, "{text}");
        }
    }
}
