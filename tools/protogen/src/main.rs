//! Turns `crates/discovery/proto` into the Rust that is committed under
//! `crates/discovery/src/generated`, so that building Bowline needs no protoc.

use std::path::Path;

const ENUM_FIELDS: &[(&str, &str)] = &[
    ("Listener.protocol", "protocol"),
    ("InboundBind.tls", "tls_mode"),
    ("Cluster.protocol", "protocol"),
    ("MeshUpstream.tls", "tls_mode"),
    ("AuthorizationRule.effect", "authorization_effect"),
    ("LoadBalancing.balancer", "balancer"),
];

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/discovery");
    let proto = root.join("proto");
    let mut build = tonic_prost_build::configure()
        .out_dir(root.join("src/generated"))
        .build_transport(false)
        .codec_path("crate::codec::Codec")
        .message_attribute(
            ".bowline.discovery.v1",
            "#[derive(serde::Serialize, serde::Deserialize)]\n\
             #[serde(default, deny_unknown_fields, rename_all = \"camelCase\")]",
        );
    for oneof in [
        "Listener.bind",
        "RouteRule.action",
        "Cluster.kind",
        "Identity.source",
        "ExternalUpstream.security",
        "TlsOrigination.roots",
    ] {
        build = build.enum_attribute(
            format!(".bowline.discovery.v1.{oneof}"),
            "#[derive(serde::Serialize, serde::Deserialize)]\n#[serde(rename_all = \"camelCase\")]",
        );
    }
    for (field, with) in ENUM_FIELDS {
        build = build.field_attribute(
            format!(".bowline.discovery.v1.{field}"),
            format!("#[serde(with = \"crate::text_enum::{with}\")]"),
        );
    }
    build.compile_protos(
        &[
            proto.join("bowline/discovery/v1/resources.proto"),
            proto.join("bowline/identity/v1/identity.proto"),
            proto.join("bowline/telemetry/v1/telemetry.proto"),
            proto.join("bowline/introspection/v1/introspection.proto"),
            proto.join("envoy/service/discovery/v3/ads.proto"),
        ],
        std::slice::from_ref(&proto),
    )?;
    // The messages alone: they are sent by HTTP/1.1 and HTTP/2 in the same way.
    let collector = proto.join("opentelemetry/proto/collector");
    tonic_prost_build::configure()
        .out_dir(root.join("src/generated"))
        .build_transport(false)
        .build_server(false)
        .build_client(false)
        .compile_protos(
            &[
                collector.join("trace/v1/trace_service.proto"),
                collector.join("metrics/v1/metrics_service.proto"),
            ],
            &[proto],
        )
}
