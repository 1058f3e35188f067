//! Values that are written as text.

use std::time::Duration;

/// Reads a duration as Go and Kubernetes write it: `2s`, `100ms`, `1m30s`, `1.5h`.
///
/// `None` when it is not of that form or beyond [`Duration::MAX`].
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let number = leading(rest, |c| c.is_ascii_digit() || c == '.');
        let unit = leading(&rest[number.len()..], |c| c.is_ascii_lowercase());
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(decimal(number)? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = &rest[number.len() + unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

/// Reads memory as Kubernetes writes it: `512Mi`, `2G`, `1048576`; bytes.
///
/// `None` when it is not of that form or beyond `u64`.
#[must_use]
pub fn memory(text: &str) -> Option<u64> {
    let number = leading(text, |c| c.is_ascii_digit());
    let factor = match &text[number.len()..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads a quantity of a resource as Kubernetes writes it: `500m`, `2Gi`, `1.5`.
///
/// `None` when it is not of that form.
#[must_use]
pub fn quantity(text: &str) -> Option<f64> {
    let number = leading(text, |c| c.is_ascii_digit() || c == '.');
    let factor = match &text[number.len()..] {
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 2_f64.powi(10),
        "Mi" => 2_f64.powi(20),
        "Gi" => 2_f64.powi(30),
        "Ti" => 2_f64.powi(40),
        "Pi" => 2_f64.powi(50),
        _ => return None,
    };
    Some(decimal(number)? * factor)
}

/// Reads a decimal: digits, and more digits behind a point.
#[must_use]
pub fn decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole) && digits(fraction) { text.parse().ok() } else { None }
}

fn leading(text: &str, allowed: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !allowed(c)).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("2s", 2000), ("100ms", 100), ("1m30s", 90_000), ("1.5h", 5_400_000), ("0s", 0), ("0.25s", 250)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "2", "s", "2 s", "-1s", "1e3s", "1.s", ".5s", "2d", "2s3", "99999999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn quantities() {
        for (text, value) in [("500m", 0.5), ("2", 2.0), ("1.5k", 1500.0), ("2Gi", 2_147_483_648.0)] {
            assert!((quantity(text).unwrap() - value).abs() < 1e-9, "{text}");
        }
        for text in ["", "m", "1e3", "-1", "1Zi", ".5"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn memories() {
        for (text, bytes) in
            [("512Mi", 512 << 20), ("2G", 2_000_000_000), ("7", 7), ("1k", 1000), ("1Ti", 1 << 40)]
        {
            assert_eq!(memory(text), Some(bytes), "{text}");
        }
        for text in ["", "Mi", "1.5Gi", "-1", "1MiB", "1 Mi", "99999999999Ti"] {
            assert_eq!(memory(text), None, "{text}");
        }
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal("0.75"), Some(0.75));
        assert_eq!(decimal("3"), Some(3.0));
        for text in ["", ".", "1.", ".5", "1e3", "-1", "+1", "nan", "inf", "1.2.3"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
