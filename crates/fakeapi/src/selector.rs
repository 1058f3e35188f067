//! Selectors of lists and watches.

use serde_json::Value;

use crate::answer::Refused;
use crate::call::Call;

/// What objects must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    /// Pointers and values, and whether they are to be equal.
    fields: Vec<(String, String, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Exists(String, bool),
    In(String, Vec<String>, bool),
}

impl Selector {
    pub fn of(call: &Call) -> Result<Self, Refused> {
        let text = |name: &str| call.query.get(name).map(String::as_str).unwrap_or_default();
        let labels = split(text("labelSelector")).into_iter().map(requirement).collect::<Result<_, _>>()?;
        let fields = split(text("fieldSelector")).into_iter().map(field).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|requirement| match requirement {
            Requirement::Exists(label, wanted) => labels.get(label).is_some() == *wanted,
            Requirement::In(label, values, wanted) => {
                let value = labels.get(label).and_then(Value::as_str);
                value.is_some_and(|value| values.iter().any(|one| one == value)) == *wanted
            }
        }) && self.fields.iter().all(|(pointer, value, wanted)| {
            let found = object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            (found == value) == *wanted
        })
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn requirement(text: &str) -> Result<Requirement, Refused> {
    let named = |label: &str| label.trim().to_owned();
    if let Some((label, value)) = text.split_once("!=") {
        return Ok(Requirement::In(named(label), vec![named(value)], false));
    }
    if let Some((label, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(named(label), vec![named(value)], true));
    }
    if let Some((label, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let values = values.split(',').map(named).collect();
        return match label.trim().split_once(' ').map(|(label, operator)| (label, operator.trim())) {
            Some((label, "in")) => Ok(Requirement::In(named(label), values, true)),
            Some((label, "notin")) => Ok(Requirement::In(named(label), values, false)),
            _ => Err(Refused::bad_request(format!("unable to parse requirement: {text}"))),
        };
    }
    Ok(match text.strip_prefix('!') {
        Some(label) => Requirement::Exists(named(label), false),
        None => Requirement::Exists(named(text), true),
    })
}

fn field(text: &str) -> Result<(String, String, bool), Refused> {
    let (path, value, wanted) = match text.split_once("!=") {
        Some((path, value)) => (path, value, false),
        None => match text.split_once("==").or_else(|| text.split_once('=')) {
            Some((path, value)) => (path, value, true),
            None => return Err(Refused::bad_request(format!("invalid field selector: {text}"))),
        },
    };
    Ok((format!("/{}", path.trim().replace('.', "/")), value.trim().to_owned(), wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_select() {
        let object = json!({"metadata": {"labels": {"app": "a", "tier": "x"}}});
        let matches = |text: &str| {
            let labels = split(text).into_iter().map(requirement).collect::<Result<_, _>>().unwrap();
            Selector { labels, fields: Vec::new() }.matches(&object)
        };
        for yes in ["", "app=a", "app==a,tier in (x,y)", "app,!none", "tier notin (y,z)", "none!=a"] {
            assert!(matches(yes), "{yes}");
        }
        for no in ["app=b", "app=a,tier in (y,z)", "!app", "none", "tier notin (x)", "app!=a"] {
            assert!(!matches(no), "{no}");
        }
        assert!(requirement("a of (b)").is_err());
    }

    #[test]
    fn fields_select() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}});
        let matches = |text: &str| {
            let fields = split(text).into_iter().map(field).collect::<Result<_, _>>().unwrap();
            Selector { labels: Vec::new(), fields }.matches(&object)
        };
        assert!(matches("metadata.name=a,spec.nodeName!=m") && !matches("metadata.name=b"));
    }
}
