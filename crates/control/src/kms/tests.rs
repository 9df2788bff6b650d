use bowline_model::{arn::Scope, clock::Timestamp};
use proptest::prelude::*;

use super::{
    cipher::{self, Context},
    commands::{self, NewKey},
    *,
};
use crate::{
    master_key::MasterKey,
    registry::{SETTINGS, Settings},
};

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

fn setup() -> (tempfile::TempDir, MasterKey, Registry) {
    let dir = tempfile::tempdir().expect("a directory");
    let master = MasterKey::load_or_create(dir.path(), false).expect("is made");
    let mut registry = Registry::default();
    registry.settings.put(SETTINGS, Settings { scope: Scope::default(), ..Settings::default() });
    (dir, master, registry)
}

fn make(registry: &mut Registry, master: &MasterKey) -> KeyRecord {
    commands::create(registry, master, &Scope::default(), NewKey::default(), now()).expect("is made")
}

fn context(pairs: &[(&str, &str)]) -> Context {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_ciphertext_opens_with_its_key_and_context_only() {
    let (_dir, master, mut registry) = setup();
    let (one, two) = (make(&mut registry, &master), make(&mut registry, &master));
    let bound = context(&[("a", "b")]);
    let text = cipher::encrypt(&master, &one, &bound, b"plain").expect("encrypts");
    assert!(!text.windows(5).any(|window| window == b"plain"));
    assert_eq!(cipher::head(&text).expect("is one").key_id, one.id);
    assert_eq!(**cipher::decrypt(&master, &one, &bound, &text).expect("decrypts"), *b"plain");
    assert_eq!(cipher::decrypt(&master, &two, &bound, &text), Err(KmsError::IncorrectKey));
    for other in
        [context(&[]), context(&[("a", "c")]), context(&[("ab", "")]), context(&[("a", "b"), ("c", "")])]
    {
        assert_eq!(cipher::decrypt(&master, &one, &other, &text), Err(KmsError::Ciphertext));
    }
    for index in 0..text.len() {
        let mut changed = text.clone();
        changed[index] ^= 1;
        assert!(cipher::decrypt(&master, &one, &bound, &changed).is_err(), "byte {index}");
        assert!(cipher::decrypt(&master, &one, &bound, &text[..index]).is_err(), "{index} bytes");
    }
}

#[test]
fn material_moved_to_another_key_or_version_does_not_open() {
    let (_dir, master, mut registry) = setup();
    let (one, mut two) = (make(&mut registry, &master), make(&mut registry, &master));
    assert!(cipher::encrypt(&master, &two, &Context::new(), b"x").is_ok());
    two.versions[0].sealed = one.versions[0].sealed.clone();
    assert_eq!(cipher::encrypt(&master, &two, &Context::new(), b"x"), Err(KmsError::Internal));
    let mut moved = one.clone();
    moved.versions.push(one.versions[0].clone());
    assert_eq!(cipher::encrypt(&master, &moved, &Context::new(), b"x"), Err(KmsError::Internal));
}

#[test]
fn what_was_encrypted_before_a_rotation_decrypts_after_it() {
    let (_dir, master, mut registry) = setup();
    let mut key = make(&mut registry, &master);
    let old = cipher::encrypt(&master, &key, &Context::new(), b"x").expect("encrypts");
    rotation::rotate_on_demand(&master, &mut key, now()).expect("rotates");
    let new = cipher::encrypt(&master, &key, &Context::new(), b"x").expect("encrypts");
    assert_eq!((cipher::head(&old).expect("one").version, cipher::head(&new).expect("one").version), (0, 1));
    for text in [old, new] {
        assert!(cipher::decrypt(&master, &key, &Context::new(), &text).is_ok());
    }
    key.rotation = Some(AutomaticRotation { period_days: 90, next: now() });
    rotation::rotate_if_due(&master, &mut key, now()).expect("rotates");
    rotation::rotate_if_due(&master, &mut key, now()).expect("is not due");
    assert_eq!(key.versions.len(), 3);
    assert_eq!(key.versions[2].rotated, Some(RotationType::Automatic));
}

#[test]
fn a_key_whose_time_is_over_is_gone_with_its_aliases() {
    let (_dir, master, mut registry) = setup();
    let key = make(&mut registry, &master);
    commands::create_alias(&mut registry, "alias/a", &key.id, now()).expect("is made");
    let at =
        commands::change(&mut registry, &key.id, now(), |key| commands::schedule_deletion(key, 7, now()));
    let at = at.expect("is scheduled");
    assert!(find_by_any(&registry, "alias/a", now()).is_ok());
    assert!(matches!(find_by_any(&registry, "alias/a", at), Err(KmsError::NotFound(_))));
    assert!(matches!(find(&registry, key.arn.as_str(), at), Err(KmsError::NotFound(_))));
    commands::purge(&mut registry, at);
    assert!(registry.kms_keys.is_empty() && registry.kms_aliases.is_empty());
}

#[test]
fn a_managed_key_is_made_once() {
    let (_dir, master, mut registry) = setup();
    let one = commands::managed_key(&mut registry, &master, MANAGED_ALIASES[0], now()).expect("is made");
    let two = commands::managed_key(&mut registry, &master, MANAGED_ALIASES[0], now()).expect("is there");
    assert_eq!(one.id, two.id);
    assert!(one.customers().is_err());
    assert!(commands::delete_alias(&mut registry, MANAGED_ALIASES[0]).is_err());
}

proptest! {
    #[test]
    fn any_ciphertext_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = cipher::head(&bytes);
    }

    #[test]
    fn an_id_is_read_as_written(_ in 0..1) {
        let (_dir, master, mut registry) = setup();
        let key = make(&mut registry, &master);
        let text = cipher::encrypt(&master, &key, &Context::new(), b"x").expect("encrypts");
        prop_assert_eq!(cipher::head(&text).expect("is one").key_id, key.id);
    }
}
