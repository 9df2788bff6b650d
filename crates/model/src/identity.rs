//! SPIFFE identities: who a workload is, as its certificate says it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest SPIFFE id accepted, in bytes (SPIFFE-ID §2.4).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;

/// A SPIFFE id, `spiffe://TRUST-DOMAIN/PATH`, checked to be well formed.
///
/// Source: the SPIFFE-ID standard. Compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(String);

/// Why a text is no SPIFFE id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no SPIFFE id: {reason}")]
pub struct InvalidSpiffeId {
    text: String,
    reason: &'static str,
}

impl SpiffeId {
    /// The id of an ECS service's tasks.
    pub fn of_service(trust_domain: &str, namespace: &str, cluster: &str, service: &str) -> Self {
        Self::of_workload(trust_domain, namespace, cluster, "svc", service)
    }

    /// The id of tasks that no service started.
    pub fn of_task_family(trust_domain: &str, namespace: &str, cluster: &str, family: &str) -> Self {
        Self::of_workload(trust_domain, namespace, cluster, "task-family", family)
    }

    /// The id of a gateway (a load balancer).
    pub fn of_gateway(trust_domain: &str, name: &str) -> Self {
        Self(format!("spiffe://{trust_domain}/gateway/{}", percent_encode(name)))
    }

    /// The id of the control plane.
    pub fn of_control_plane(trust_domain: &str) -> Self {
        Self(format!("spiffe://{trust_domain}/control-plane"))
    }

    fn of_workload(trust_domain: &str, namespace: &str, cluster: &str, kind: &str, name: &str) -> Self {
        Self(format!(
            "spiffe://{trust_domain}/ns/{}/cluster/{}/{kind}/{}",
            percent_encode(namespace),
            percent_encode(cluster),
            percent_encode(name)
        ))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part between `spiffe://` and the path.
    pub fn trust_domain(&self) -> &str {
        let rest = &self.0["spiffe://".len()..];
        rest.split_once('/').map_or(rest, |(domain, _)| domain)
    }

    /// The namespace, of an id that has one.
    pub fn namespace(&self) -> Option<&str> {
        let (_, path) = self.0["spiffe://".len()..].split_once("/ns/")?;
        path.split('/').next()
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        let refuse = |reason| InvalidSpiffeId { text: text.chars().take(100).collect(), reason };
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(refuse("longer than 2,048 bytes"));
        }
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| refuse("does not begin with spiffe://"))?;
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        let domain_character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        if domain.is_empty() || domain.len() > 255 || !domain.chars().all(domain_character) {
            return Err(refuse("the trust domain is not of [a-z0-9.-_]"));
        }
        let has_path = rest.contains('/');
        let segment_character = |c: char| c.is_ascii_alphanumeric() || "-._%".contains(c);
        for segment in path.split('/').filter(|_| has_path) {
            if segment.is_empty() || segment == "." || segment == ".." {
                return Err(refuse("a path segment is empty or relative"));
            }
            if !segment.chars().all(segment_character) {
                return Err(refuse("a path segment has a character that must be percent-encoded"));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = InvalidSpiffeId;

    fn try_from(text: String) -> Result<Self, InvalidSpiffeId> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> String {
        id.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which ids a rule speaks of: one, or (ending in `/*`) all below a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SpiffePattern {
    /// Exactly this id.
    Exact(SpiffeId),
    /// Every id that begins with this text, which ends in `/`.
    Below(String),
}

impl SpiffePattern {
    /// Every id of a namespace: see [`SpiffeId::of_service`].
    pub fn of_namespace(trust_domain: &str, namespace: &str) -> Self {
        Self::Below(format!("spiffe://{trust_domain}/ns/{}/", percent_encode(namespace)))
    }

    /// Whether the pattern covers `id`.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exact(exact) => exact == id,
            Self::Below(prefix) => id.0.len() > prefix.len() && id.0.starts_with(prefix.as_str()),
        }
    }
}

impl FromStr for SpiffePattern {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        match text.strip_suffix("/*") {
            Some(parent) => {
                parent.parse::<SpiffeId>()?;
                Ok(Self::Below(format!("{parent}/")))
            }
            None => text.parse().map(Self::Exact),
        }
    }
}

impl TryFrom<String> for SpiffePattern {
    type Error = InvalidSpiffeId;

    fn try_from(text: String) -> Result<Self, InvalidSpiffeId> {
        text.parse()
    }
}

impl From<SpiffePattern> for String {
    fn from(pattern: SpiffePattern) -> String {
        match pattern {
            SpiffePattern::Exact(id) => id.0,
            SpiffePattern::Below(prefix) => format!("{prefix}*"),
        }
    }
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(id) => id.fmt(f),
            Self::Below(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// RFC 3986 percent-encoding of all but unreserved characters (without `~`,
/// which SPIFFE does not allow in a path).
fn percent_encode(component: &str) -> String {
    let mut encoded = String::with_capacity(component.len());
    for byte in component.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-_".contains(&byte)
            || (byte == b'.' && !matches!(component, "." | ".."))
        {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_a_service() {
        let id = SpiffeId::of_service("bowline.local", "fast-api-namespace", "demo", "service a/b");
        assert_eq!(
            id.as_str(),
            "spiffe://bowline.local/ns/fast-api-namespace/cluster/demo/svc/service%20a%2Fb"
        );
        assert_eq!(id.trust_domain(), "bowline.local");
        assert_eq!(id.namespace(), Some("fast-api-namespace"));
    }

    #[test]
    fn refuses_what_the_standard_refuses() {
        for text in [
            "",
            "https://x/y",
            "spiffe://",
            "spiffe:///path",
            "spiffe://Domain/x",
            "spiffe://d/x/",
            "spiffe://d//x",
            "spiffe://d/../x",
            "spiffe://d/x?y",
            "spiffe://user@d/x",
            "spiffe://d:80/x",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_pattern_covers_what_is_below_it_only() {
        let pattern: SpiffePattern = "spiffe://d/ns/a/*".parse().expect("parses");
        assert!(pattern.matches(&"spiffe://d/ns/a/cluster/c/svc/s".parse().expect("parses")));
        assert!(!pattern.matches(&"spiffe://d/ns/ab/cluster/c/svc/s".parse().expect("parses")));
        assert!(!pattern.matches(&"spiffe://d/ns/a".parse().expect("parses")));
    }

    proptest! {
        #[test]
        fn any_names_make_a_well_formed_id(namespace in ".{1,64}", cluster in ".{1,64}", service in ".{1,64}") {
            let id = SpiffeId::of_service("bowline.local", &namespace, &cluster, &service);
            prop_assert_eq!(id.as_str().parse::<SpiffeId>(), Ok(id));
        }

        #[test]
        fn different_names_make_different_ids(a in ".{1,16}", b in ".{1,16}", c in ".{1,16}", d in ".{1,16}") {
            let same = a == c && b == d;
            prop_assert_eq!(SpiffeId::of_service("t", &a, "x", &b) == SpiffeId::of_service("t", &c, "x", &d), same);
        }
    }
}
