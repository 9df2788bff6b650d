//! Which ids, ARNs and attributes a resource has, before it exists.
//!
//! AWS hands ids out on creation; here they are functions of account, region, stack name, logical
//! id and properties. That is what lets a template be resolved as a whole, and what makes a second
//! run find everything that the first one made. Generated parts are cut from a SHA-256 over those
//! inputs, in the alphabet and length AWS uses for the type.
//!
//! Contents that exist only after creation (a CSR, an issued certificate) resolve to a reference
//! in CloudFormation's own notation, `{{resolve:acm-pca:ARN:Attribute}}`, for the creator to fill.

pub(super) mod ec2;
pub(super) mod ecs;
pub(super) mod elbv2;
pub(super) mod records;
pub(super) mod security;
pub(super) mod servicediscovery;

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema::{ResourceType, to_json};
use super::stack::Inputs;
use super::tree::Node;
use crate::protocol::from_json;

/// What `Ref` and `Fn::GetAtt` yield for a resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    pub(super) reference: String,
    pub(super) attributes: BTreeMap<String, Value>,
    /// Properties that AWS would fill in when they are absent: generated names.
    pub(super) defaults: Vec<(&'static str, String)>,
    /// Whether a `NoEcho` value is among the properties, and so perhaps in what is yielded here.
    pub(super) secret: bool,
}

impl Identity {
    fn new(reference: impl Into<String>) -> Self {
        Identity { reference: reference.into(), ..Identity::default() }
    }

    fn with(mut self, attribute: &str, value: impl Into<Value>) -> Self {
        self.attributes.insert(attribute.to_owned(), value.into());
        self
    }

    fn default_property(mut self, property: &'static str, value: impl Into<String>) -> Self {
        self.defaults.push((property, value.into()));
        self
    }
}

/// What a resource's identity is computed from.
pub(super) struct Facts<'f> {
    pub(super) inputs: &'f Inputs,
    pub(super) resource: &'f ResourceType,
    pub(super) logical_id: &'f str,
    /// The evaluated properties.
    pub(super) properties: &'f Node,
}

/// The default: the resource is known by a generated name.
pub(super) fn by_name(facts: &Facts<'_>) -> Identity {
    let name = facts.generated_name(255);
    Identity::new(name.clone()).with("Id", name)
}

impl Facts<'_> {
    /// A property that is text.
    pub(super) fn text(&self, property: &str) -> Option<&str> {
        self.properties.get(property)?.text()
    }

    /// The last segment of a property that holds a name or an ARN.
    pub(super) fn name_in(&self, property: &str) -> Option<&str> {
        self.text(property)?.rsplit('/').next()
    }

    /// The properties as the struct that the type's body is.
    pub(super) fn typed<T: DeserializeOwned>(&self, defaults: &[(&str, &str)]) -> Option<T> {
        let mut value = to_json(&self.resource.properties, self.properties, self.resource.case);
        let object = value.as_object_mut()?;
        for (name, default) in defaults {
            object.entry(*name).or_insert_with(|| Value::from(*default));
        }
        from_json(value).ok()
    }

    pub(super) fn partition(&self) -> &'static str {
        partition(&self.inputs.region)
    }

    /// `arn:PARTITION:SERVICE:REGION:ACCOUNT:REST`
    pub(super) fn arn(&self, service: &str, rest: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{rest}", self.partition(), self.inputs.region, self.inputs.account_id)
    }

    /// `STACK-LOGICALID-SUFFIX`, as CloudFormation names what the template does not.
    pub(super) fn generated_name(&self, length_max: usize) -> String {
        let suffix = self.random("name", UPPER, 12);
        let room = length_max.saturating_sub(suffix.len() + 1);
        let logical: String = self.logical_id.chars().take(room / 2).collect();
        let stack: String =
            self.inputs.stack_name.chars().take(room.saturating_sub(logical.chars().count() + 1)).collect();
        format!("{stack}-{logical}-{suffix}")
    }

    /// The name that `property` gives, or a generated one.
    pub(super) fn name(&self, property: &str, length_max: usize) -> String {
        self.text(property).map_or_else(|| self.generated_name(length_max), str::to_owned)
    }

    /// `length` characters of `alphabet`, always the same for the same resource and purpose.
    pub(super) fn random(&self, purpose: &str, alphabet: &[u8], length: usize) -> String {
        let inputs = self.inputs;
        random(
            &[
                &inputs.account_id,
                &inputs.region,
                &inputs.stack_name,
                self.logical_id,
                self.resource.name,
                purpose,
            ],
            alphabet,
            length,
        )
    }

    /// `prefix` and 17 hexadecimal digits, as EC2's ids are.
    pub(super) fn ec2_id(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.random("id", HEX, 17))
    }

    pub(super) fn uuid(&self) -> String {
        uuid(&self.random("uuid", HEX, 32))
    }
}

pub(super) const HEX: &[u8] = b"0123456789abcdef";
pub(super) const UPPER: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
pub(super) const LOWER: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `length` characters of `alphabet` from a SHA-256 over `parts`.
pub(super) fn random(parts: &[&str], alphabet: &[u8], length: usize) -> String {
    let mut out = String::with_capacity(length);
    for block in 0u32.. {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&block.to_be_bytes());
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        for byte in context.finish().as_ref() {
            if out.len() == length {
                return out;
            }
            out.push(char::from(alphabet[usize::from(*byte) % alphabet.len()]));
        }
    }
    out
}

/// 32 hexadecimal digits in the form of a version 4 UUID.
pub(super) fn uuid(digits: &str) -> String {
    format!(
        "{}-{}-4{}-a{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..32]
    )
}

/// `AWS::Partition`
pub(super) fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// `AWS::URLSuffix`
pub(super) fn url_suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// `AWS::StackId`
pub(super) fn stack_id(inputs: &Inputs) -> String {
    let digits = random(&[&inputs.account_id, &inputs.region, &inputs.stack_name, "stack"], HEX, 32);
    format!(
        "arn:{}:cloudformation:{}:{}:stack/{}/{}",
        partition(&inputs.region),
        inputs.region,
        inputs.account_id,
        inputs.stack_name,
        uuid(&digits)
    )
}
