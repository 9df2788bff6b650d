//! Enumerations written by their names (`GRPC`, `MUTUAL`) in JSON and YAML,
//! while the messages hold protobuf's integers.

macro_rules! text_enum {
    ($module:ident, $enum:path) => {
        /// For `#[serde(with = …)]`.
        pub mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            /// Writes the name; a number this version does not know as itself.
            pub fn serialize<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
                match <$enum>::try_from(*value) {
                    Ok(known) => serializer.serialize_str(known.as_str_name()),
                    Err(_) => serializer.serialize_i32(*value),
                }
            }

            /// Reads the name, upper or lower case.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
                let text = String::deserialize(deserializer)?;
                <$enum>::from_str_name(&text.to_ascii_uppercase())
                    .map(i32::from)
                    .ok_or_else(|| D::Error::custom(format!("{text:?} is not a {}", stringify!($module))))
            }
        }
    };
}

text_enum!(protocol, crate::v1::Protocol);
text_enum!(tls_mode, crate::v1::TlsMode);
text_enum!(authorization_effect, crate::v1::AuthorizationEffect);
text_enum!(balancer, crate::v1::Balancer);
