use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
    time::Duration,
};

use proptest::prelude::*;

use super::*;

/// Directory in which [`rotates_until_it_is_killed`] works.
const VICTIM: &str = "BOWLINE_TEST_ROTATE_IN";

fn chmod(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("is ours");
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a directory");
    for file in [source::FILE, data_keys::FILE] {
        if from.join(file).exists() {
            std::fs::copy(from.join(file), to.path().join(file)).expect("copies");
        }
    }
    to
}

fn memory(keys: DataKeys) -> MasterKey {
    let present = Mutex::new(SealKey::from_bytes([7; 32]));
    MasterKey { keys, dir: PathBuf::new(), source: MasterKeySource::StateDirectory, present }
}

fn one_key() -> MasterKey {
    memory([(1, SealKey::from_bytes([8; 32]))].into())
}

fn environment(byte: u8) -> MasterKeySource {
    MasterKeySource::Environment(SealKey::from_bytes([byte; 32]))
}

#[test]
fn is_made_once_and_opens_what_it_sealed_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("master.key");
    std::fs::write(dir.path().join("master.key.new"), "of a crash").expect("writes");
    let key = MasterKey::load_or_create(dir.path(), false).expect("is made");
    let text = std::fs::read_to_string(&file).expect("is there");
    assert!(text.len() == 65 && text.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()));
    for file in ["master.key", "data-keys.json"] {
        assert_eq!(std::fs::metadata(dir.path().join(file)).expect("is there").mode() & 0o7777, 0o600);
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 2);

    let sealed = key.seal("ca/demo", b"private").expect("seals");
    let canary = key.canary().expect("seals");
    for has_sealed_data in [true, false] {
        let key = MasterKey::load_or_create(dir.path(), has_sealed_data).expect("is read");
        key.check_canary(&canary).expect("is the same key");
        assert_eq!(**key.open("ca/demo", &sealed).expect("opens"), *b"private");
    }
    assert!(!format!("{key:?}").contains(text.trim_end()));
}

#[test]
fn refuses_to_start_anew_over_sealed_data() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = MasterKey::load_or_create(dir.path(), true).expect_err("is missing");
    assert!(matches!(error, MasterKeyError::Missing { .. }));
    let message = error.to_string();
    assert!(message.contains("master.key") && message.contains("restore"), "{message}");
    assert!(!dir.path().join("master.key").exists());

    MasterKey::load_or_create(dir.path(), false).expect("is made");
    std::fs::remove_file(dir.path().join("master.key")).expect("is there");
    // Also where the store is empty: data keys are there, so something was sealed.
    let error = MasterKey::load_or_create(dir.path(), false).expect_err("is missing");
    assert!(matches!(error, MasterKeyError::Missing { .. }), "{error:?}");
    assert!(!dir.path().join("master.key").exists());
}

#[test]
fn refuses_without_its_data_keys() {
    let dir = tempfile::tempdir().expect("a directory");
    MasterKey::load_or_create(dir.path(), false).expect("is made");
    let file = dir.path().join("data-keys.json");
    for damaged in ["", "{}", "[", r#"{"format":1,"wrappings":[]}"#, r#"{"format":9,"wrappings":[]}"#] {
        std::fs::write(&file, damaged).expect("writes");
        let error = MasterKey::load_or_create(dir.path(), true).expect_err("is damaged");
        assert!(matches!(error, MasterKeyError::DataKeysDamaged { .. }), "{error:?}");
    }
    std::fs::remove_file(&file).expect("is there");
    let error = MasterKey::load_or_create(dir.path(), true).expect_err("is missing");
    assert!(matches!(error, MasterKeyError::DataKeysMissing { .. }), "{error:?}");
    assert!(error.to_string().contains("restore") && !file.exists());
}

#[test]
fn refuses_a_file_open_to_others() {
    let dir = tempfile::tempdir().expect("a directory");
    MasterKey::load_or_create(dir.path(), false).expect("is made");
    let file = dir.path().join("master.key");
    for source in [MasterKeySource::StateDirectory, MasterKeySource::File(file.clone())] {
        for mode in [0o640, 0o604, 0o620, 0o601] {
            chmod(&file, mode);
            let error = MasterKey::open_or_create(dir.path(), source.clone(), false).expect_err("is open");
            assert!(matches!(error, MasterKeyError::Permissions { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
    chmod(&file, 0o400);
    MasterKey::load_or_create(dir.path(), true).expect("may be read only");
}

#[test]
fn refuses_what_is_no_key_and_leaves_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("master.key");
    let refused = || {
        let error = MasterKey::load_or_create(dir.path(), false).expect_err("is no key");
        assert!(matches!(error, MasterKeyError::Format { .. }), "{error:?}");
    };
    for contents in
        ["", "\n", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32), &"0".repeat(9999)]
    {
        std::fs::write(&file, contents).expect("writes");
        chmod(&file, 0o600);
        refused();
        assert_eq!(std::fs::read_to_string(&file).expect("is there"), contents);
    }
    std::fs::remove_file(&file).expect("removes");
    std::fs::create_dir(&file).expect("creates");
    refused();
}

#[test]
fn another_key_is_refused_and_named() {
    let (one, two) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let canary = MasterKey::load_or_create(one.path(), false).expect("is made").canary().expect("seals");
    let other = MasterKey::load_or_create(two.path(), false).expect("is made");
    let error = other.check_canary(&canary).expect_err("is another key");
    assert!(
        matches!(&error, MasterKeyError::WrongKey { source, .. } if *source == SealError::Authentication)
    );
    assert!(error.to_string().contains("restore the right key"), "{error}");
    assert!(other.check_canary(&canary[1..]).is_err());

    std::fs::copy(one.path().join("master.key"), two.path().join("master.key")).expect("copies");
    let error = MasterKey::load_or_create(two.path(), true).expect_err("is another key").to_string();
    assert!(error.contains("is not the one") && error.contains(&other.id()), "{error}");
    let error = MasterKey::open_or_create(two.path(), environment(1), true).expect_err("is another key");
    assert!(error.to_string().contains("in the variable BOWLINE_MASTER_KEY"), "{error}");
}

#[test]
fn a_record_opens_only_in_its_context_unchanged_and_with_its_data_key() {
    let key = one_key();
    let sealed = key.seal("a", b"private").expect("seals");
    assert_eq!(**key.open("a", &sealed).expect("opens"), *b"private");
    assert_ne!(sealed, key.seal("a", b"private").expect("seals"));
    assert_eq!(key.open("b", &sealed).expect_err("is of a").source, SealError::Authentication);
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        assert!(key.open("a", &changed).is_err(), "a change of byte {index} went unnoticed");
        assert!(key.open("a", &sealed[..index]).is_err(), "the first {index} bytes opened");
    }
    let other = memory([(1, SealKey::from_bytes([9; 32]))].into());
    assert!(other.open("a", &sealed).is_err());
    // An older data key goes on opening what it sealed.
    let both = memory([(1, SealKey::from_bytes([8; 32])), (2, SealKey::from_bytes([9; 32]))].into());
    assert!(both.open("a", &sealed).is_ok());
    assert!(key.open("a", &both.seal("a", b"x").expect("seals")).is_err());
}

#[test]
fn a_wrapped_data_key_is_bound_to_its_number() {
    let master = SealKey::from_bytes([1; 32]);
    let keys = DataKeys::from([(1, SealKey::from_bytes([8; 32])), (2, SealKey::from_bytes([9; 32]))]);
    let wrapping = Wrapping::of(&master, &keys).expect("wraps");
    assert_eq!(wrapping.unwrap_keys(&master).expect("opens").len(), 2);
    let text = serde_json::to_string(&wrapping).expect("writes");
    let swapped = text.replace("\"1\":", "\"x\":").replace("\"2\":", "\"1\":").replace("\"x\":", "\"2\":");
    let swapped: Wrapping = serde_json::from_str(&swapped).expect("reads");
    assert!(swapped.unwrap_keys(&master).is_err());
    assert!(wrapping.unwrap_keys(&SealKey::from_bytes([2; 32])).is_err());
}

#[test]
fn a_derived_key_is_of_its_purpose_and_stays_through_a_rotation() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = MasterKey::load_or_create(dir.path(), false).expect("is made");
    let derived = key.derive("a");
    key.rotate(None).expect("rotates");
    let again = MasterKey::load_or_create(dir.path(), true).expect("is read").derive("a");
    assert_eq!(derived.as_bytes(), again.as_bytes());
    for different in [&key.derive("b"), &one_key().derive("a")] {
        assert_ne!(derived.as_bytes(), different.as_bytes());
    }
}

#[test]
fn a_rotation_changes_the_master_key_and_no_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = MasterKey::load_or_create(dir.path(), false).expect("is made");
    let sealed = key.seal("a", b"private").expect("seals");
    let before = copy(dir.path());
    let rotated = key.rotate(None).expect("rotates");
    assert_eq!((&rotated.to, rotated.at_next_start), (&key.id(), false));
    assert_ne!(rotated.from, rotated.to);
    assert_eq!(**key.open("a", &sealed).expect("opens"), *b"private");
    let restarted = MasterKey::load_or_create(dir.path(), true).expect("is read");
    assert_eq!(restarted.id(), rotated.to);
    assert_eq!(**restarted.open("a", &sealed).expect("opens"), *b"private");
    assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 2);
    // The old key is of no more use.
    std::fs::copy(before.path().join("master.key"), dir.path().join("master.key")).expect("copies");
    assert!(matches!(MasterKey::load_or_create(dir.path(), true), Err(MasterKeyError::WrongKey { .. })));
    let error = key.rotate(Some(SealKey::from_bytes([1; 32]))).expect_err("takes no key");
    assert!(matches!(error, MasterKeyError::NewKeyUnused { .. }), "{error:?}");
}

#[test]
fn each_step_of_a_rotation_leaves_what_opens() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = MasterKey::load_or_create(dir.path(), false).expect("is made");
    let sealed = key.seal("a", b"private").expect("seals");
    let old = SealKey::from_bytes(*key.present.lock().expect("is ours").as_bytes());
    let new = SealKey::from_bytes([5; 32]);
    let opens = |step: &str| {
        let copied = copy(dir.path());
        for round in 0..2 {
            let key = MasterKey::load_or_create(copied.path(), true).expect("opens");
            assert!(key.open("a", &sealed).is_ok(), "{step}, round {round}");
        }
    };
    let wrap = |key| Wrapping::of(key, &one(&dir)).expect("wraps");
    fn one(dir: &tempfile::TempDir) -> DataKeys {
        MasterKey::load_or_create(dir.path(), true).expect("opens").keys
    }
    let both = DataKeysFile::new(vec![wrap(&old), wrap(&new)]);
    source::write_new(dir.path(), &new).expect("writes");
    opens("the new key is written");
    both.write(dir.path()).expect("writes");
    opens("both wrappings are written");
    source::replace(dir.path()).expect("replaces");
    opens("the new key is in place");
    // The start with the new key has ended the old one.
    MasterKey::load_or_create(dir.path(), true).expect("opens");
    assert_eq!(DataKeysFile::read(dir.path()).expect("reads").expect("is there").wrappings.len(), 1);
}

/// Not a test of its own: the victim of the next one.
#[test]
fn rotates_until_it_is_killed() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let key = MasterKey::load_or_create(&dir, true).expect("opens");
    loop {
        key.rotate(None).expect("rotates");
    }
}

#[test]
fn a_kill_in_the_middle_of_a_rotation_leaves_what_opens() {
    let dir = tempfile::tempdir().expect("a directory");
    let sealed =
        MasterKey::load_or_create(dir.path(), false).expect("is made").seal("a", b"private").expect("seals");
    let program = std::env::current_exe().expect("is running");
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..12_u64 {
        let mut victim = Command::new(&program)
            .args(["--exact", "master_key::tests::rotates_until_it_is_killed"])
            .env(VICTIM, dir.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        let before = std::fs::read(dir.path().join("data-keys.json")).expect("is there");
        // It rotates: the kill comes at another moment of it each time.
        while std::fs::read(dir.path().join("data-keys.json")).expect("is there") == before {
            assert!(victim.try_wait().expect("is ours").is_none(), "it does not rotate");
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(137 * round));
        victim.kill().expect("is killed");
        victim.wait().expect("is ours");
        let key = MasterKey::load_or_create(dir.path(), true).expect("opens with the old or the new key");
        assert_eq!(**key.open("a", &sealed).expect("opens"), *b"private");
        ids.insert(key.id());
    }
    // A kill between two steps can leave the old key in use.
    assert!(ids.len() > 1, "nothing rotated");
}

#[test]
fn a_reader_beside_a_rotation_opens_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = MasterKey::load_or_create(dir.path(), false).expect("is made");
    std::thread::scope(|scope| {
        let rotating = scope.spawn(|| {
            for _ in 0..30 {
                key.rotate(None).expect("rotates");
            }
        });
        while !rotating.is_finished() {
            MasterKey::open_beside(dir.path(), MasterKeySource::StateDirectory).expect("opens");
        }
    });
}

#[test]
fn a_key_of_the_environment_is_rotated_in_two_steps() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = MasterKey::open_or_create(dir.path(), environment(1), false).expect("is made");
    let sealed = key.seal("a", b"private").expect("seals");
    assert!(!dir.path().join("master.key").exists());
    assert!(matches!(key.rotate(None), Err(MasterKeyError::NewKeyNeeded)));
    let same = key.rotate(Some(SealKey::from_bytes([1; 32])));
    assert!(matches!(same, Err(MasterKeyError::SameKey { .. })), "{same:?}");
    assert!(key.rotate(Some(SealKey::from_bytes([2; 32]))).expect("rotates").at_next_start);
    let open = |byte| MasterKey::open_or_create(dir.path(), environment(byte), true);
    // Both, until the new one was used.
    for byte in [1, 1, 2, 2] {
        assert!(open(byte).expect("opens").open("a", &sealed).is_ok());
    }
    assert!(matches!(open(1), Err(MasterKeyError::WrongKey { .. })));
}

#[test]
fn a_file_or_command_gives_the_next_key_itself() {
    let (dir, keys) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let file = keys.path().join("key");
    let put = |byte: u8| {
        std::fs::write(&file, source::to_hex(&[byte; 32])).expect("writes");
        chmod(&file, 0o600);
    };
    let error = MasterKey::open_or_create(dir.path(), MasterKeySource::File(file.clone()), false);
    let error = error.expect_err("is not made").to_string();
    assert!(error.contains("openssl rand -hex 32"), "{error}");
    put(1);
    let sources =
        [MasterKeySource::File(file.clone()), MasterKeySource::Command(format!("cat {}", file.display()))];
    for (byte, source) in (1..).zip(sources) {
        let key = MasterKey::open_or_create(dir.path(), source.clone(), false).expect("opens");
        assert!(matches!(key.rotate(None), Err(MasterKeyError::SameKey { .. })));
        put(byte + 1);
        assert!(!key.rotate(None).expect("rotates").at_next_start);
        MasterKey::open_or_create(dir.path(), source, true).expect("opens");
    }
}

#[test]
fn a_key_in_place_is_never_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    MasterKey::load_or_create(dir.path(), false).expect("is made");
    let file = dir.path().join("master.key");
    let before = std::fs::read(&file).expect("is there");
    let key = SealKey::generate().expect("randomness");
    let error = source::create(dir.path(), &key).expect_err("is there");
    assert!(
        matches!(&error, MasterKeyError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
    );
    assert_eq!(std::fs::read(&file).expect("is there"), before);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let key = one_key();
        prop_assert!(key.open("a", &bytes).is_err());
        let mut versioned = vec![VERSION, 0, 0, 0, 1];
        versioned.extend(bytes);
        prop_assert!(key.open("a", &versioned).is_err());
    }
}
