//! Every resource type of the stream, as one closed enum.

use prost::Message;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::v1;

/// What a type URL on the stream names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ResourceType {
    /// [`v1::Listener`]
    Listener,
    /// [`v1::Route`]
    Route,
    /// [`v1::Cluster`]
    Cluster,
    /// [`v1::Endpoints`]
    Endpoints,
    /// [`v1::Identity`]
    Identity,
    /// [`v1::Trust`]
    Trust,
    /// [`v1::Revocation`]
    Revocation,
    /// [`v1::ImportedCertificate`]
    ImportedCertificate,
    /// [`v1::Authorization`]
    Authorization,
    /// [`v1::Limit`]
    Limit,
    /// [`v1::Fault`]
    Fault,
    /// [`v1::PrivateDns`]
    PrivateDns,
    /// [`v1::Tracing`]
    Tracing,
}

const TYPE_URL_PREFIX: &str = "type.googleapis.com/bowline.discovery.v1.";

impl ResourceType {
    /// All types, in the order in which a proxy should apply them: what is
    /// referred to before what refers to it.
    pub const ALL: [ResourceType; 13] = [
        ResourceType::Trust,
        ResourceType::Revocation,
        ResourceType::ImportedCertificate,
        ResourceType::Identity,
        ResourceType::Cluster,
        ResourceType::Endpoints,
        ResourceType::Authorization,
        ResourceType::Limit,
        ResourceType::Fault,
        ResourceType::PrivateDns,
        ResourceType::Tracing,
        ResourceType::Route,
        ResourceType::Listener,
    ];

    /// The message's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "Listener",
            Self::Route => "Route",
            Self::Cluster => "Cluster",
            Self::Endpoints => "Endpoints",
            Self::Identity => "Identity",
            Self::Trust => "Trust",
            Self::Revocation => "Revocation",
            Self::ImportedCertificate => "ImportedCertificate",
            Self::Authorization => "Authorization",
            Self::Limit => "Limit",
            Self::Fault => "Fault",
            Self::PrivateDns => "PrivateDns",
            Self::Tracing => "Tracing",
        }
    }

    /// The type URL on the stream.
    pub fn type_url(self) -> String {
        format!("{TYPE_URL_PREFIX}{}", self.name())
    }

    /// The type that `type_url` names, if it is one of ours.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        let name = type_url.strip_prefix(TYPE_URL_PREFIX)?;
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A resource of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // each variant is the message of the same name
#[allow(clippy::large_enum_variant)] // a proxy holds few; a box each would cost more than the slack
pub enum Resource {
    Listener(v1::Listener),
    Route(v1::Route),
    Cluster(v1::Cluster),
    Endpoints(v1::Endpoints),
    Identity(v1::Identity),
    Trust(v1::Trust),
    Revocation(v1::Revocation),
    ImportedCertificate(v1::ImportedCertificate),
    Authorization(v1::Authorization),
    Limit(v1::Limit),
    Fault(v1::Fault),
    PrivateDns(v1::PrivateDns),
    Tracing(v1::Tracing),
}

/// Why bytes of the stream are no resource.
#[derive(Debug, Error)]
#[error("{} cannot be decoded", .kind.name())]
pub struct DecodeError {
    /// What it was said to be.
    pub kind: ResourceType,
    /// What protobuf made of it.
    pub source: prost::DecodeError,
}

macro_rules! for_each_kind {
    ($self:expr, $message:ident => $result:expr) => {
        match $self {
            Resource::Listener($message) => $result,
            Resource::Route($message) => $result,
            Resource::Cluster($message) => $result,
            Resource::Endpoints($message) => $result,
            Resource::Identity($message) => $result,
            Resource::Trust($message) => $result,
            Resource::Revocation($message) => $result,
            Resource::ImportedCertificate($message) => $result,
            Resource::Authorization($message) => $result,
            Resource::Limit($message) => $result,
            Resource::Fault($message) => $result,
            Resource::PrivateDns($message) => $result,
            Resource::Tracing($message) => $result,
        }
    };
}

impl Resource {
    /// The name, unique among the resources of its type that a proxy holds.
    pub fn name(&self) -> &str {
        for_each_kind!(self, message => &message.name)
    }

    /// Which type it is.
    pub fn kind(&self) -> ResourceType {
        match self {
            Resource::Listener(_) => ResourceType::Listener,
            Resource::Route(_) => ResourceType::Route,
            Resource::Cluster(_) => ResourceType::Cluster,
            Resource::Endpoints(_) => ResourceType::Endpoints,
            Resource::Identity(_) => ResourceType::Identity,
            Resource::Trust(_) => ResourceType::Trust,
            Resource::Revocation(_) => ResourceType::Revocation,
            Resource::ImportedCertificate(_) => ResourceType::ImportedCertificate,
            Resource::Authorization(_) => ResourceType::Authorization,
            Resource::Limit(_) => ResourceType::Limit,
            Resource::Fault(_) => ResourceType::Fault,
            Resource::PrivateDns(_) => ResourceType::PrivateDns,
            Resource::Tracing(_) => ResourceType::Tracing,
        }
    }

    /// The protobuf encoding. Deterministic: the messages hold no maps.
    pub fn encode(&self) -> Vec<u8> {
        for_each_kind!(self, message => message.encode_to_vec())
    }

    /// Reads what [`Resource::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are not a message of that type.
    pub fn decode(kind: ResourceType, bytes: &[u8]) -> Result<Self, DecodeError> {
        let decoded = match kind {
            ResourceType::Listener => v1::Listener::decode(bytes).map(Resource::Listener),
            ResourceType::Route => v1::Route::decode(bytes).map(Resource::Route),
            ResourceType::Cluster => v1::Cluster::decode(bytes).map(Resource::Cluster),
            ResourceType::Endpoints => v1::Endpoints::decode(bytes).map(Resource::Endpoints),
            ResourceType::Identity => v1::Identity::decode(bytes).map(Resource::Identity),
            ResourceType::Trust => v1::Trust::decode(bytes).map(Resource::Trust),
            ResourceType::Revocation => v1::Revocation::decode(bytes).map(Resource::Revocation),
            ResourceType::ImportedCertificate => {
                v1::ImportedCertificate::decode(bytes).map(Resource::ImportedCertificate)
            }
            ResourceType::Authorization => v1::Authorization::decode(bytes).map(Resource::Authorization),
            ResourceType::Limit => v1::Limit::decode(bytes).map(Resource::Limit),
            ResourceType::Fault => v1::Fault::decode(bytes).map(Resource::Fault),
            ResourceType::PrivateDns => v1::PrivateDns::decode(bytes).map(Resource::PrivateDns),
            ResourceType::Tracing => v1::Tracing::decode(bytes).map(Resource::Tracing),
        };
        decoded.map_err(|source| DecodeError { kind, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_urls_round_trip() {
        for kind in ResourceType::ALL {
            assert_eq!(ResourceType::from_type_url(&kind.type_url()), Some(kind));
        }
        assert_eq!(ResourceType::from_type_url("type.googleapis.com/envoy.config.cluster.v3.Cluster"), None);
    }

    #[test]
    fn a_listener_reads_from_json_and_survives_the_wire() {
        let json = serde_json::json!({
            "listener": {
                "name": "service-b-sc:8202",
                "bind": {"outbound": {"address": "198.18.1.1", "port": 8202, "hostnames": ["service-b-sc"]}},
                "protocol": "HTTP",
                "route": "service-b-sc:8202",
            }
        });
        let resource: Resource = serde_json::from_value(json).expect("reads");
        let again = Resource::decode(resource.kind(), &resource.encode()).expect("decodes");
        assert_eq!(resource, again);
        let text = serde_json::to_string(&again).expect("writes");
        assert!(text.contains(r#""protocol":"HTTP""#), "{text}");
    }

    #[test]
    fn an_unknown_field_or_enumeration_is_named() {
        let error = serde_json::from_value::<Resource>(serde_json::json!({"listener": {"nane": "x"}}));
        assert!(error.expect_err("refused").to_string().contains("nane"));
        let error = serde_json::from_value::<Resource>(serde_json::json!({"listener": {"protocol": "SPDY"}}));
        assert!(error.expect_err("refused").to_string().contains("SPDY"));
    }
}
