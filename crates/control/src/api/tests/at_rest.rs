//! What stands in the files of a state directory: nothing secret in the clear.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    api::testing::{Keys, TestApi},
    control_plane::{ControlConfig, ControlPlane, StartError},
    master_key::MasterKeyError,
    private_ca,
};

const VALUE: &str = "at-rest-value-of-a-secret-7f3a";
const TEMPLATE_VALUE: &str = "at-rest-value-of-a-template-91bc";
const PARAMETER: &str = "at-rest-parameter-without-echo-55de";

/// The ways in which bytes can stand in a file of ours.
fn forms(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        ("as they are", bytes.to_vec()),
        ("in base 64", STANDARD.encode(bytes).trim_end_matches('=').as_bytes().to_vec()),
        ("in hexadecimal", hex.into_bytes()),
        // As JSON has a Vec<u8>, without its brackets.
        ("as numbers", json!(bytes).to_string().trim_matches(['[', ']']).as_bytes().to_vec()),
    ]
}

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("lists").flatten() {
        match entry.file_type().expect("is known") {
            kind if kind.is_dir() => files(&entry.path(), into),
            kind if kind.is_file() => into.push(entry.path()),
            _ => {}
        }
    }
}

/// The file in which the bytes stand, and how.
fn found(dir: &Path, bytes: &[u8]) -> Option<(PathBuf, &'static str)> {
    let mut all = Vec::new();
    files(dir, &mut all);
    for file in all {
        // Where the master key is its own plaintext.
        if file.file_name().is_some_and(|name| name == "master.key") {
            continue;
        }
        let contents = std::fs::read(&file).expect("reads");
        for (form, wanted) in forms(bytes) {
            if memchr_find(&contents, &wanted) {
                return Some((file, form));
            }
        }
    }
    None
}

fn memchr_find(contents: &[u8], wanted: &[u8]) -> bool {
    let first = wanted[0];
    contents
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == first)
        .any(|(at, _)| contents[at..].starts_with(wanted))
}

fn config(dir: &Path) -> ControlConfig {
    ControlConfig { dns: None, ..ControlConfig::new(dir) }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_stands_in_the_state_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().to_owned();
    let control = ControlPlane::start(config(&state)).await.expect("starts");
    let api = TestApi::of(control.core().clone(), dir);
    let root = Keys::root();
    let request = json!({"Name": "at-rest-name", "SecretString": VALUE});
    api.json(&root, "secretsmanager", "CreateSecret", request).await.ok();
    let template = json!({
        "Parameters": {"Password": {"Type": "String", "NoEcho": true}},
        "Resources": {
            "One": {"Type": "AWS::SecretsManager::Secret", "Properties": {"Name": "one",
                "SecretString": TEMPLATE_VALUE}},
            "Two": {"Type": "AWS::SecretsManager::Secret", "Properties": {"Name": "two",
                "SecretString": {"Ref": "Password"}}}
        }
    });
    let parameters = [
        ("StackName", "shop"),
        ("TemplateBody", &template.to_string()),
        ("Parameters.member.1.ParameterKey", "Password"),
        ("Parameters.member.1.ParameterValue", PARAMETER),
    ];
    api.query(&root, "cloudformation", "CreateStack", &parameters).await.ok();
    let made = api.query(&root, "iam", "CreateAccessKey", &[]).await.ok();
    let access_key = made.element("SecretAccessKey");

    api.json(&root, "kms", "CreateKey", json!({})).await.ok();

    let mut secrets: Vec<(&str, Vec<u8>)> = vec![
        ("a secret's value", VALUE.into()),
        ("a template's value", TEMPLATE_VALUE.into()),
        ("a parameter without echo", PARAMETER.into()),
        ("an access key's secret", access_key.into()),
        (
            "a key of all session tokens",
            control.core().authorities().master_key().derive("session token").as_bytes().to_vec(),
        ),
    ];
    let registry = api.registry();
    for authority in registry.authorities.values() {
        let master_key = control.core().authorities().master_key();
        let key = private_ca::open_key(master_key, &authority.arn, &authority.sealed_key);
        // Bound to what it is, not to whose it is alone, as it was before; that is still read.
        assert!(master_key.open(authority.arn.as_str(), &authority.sealed_key).is_err());
        let before = master_key.seal(authority.arn.as_str(), b"of before").expect("sealed");
        let opened = private_ca::open_key(master_key, &authority.arn, &before).expect("opens");
        assert_eq!(opened.as_slice(), b"of before");
        let other = control.snapshot().settings().scope.arn("acm-pca", "certificate-authority/other");
        assert!(private_ca::open_key(master_key, &other, &authority.sealed_key).is_err());
        // The key's private number is somewhere in its PKCS#8: any 24 bytes in a row tell of it.
        let key = key.expect("opens");
        for part in key.chunks_exact(24) {
            secrets.push(("a part of a CA's key", part.to_vec()));
        }
    }
    for key in registry.kms_keys.values() {
        let master_key = control.core().authorities().master_key();
        let material = master_key.open(&format!("kms/{} 0", key.arn), &key.versions[0].sealed);
        secrets.push(("a KMS key's material", material.expect("opens").to_vec()));
    }
    // The public half of a key stands in its certificate.
    let certificates: Vec<_> = registry.authorities.values().map(|of| of.certificate_der.clone()).collect();
    secrets.retain(|(_, bytes)| !certificates.iter().any(|der| memchr_find(der, bytes)));
    assert!(secrets.len() > 7, "there are keys of authorities");

    // What is not secret is found: so would be what is.
    assert!(found(&state, b"at-rest-name").is_some());
    assert!(found(&state, &certificates[0]).is_some());
    for (what, bytes) in &secrets {
        assert_eq!(found(&state, bytes), None, "{what} is not sealed");
    }
    // Nor after a rotation, and after the end.
    control.rotate_master_key(None).expect("rotates");
    control.close_audit_trail().await;
    for (what, bytes) in &secrets {
        assert_eq!(found(&state, bytes), None, "{what} is not sealed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_goes_on_through_a_rotation_and_starts_again_with_its_key_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().to_owned();
    let old = state.join("old");
    let control = ControlPlane::start(config(&state)).await.expect("starts");
    let api = TestApi::of(control.core().clone(), dir);
    let root = Keys::root();
    let get = json!({"SecretId": "db"});
    let request = json!({"Name": "db", "SecretString": VALUE});
    api.json(&root, "secretsmanager", "CreateSecret", request).await.ok();
    let rows = control.snapshot().secret_values.clone();
    std::fs::copy(state.join("master.key"), &old).expect("copies");
    control.rotate_master_key(None).expect("rotates");
    assert!(api.json(&root, "secretsmanager", "GetSecretValue", get.clone()).await.ok().body.contains(VALUE));
    let same = |before: &crate::registry::Table<_>| {
        control.snapshot().secret_values.changes_since(before).0.is_empty()
    };
    assert!(same(&rows), "a row was sealed anew");

    control.close_audit_trail().await;
    control.shutdown().await;
    let TestApi { api, dir: _kept, .. } = api;
    drop(api);
    let new = std::fs::read(state.join("master.key")).expect("reads");
    std::fs::copy(&old, state.join("master.key")).expect("copies");
    let refused = ControlPlane::start(config(&state)).await.err().expect("does not start");
    assert!(matches!(refused, StartError::MasterKey(MasterKeyError::WrongKey { .. })), "{refused:?}");
    std::fs::write(state.join("master.key"), new).expect("writes");
    let control = ControlPlane::start(config(&state)).await.expect("starts");
    assert_eq!(control.snapshot().secret_values.values().count(), 1);
}
