//! What a path of the API names.

/// A resource, all objects of which live in one place whatever version of the group is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    pub group: String,
    pub plural: String,
}

/// An object's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub resource: Resource,
    /// Empty for objects of the whole cluster.
    pub namespace: String,
    pub name: String,
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub resource: Resource,
    pub version: String,
    /// None is all of them.
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// Empty is the object itself.
    pub subresource: String,
}

impl Target {
    /// Reads a path; `None` where it names no resource.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // The namespace itself is an object too.
            ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (plural, None, ""),
            [plural, name] => (plural, Some(*name), ""),
            [plural, name, subresource] => (plural, Some(*name), *subresource),
            _ => return None,
        };
        Some(Self {
            resource: Resource { group: group.into(), plural: (*plural).into() },
            version: version.into(),
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
            subresource: subresource.into(),
        })
    }

    /// The place of the object of this name.
    pub fn key(&self, name: &str) -> Key {
        Key {
            resource: self.resource.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
        }
    }

    /// Whether an object belongs to what is listed.
    pub fn covers(&self, key: &Key) -> bool {
        key.resource == self.resource
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    }

    /// Group and version as objects write them.
    pub fn api_version(&self) -> String {
        if self.resource.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.resource.group, self.version)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> (String, Option<String>, String, Option<String>, String) {
        let target = Target::parse(path).unwrap();
        (target.api_version(), target.namespace, target.resource.plural, target.name, target.subresource)
    }

    #[test]
    fn paths_are_read() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("/api/v1/pods"), ("v1".into(), None, "pods".into(), None, String::new()));
        assert_eq!(
            parts("/apis/apps/v1/namespaces/a/deployments/d/scale"),
            ("apps/v1".into(), some("a"), "deployments".into(), some("d"), "scale".into())
        );
        assert_eq!(
            parts("/api/v1/namespaces/a"),
            ("v1".into(), None, "namespaces".into(), some("a"), String::new())
        );
        assert_eq!(
            parts("/api/v1/namespaces/a/status"),
            ("v1".into(), None, "namespaces".into(), some("a"), "status".into())
        );
        assert_eq!(
            parts("/api/v1/namespaces/a/secrets"),
            ("v1".into(), some("a"), "secrets".into(), None, String::new())
        );
        assert!(Target::parse("/healthz").is_none() && Target::parse("/apis/apps/v1").is_none());
    }
}
