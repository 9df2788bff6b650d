//! Amazon Resource Names and the ids within them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The account and region that resources belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// `aws` outside China and GovCloud.
    pub partition: String,
    /// For example `us-east-1`.
    pub region: String,
    /// Twelve digits; Bowline's default is `000000000000`.
    pub account_id: String,
}

impl Default for Scope {
    fn default() -> Self {
        Self { partition: "aws".into(), region: "us-east-1".into(), account_id: "000000000000".into() }
    }
}

impl Scope {
    /// The ARN of the account's root user, who may do everything.
    pub fn root_arn(&self) -> String {
        format!("arn:{}:iam::{}:root", self.partition, self.account_id)
    }

    /// The ARN of `resource` (type and name, as the service writes them).
    pub fn arn(&self, service: &str, resource: impl fmt::Display) -> Arn {
        Arn(format!("arn:{}:{service}:{}:{}:{resource}", self.partition, self.region, self.account_id))
    }
}

/// A well-formed Amazon Resource Name,
/// `arn:partition:service:region:account-id:resource`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Arn(String);

/// Why a text is no ARN.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no ARN: six parts separated by colons, the first of them `arn`, are needed")]
pub struct InvalidArn(String);

impl Arn {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn part(&self, index: usize) -> &str {
        self.0.splitn(6, ':').nth(index).unwrap_or_default()
    }

    /// `ecs`, `acm-pca`, …
    pub fn service(&self) -> &str {
        self.part(2)
    }

    /// Everything after the account: `service/cluster/name`.
    pub fn resource(&self) -> &str {
        self.part(5)
    }

    /// The part of the resource after the last slash: a name or an id.
    pub fn resource_name(&self) -> &str {
        self.resource().rsplit('/').next().unwrap_or_default()
    }
}

impl FromStr for Arn {
    type Err = InvalidArn;

    fn from_str(text: &str) -> Result<Self, InvalidArn> {
        let mut parts = text.splitn(6, ':');
        let well_formed = text.len() <= 2048
            && parts.next() == Some("arn")
            && parts.next().is_some_and(|partition| !partition.is_empty())
            && parts.next().is_some_and(|service| !service.is_empty())
            && parts.next().is_some()
            && parts.next().is_some()
            && parts.next().is_some_and(|resource| !resource.is_empty());
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidArn(text.chars().take(200).collect()))
        }
    }
}

impl TryFrom<String> for Arn {
    type Error = InvalidArn;

    fn try_from(text: String) -> Result<Self, InvalidArn> {
        text.parse()
    }
}

impl From<Arn> for String {
    fn from(arn: Arn) -> String {
        arn.0
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_parts() {
        let arn: Arn = "arn:aws:ecs:us-east-1:000000000000:service/demo/a".parse().expect("parses");
        assert_eq!((arn.service(), arn.resource(), arn.resource_name()), ("ecs", "service/demo/a", "a"));
        assert!("arn:aws:ecs:us-east-1".parse::<Arn>().is_err());
        assert!("nra:aws:ecs:us-east-1:0:x".parse::<Arn>().is_err());
    }
}
