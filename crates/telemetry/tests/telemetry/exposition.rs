//! Reading Prometheus' text format.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    reason = "a failed unwrap fails the test"
)]

use ampd_telemetry::exposition::{self, Fault, MAX_BYTES, MAX_LABELS, MAX_SAMPLES, Sample, parse};
use proptest::prelude::*;

#[test]
fn lines_as_exporters_write_them() {
    let text = "# HELP up Whether it is up.\n# TYPE up gauge\nup 1\n\n\
        \t up{ job = \"a\\\\b\\\"c\\nd\" , instance=\"\u{fc}\", } NaN 1395066363000\r\n\
        x:y_bucket{le=\"+Inf\"} +Inf\nneg -Inf\nsmall 1.5e-3\nspace   {} \t -2  \nlast 3";
    let samples = parse(text.as_bytes()).unwrap();
    let found: Vec<(&str, f64)> = samples.iter().map(|s| (s.name.as_str(), s.value)).collect();
    assert_eq!(found[0], ("up", 1.0));
    assert!(found[1].1.is_nan());
    assert_eq!(samples[1].label("job"), Some("a\\b\"c\nd"));
    assert_eq!(samples[1].label("instance"), Some("\u{fc}"));
    assert_eq!(samples[1].label("le"), None);
    assert_eq!(samples[1].timestamp_ms, Some(1_395_066_363_000));
    assert_eq!(found[2], ("x:y_bucket", f64::INFINITY));
    assert_eq!(found[3], ("neg", f64::NEG_INFINITY));
    assert_eq!(found[4..], [("small", 0.0015), ("space", -2.0), ("last", 3.0)]);
}

#[test]
fn faults_name_their_line() {
    for (line, fault) in [
        ("1a 2", Fault::Name),
        ("{a=\"b\"} 2", Fault::Name),
        ("a{1=\"b\"} 2", Fault::LabelName),
        ("a{x:y=\"b\"} 2", Fault::LabelValue),
        ("a{,} 2", Fault::LabelName),
        ("a{", Fault::LabelName),
        ("a{b} 2", Fault::LabelValue),
        ("a{b=c} 2", Fault::LabelValue),
        ("a{b=\"c} 2", Fault::LabelValue),
        ("a{b=\"c\\\"} 2", Fault::LabelValue),
        ("a{b=\"\\t\"} 2", Fault::Escape),
        ("a{b=\"c\" d=\"e\"} 2", Fault::Separator),
        ("a{b=\"c\",b=\"e\"} 2", Fault::LabelTwice),
        ("a", Fault::Value),
        ("a{}", Fault::Value),
        ("a x", Fault::Value),
        ("a --1", Fault::Value),
        ("a 1 x", Fault::Timestamp),
        ("a 1 2 3", Fault::Trailing),
    ] {
        let error = parse(format!("ok 1\n{line}\nok 2").as_bytes()).unwrap_err();
        assert_eq!((error.line, error.what), (2, fault), "{line}");
        assert!(error.to_string().starts_with("line 2 "), "{error}");
    }
    let error = parse(b"ok 1\na{b=\"\xff\"} 1").unwrap_err();
    assert_eq!((error.line, error.what), (2, Fault::Encoding));
}

#[test]
fn bounds_hold() {
    assert_eq!(parse(&vec![b'\n'; MAX_BYTES + 1]).unwrap_err().what, Fault::TooLarge);
    assert_eq!(parse("a 1\n".repeat(MAX_SAMPLES).as_bytes()).unwrap().len(), MAX_SAMPLES);
    assert_eq!(parse("a 1\n".repeat(MAX_SAMPLES + 1).as_bytes()).unwrap_err().what, Fault::TooMany);
    let labels = |count: usize| (0..count).map(|n| format!("l{n}=\"\",")).collect::<String>();
    assert!(parse(format!("a{{{}}} 1", labels(MAX_LABELS)).as_bytes()).is_ok());
    let error = parse(format!("a{{{}}} 1", labels(MAX_LABELS + 1)).as_bytes()).unwrap_err();
    assert_eq!(error.what, Fault::TooManyLabels);
}

fn sample() -> impl Strategy<Value = Sample> {
    let labels = prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,8}", ".{0,12}", 0..5);
    ("[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", labels, any::<f64>(), any::<Option<i64>>()).prop_map(
        |(name, labels, value, timestamp_ms)| Sample {
            name,
            labels: labels.into_iter().collect(),
            value,
            timestamp_ms,
        },
    )
}

fn write(sample: &Sample) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = sample.labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escape(v))).collect();
    let time = sample.timestamp_ms.map(|time| format!(" {time}")).unwrap_or_default();
    format!("{}{{{}}} {:e}{time}\n", sample.name, labels.join(","), sample.value)
}

proptest! {
    #[test]
    fn what_is_written_is_read(samples in prop::collection::vec(sample(), 0..8)) {
        let text: String = samples.iter().map(write).collect();
        let read = parse(text.as_bytes()).unwrap();
        prop_assert_eq!(read.len(), samples.len());
        for (read, written) in read.iter().zip(&samples) {
            prop_assert_eq!((&read.name, &read.labels), (&written.name, &written.labels));
            prop_assert_eq!(read.timestamp_ms, written.timestamp_ms);
            prop_assert!(read.value == written.value || read.value.is_nan() && written.value.is_nan());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn nearly_right_text_is_read_or_refused_at_a_line(text in "[a{}=\",\\\\ \n0-9.einfNa#]{0,80}") {
        if let Err(exposition::ParseError { line, .. }) = parse(text.as_bytes()) {
            prop_assert!((1..=text.split('\n').count()).contains(&line));
        }
    }
}
