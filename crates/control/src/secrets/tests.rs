use std::{collections::BTreeMap, sync::Arc};

use bowline_model::arn::Scope;
use proptest::prelude::*;

use super::{
    commands::{Deletion, NewSecret, Wanted},
    *,
};
use crate::{
    master_key::MasterKey,
    registry::{RegistryError, RegistryWriter},
    store::EmbeddedStore,
};

const T0: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn key() -> (tempfile::TempDir, Arc<MasterKey>) {
    let dir = tempfile::tempdir().expect("a directory");
    let key = MasterKey::load_or_create(dir.path(), false).expect("is made");
    (dir, Arc::new(key))
}

fn create(registry: &mut Registry, key: &MasterKey, name: &str, value: &str) -> SecretRecord {
    let new = NewSecret {
        name: name.into(),
        value: Some(SecretValue::text(value)),
        token: None,
        ..NewSecret::default()
    };
    commands::create(registry, Vault::new(key), &Scope::default(), new, T0).expect("is made").0
}

fn put(registry: &mut Registry, key: &MasterKey, value: &str, token: &str) -> Result<String, SecretError> {
    let labels = [CURRENT.to_owned()];
    let value = SecretValue::text(value);
    commands::put_value(registry, Vault::new(key), "db", &value, Some(token), &labels, T0).map(|put| put.1)
}

#[test]
fn a_secret_is_found_by_name_and_by_whole_and_partial_arn() {
    let (_dir, key) = key();
    let mut registry = Registry::default();
    let arn = create(&mut registry, &key, "a/db", "x").arn.to_string();
    // A name that ends like an ARN does.
    create(&mut registry, &key, "a/db-abcdef", "y");
    let partial = &arn[..arn.len() - 7];
    let found = |given: &str| find(&registry, given, T0).map(|secret| secret.name.clone());
    for given in ["a/db", &arn, partial] {
        assert_eq!(found(given).as_deref(), Ok("a/db"), "{given}");
    }
    assert_eq!(found("a/db-abcdef").as_deref(), Ok("a/db-abcdef"));
    assert_eq!(found(&format!("{partial}-abcdef")).as_deref(), Ok("a/db-abcdef"), "a partial ARN");
    let other = partial.replace("000000000000", "111111111111");
    for given in ["a", "arn:aws:secretsmanager", &partial[..partial.len() - 1], &other, &arn[..arn.len() - 1]]
    {
        assert_eq!(found(given), Err(SecretError::NotFound), "{given}");
    }
}

#[test]
fn the_same_token_is_the_same_version_or_refused() {
    let (_dir, key) = key();
    let mut registry = Registry::default();
    create(&mut registry, &key, "db", "one");
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    assert_eq!(put(&mut registry, &key, "two", &a).as_ref(), Ok(&a));
    let before = registry.secrets.get("db").cloned();
    assert_eq!(put(&mut registry, &key, "two", &a).as_ref(), Ok(&a));
    assert_eq!(registry.secrets.get("db").cloned(), before, "nothing changed");
    assert!(matches!(put(&mut registry, &key, "three", &a), Err(SecretError::Exists(_))));
    assert!(put(&mut registry, &key, "three", &b).is_ok());
    let secret = registry.secrets.get("db").expect("is there");
    assert_eq!(secret.version_with(CURRENT).map(|found| found.0), Some(b.as_str()));
    assert_eq!(secret.version_with(PREVIOUS).map(|found| found.0), Some(a.as_str()));
    assert!(put(&mut registry, &key, "four", "short").is_err());
}

#[test]
fn a_deleted_secret_is_kept_for_its_window_and_then_gone() {
    let (_dir, key) = key();
    let mut registry = Registry::default();
    create(&mut registry, &key, "db", "x");
    for days in [6, 31, -1] {
        let refused = commands::delete(&mut registry, "db", Deletion::InDays(days), T0);
        assert!(matches!(refused, Err(SecretError::Parameter(_))), "{days}");
    }
    let (_, from) = commands::delete(&mut registry, "db", Deletion::InDays(7), T0).expect("deletes");
    assert_eq!(from, T0 + DAY * 7);
    let secret = find(&registry, "db", T0).expect("is told").clone();
    assert!(matches!(commands::select(&secret, Wanted::default()), Err(SecretError::State(_))));
    commands::restore(&mut registry, "db", T0).expect("is restored");
    commands::delete(&mut registry, "db", Deletion::InDays(7), T0).expect("deletes");
    commands::sweep(&mut registry, T0 + DAY * 6);
    assert_eq!(registry.secrets.len(), 1);
    assert_eq!(find(&registry, "db", from), Err(SecretError::NotFound), "also before the sweep");
    commands::sweep(&mut registry, from);
    assert!(registry.secrets.is_empty() && registry.secret_values.is_empty());
}

#[test]
fn a_value_opens_in_its_own_place_only() {
    let (_dir, key) = key();
    let vault = Vault::new(&key);
    for value in [SecretValue::text("ä"), SecretValue::Bytes(vec![0, 255].into())] {
        let sealed = vault.seal("arn:a", "v1", &value).expect("seals");
        assert_eq!(vault.open("arn:a", "v1", &sealed), Ok(value));
        assert_eq!(vault.open("arn:a", "v2", &sealed), Err(SecretError::Open));
        assert_eq!(vault.open("arn:b", "v1", &sealed), Err(SecretError::Open));
        assert_eq!(vault.open("arn:a", "v1", &sealed[1..]), Err(SecretError::Open));
    }
    assert_eq!(format!("{:?}", SecretValue::text("swordfish")), "SecretValue(…)");
}

#[test]
fn versions_without_labels_are_dropped_once_they_are_a_day_old() {
    let (_dir, key) = key();
    let vault = Vault::new(&key);
    let mut registry = Registry::default();
    create(&mut registry, &key, "db", "0");
    let mut add = |number: u32, at: Timestamp| {
        let value = SecretValue::text(number.to_string());
        let labels = [CURRENT.to_owned()];
        commands::put_value(&mut registry, vault, "db", &value, None, &labels, at).map(|_| ())?;
        Ok::<_, SecretError>((
            registry.secrets.get("db").expect("is there").versions.len(),
            registry.secret_values.len(),
        ))
    };
    for number in 1..100 {
        add(number, T0).expect("there is room");
    }
    assert!(matches!(add(100, T0), Err(SecretError::Limit(_))));
}

#[test]
fn a_restart_finds_the_values_and_no_file_holds_them() {
    const VALUE: &str = "correct-horse-battery-staple";
    let (dir, key) = key();
    let path = dir.path().join("store.redb");
    let load = || RegistryWriter::load(Arc::new(EmbeddedStore::open(&path).expect("opens"))).expect("loads");
    let writer = load();
    writer
        .change::<_, RegistryError>(|registry| {
            create(registry, &key, "db", VALUE);
            Ok(())
        })
        .expect("is written");
    drop(writer);
    for file in std::fs::read_dir(dir.path()).expect("a directory") {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("is read");
        let found = bytes.windows(VALUE.len()).any(|part| part == VALUE.as_bytes());
        assert!(!found, "{} holds the value", path.display());
    }
    let (registry, again) =
        (load().snapshot(), MasterKey::load_or_create(dir.path(), true).expect("is there"));
    let secret = find(&registry, "db", T0).expect("is there");
    let version = secret.version_with(CURRENT).expect("is there").0;
    let value = commands::open_value(&registry, Vault::new(&again), secret, version);
    assert_eq!(value, Ok(SecretValue::text(VALUE)));
}

#[test]
fn a_policy_for_everybody_is_told_from_one_for_somebody() {
    let policy = |principal: &str, condition: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{principal},"Action":"secretsmanager:GetSecretValue","Resource":"*"{condition}}}]}}"#
        )
    };
    let vpc = r#","Condition":{"StringEquals":{"aws:SourceVpc":"vpc-1"}}"#;
    let wide = r#","Condition":{"StringLike":{"aws:PrincipalArn":"*"}}"#;
    let not = r#","Condition":{"StringNotEquals":{"aws:SourceVpc":"vpc-1"}}"#;
    for (principal, condition, public) in [
        (r#""*""#, "", true),
        (r#"{"AWS":"*"}"#, "", true),
        (r#"{"AWS":["arn:aws:iam::000000000000:root","*"]}"#, "", true),
        (r#""*""#, wide, true),
        (r#""*""#, not, true),
        (r#""*""#, vpc, false),
        (r#"{"AWS":"arn:aws:iam::000000000000:root"}"#, "", false),
    ] {
        let document = policy(principal, condition);
        assert_eq!(commands::check_policy(&document, false), Ok(()), "{document}");
        let strict = commands::check_policy(&document, true);
        assert_eq!(strict == Err(SecretError::PublicPolicy), public, "{document}");
    }
    assert!(matches!(commands::check_policy("{", false), Err(SecretError::MalformedPolicy(_))));
}

#[derive(Clone, Debug)]
enum Move {
    Put(usize, Vec<usize>),
    Label { stage: usize, from: Option<usize>, to: Option<usize> },
}

const LABELS: [&str; 5] = [CURRENT, PREVIOUS, PENDING, "blue", "green"];

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (0usize..6, prop::collection::vec(0usize..5, 1..4)).prop_map(|(id, labels)| Move::Put(id, labels)),
        (0usize..5, prop::option::of(0usize..6), prop::option::of(0usize..6))
            .prop_map(|(stage, from, to)| Move::Label { stage, from, to }),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #[test]
    fn a_label_is_on_one_version_and_awscurrent_on_exactly_one(moves in moves()) {
        let mut versions: BTreeMap<String, SecretVersion> = BTreeMap::new();
        let id = |number: usize| format!("v{number}");
        for each in moves {
            let before = versions.clone();
            let by_label = matches!(each, Move::Label { .. });
            let current = |all: &BTreeMap<String, SecretVersion>| {
                all.iter().find(|(_, version)| version.stages.contains(CURRENT)).map(|(id, _)| id.clone())
            };
            match each {
                Move::Put(number, labels) => {
                    let fresh = SecretVersion { created_at: T0, accessed_on: None, stages: BTreeSet::new() };
                    versions.entry(id(number)).or_insert(fresh);
                    for label in labels {
                        stages::attach(&mut versions, LABELS[label], &id(number)).unwrap();
                    }
                    if current(&versions).is_none() {
                        stages::attach(&mut versions, CURRENT, &id(number)).unwrap();
                    }
                }
                Move::Label { stage, from, to } => {
                    let (from, to) = (from.map(id), to.map(id));
                    let moved = stages::move_label(&mut versions, LABELS[stage], from.as_deref(), to.as_deref());
                    if moved.is_err() {
                        prop_assert_eq!(&versions, &before, "what is refused changes nothing");
                    }
                }
            }
            for label in LABELS {
                let holders = versions.values().filter(|version| version.stages.contains(label)).count();
                prop_assert!(holders <= 1, "{} is on {} versions", label, holders);
                if label == CURRENT && !versions.is_empty() {
                    prop_assert_eq!(holders, 1);
                }
            }
            if let (Some(was), Some(is)) = (current(&before), current(&versions))
                && was != is
                && by_label
            {
                prop_assert!(versions[&was].stages.contains(PREVIOUS));
            }
        }
    }

    #[test]
    fn any_reference_is_survived(text in ".{0,80}") {
        let reference = reference::SecretReference::parse(&text);
        let _ = reference.find(&Registry::default(), T0);
    }
}
