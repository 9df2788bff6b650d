//! The key that everything secret in the store is sealed with.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::hkdf;
use bowline_plumbing::seal::{SealError, SealKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// Name of the key's file in the state directory.
const FILE: &str = "master.key";
const KEY_BYTES: usize = 32;
/// A key as hex, and some blanks.
const MAX_FILE_BYTES: u64 = 128;
/// First byte of a sealed record.
const VERSION: u8 = 1;
/// A data key sealed by the master key: its version (1), nonce (12), the key,
/// and the tag (16).
const WRAPPED_KEY_BYTES: usize = 1 + 12 + KEY_BYTES + 16;
/// What the two layers of a record are bound to, before the record's context:
/// one cannot stand in for the other.
const KEY_CONTEXT: &str = "bowline data key\0";
const DATA_CONTEXT: &str = "bowline data\0";
const CANARY_CONTEXT: &str = "bowline canary";
const CANARY: &[u8] = b"bowline";

/// The master key of a state directory, from its file `master.key`: 64 hex
/// digits, readable by its owner only. Keep a copy of the file apart from the
/// backups of the store: without it, what is sealed is lost.
pub struct MasterKey {
    key: SealKey,
    file: PathBuf,
}

/// Why there is no usable master key.
#[derive(Debug, Error)]
pub enum MasterKeyError {
    /// The file is gone, and something was sealed with it.
    #[error(
        "the master key {} is missing, and the store holds data sealed with it: restore the file from its backup, \
         or start anew with an empty state directory", .file.display()
    )]
    Missing {
        /// The key's file.
        file: PathBuf,
    },
    /// Others than its owner can read or write the file.
    #[error(
        "other users have access to the master key {} (mode {mode:04o}): run `chmod 600` on it, and consider \
         whether it was read", .file.display()
    )]
    Permissions {
        /// The key's file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold a key.
    #[error(
        "the master key {} is damaged: 64 hex digits in a regular file are expected; restore the file from its backup",
        .file.display()
    )]
    Format {
        /// The key's file.
        file: PathBuf,
    },
    /// It is a key, but not the one that the store was sealed with.
    #[error(
        "the master key {} is not the one that the store's data was sealed with: restore the right file from its backup",
        .file.display()
    )]
    WrongKey {
        /// The key's file.
        file: PathBuf,
        /// What did not open.
        source: SealError,
    },
    /// The system gave no randomness for a new key.
    #[error("no new master key could be made")]
    Generate {
        /// Why.
        source: SealError,
    },
    /// The file system failed.
    #[error("cannot {action} the master key {}", .file.display())]
    Io {
        /// What failed.
        action: &'static str,
        /// The key's file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a record could not be sealed or opened.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the sealed record {context} cannot be used")]
pub struct RecordError {
    /// What the record is.
    pub context: String,
    /// Why.
    pub source: SealError,
}

impl MasterKey {
    /// Reads the key of a state directory, or makes a new one if there is none
    /// and nothing was sealed with an earlier one (`has_sealed_data`). The
    /// caller holds the directory's [`StateLock`](crate::state_lock::StateLock).
    ///
    /// # Errors
    /// The file is missing although it is needed, is open to others or damaged,
    /// or the file system fails.
    pub fn load_or_create(dir: impl AsRef<Path>, has_sealed_data: bool) -> Result<Self, MasterKeyError> {
        let dir = dir.as_ref();
        let file = dir.join(FILE);
        match File::open(&file) {
            Ok(opened) => Self::read(opened, file),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if has_sealed_data {
                    return Err(MasterKeyError::Missing { file });
                }
                Self::create(dir, file)
            }
            Err(source) => Err(MasterKeyError::Io { action: "open", file, source }),
        }
    }

    fn read(opened: File, file: PathBuf) -> Result<Self, MasterKeyError> {
        // Of the file that was opened, not of the name: that may change.
        let metadata = match opened.metadata() {
            Ok(metadata) => metadata,
            Err(source) => return Err(MasterKeyError::Io { action: "examine", file, source }),
        };
        if !metadata.is_file() {
            return Err(MasterKeyError::Format { file });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Permissions { file, mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES as usize));
        if let Err(source) = opened.take(MAX_FILE_BYTES).read_to_end(&mut text) {
            return Err(MasterKeyError::Io { action: "read", file, source });
        }
        match parse_hex(text.trim_ascii()) {
            Some(bytes) => Ok(Self { key: SealKey::from_bytes(*bytes), file }),
            None => Err(MasterKeyError::Format { file }),
        }
    }

    fn create(dir: &Path, file: PathBuf) -> Result<Self, MasterKeyError> {
        let key = SealKey::generate().map_err(|source| MasterKeyError::Generate { source })?;
        match write_new(dir, &file, &key) {
            Ok(()) => Ok(Self { key, file }),
            Err(source) => Err(MasterKeyError::Io { action: "create", file, source }),
        }
    }

    /// Encrypts a record with a data key of its own, which goes with it, sealed
    /// by the master key. It opens only with the same `context`: what it is and
    /// whose, such as its key in the store.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, RecordError> {
        let seal = || {
            let data_key = SealKey::generate()?;
            let mut record = vec![VERSION];
            record.append(&mut self.key.seal(&bound(KEY_CONTEXT, context), data_key.as_bytes())?);
            record.append(&mut data_key.seal(&bound(DATA_CONTEXT, context), plain)?);
            Ok(record)
        };
        seal().map_err(|source| RecordError { context: context.to_owned(), source })
    }

    /// Decrypts what [`MasterKey::seal`] made; the bytes are wiped when they go.
    ///
    /// # Errors
    /// Another master key, another context, changed bytes, or not a record.
    pub fn open(&self, context: &str, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, RecordError> {
        self.open_record(context, record)
            .map_err(|source| RecordError { context: context.to_owned(), source })
    }

    fn open_record(&self, context: &str, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (&version, rest) = record.split_first().ok_or(SealError::Format)?;
        if version != VERSION {
            return Err(SealError::Format);
        }
        let (wrapped, data) = rest.split_at_checked(WRAPPED_KEY_BYTES).ok_or(SealError::Format)?;
        let data_key = Zeroizing::new(self.key.open(&bound(KEY_CONTEXT, context), wrapped)?);
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if data_key.len() != bytes.len() {
            return Err(SealError::Format);
        }
        bytes.copy_from_slice(&data_key);
        SealKey::from_bytes(*bytes).open(&bound(DATA_CONTEXT, context), data).map(Zeroizing::new)
    }

    /// A key of its own for one purpose (HKDF-SHA-256, RFC 5869): what seals by the thousand does
    /// not wear the master key, and one purpose's texts open for no other.
    pub fn derive(&self, purpose: &str) -> SealKey {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"bowline derived key");
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        salt.extract(self.key.as_bytes())
            .expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *bytes))
            .expect("one block of HKDF is never too long");
        SealKey::from_bytes(*bytes)
    }

    /// A record to keep beside the first sealed data, which tells at the next
    /// start whether the key is still the same.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn canary(&self) -> Result<Vec<u8>, RecordError> {
        self.seal(CANARY_CONTEXT, CANARY)
    }

    /// Checks that this is the key that made the canary.
    ///
    /// # Errors
    /// It is another key, or the canary is damaged.
    pub fn check_canary(&self, canary: &[u8]) -> Result<(), MasterKeyError> {
        match self.open_record(CANARY_CONTEXT, canary) {
            Ok(_) => Ok(()),
            Err(source) => Err(MasterKeyError::WrongKey { file: self.file.clone(), source }),
        }
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MasterKey").field("file", &self.file).finish_non_exhaustive()
    }
}

fn bound(layer: &str, context: &str) -> Vec<u8> {
    [layer.as_bytes(), context.as_bytes()].concat()
}

/// Writes the key under another name and then links it into place: a crash
/// leaves no half key, and a key that is there is never replaced.
fn write_new(dir: &Path, file: &Path, key: &SealKey) -> std::io::Result<()> {
    let draft = dir.join(format!("{FILE}.new"));
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    opened.write_all(&to_hex(key.as_bytes()))?;
    opened.sync_all()?;
    std::fs::hard_link(&draft, file)?;
    std::fs::remove_file(&draft)?;
    File::open(dir)?.sync_all()
}

fn to_hex(bytes: &[u8; KEY_BYTES]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Of its final size from the start: growing would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(2 * KEY_BYTES + 1));
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text.push(b'\n');
    text
}

fn parse_hex(text: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn chmod(file: &Path, mode: u32) {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("is ours");
    }

    #[test]
    fn is_made_once_and_opens_what_it_sealed_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("master.key");
        std::fs::write(dir.path().join("master.key.new"), "of a crash").expect("writes");
        let key = MasterKey::load_or_create(dir.path(), false).expect("is made");
        let text = std::fs::read_to_string(&file).expect("is there");
        assert!(text.len() == 65 && text.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(std::fs::metadata(&file).expect("is there").mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 1);

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
    }

    #[test]
    fn refuses_a_file_open_to_others() {
        let dir = tempfile::tempdir().expect("a directory");
        MasterKey::load_or_create(dir.path(), false).expect("is made");
        let file = dir.path().join("master.key");
        for mode in [0o640, 0o604, 0o620, 0o601] {
            chmod(&file, mode);
            let error = MasterKey::load_or_create(dir.path(), false).expect_err("is open");
            assert!(matches!(error, MasterKeyError::Permissions { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
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
    fn another_key_is_noticed_by_the_canary() {
        let (one, two) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        let canary = MasterKey::load_or_create(one.path(), false).expect("is made").canary().expect("seals");
        let other = MasterKey::load_or_create(two.path(), false).expect("is made");
        let error = other.check_canary(&canary).expect_err("is another key");
        assert!(
            matches!(&error, MasterKeyError::WrongKey { source, .. } if *source == SealError::Authentication)
        );
        assert!(error.to_string().contains("master.key"), "{error}");
    }

    #[test]
    fn a_record_opens_only_whole_and_in_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = MasterKey::load_or_create(dir.path(), false).expect("is made");
        let sealed = key.seal("a", b"secret").expect("seals");
        assert_ne!(sealed, key.seal("a", b"secret").expect("seals"));
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(key.open("b", &sealed).expect_err("is of a").source, SealError::Authentication);
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(key.open("a", &changed).is_err(), "a change of byte {index} went unnoticed");
            assert!(key.open("a", &sealed[..index]).is_err(), "the first {index} bytes opened");
        }
        // The data of one record with the data key of another.
        let other = key.seal("a", b"public").expect("seals");
        let mixed = [&sealed[..=WRAPPED_KEY_BYTES], &other[1 + WRAPPED_KEY_BYTES..]].concat();
        assert!(key.open("a", &mixed).is_err());
    }

    #[test]
    fn a_key_in_place_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("master.key");
        MasterKey::load_or_create(dir.path(), false).expect("is made");
        let before = std::fs::read(&file).expect("is there");
        let key = SealKey::generate().expect("randomness");
        let error = write_new(dir.path(), &file, &key).expect_err("is there");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&file).expect("is there"), before);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let key = MasterKey { key: SealKey::from_bytes([7; 32]), file: PathBuf::new() };
            prop_assert!(key.open("a", &bytes).is_err());
            let mut versioned = vec![VERSION];
            versioned.extend(bytes);
            prop_assert!(key.open("a", &versioned).is_err());
        }

        #[test]
        fn hex_is_read_as_written(bytes in any::<[u8; 32]>()) {
            let read = parse_hex(to_hex(&bytes).trim_ascii());
            prop_assert_eq!(read.as_deref(), Some(&bytes));
        }
    }
}
