//! What everything secret in a state directory is sealed with: data keys, wrapped by a master key.
//!
//! Rows are sealed under data keys, which stand in the file `data-keys.json`, wrapped. So another
//! master key takes one small file to be written anew, atomically, and no row: see
//! [`MasterKey::rotate`]. From the beginning of a rotation until the new key has proved to be where
//! it will be looked for, the file holds the data keys twice, wrapped by the old master key and by
//! the new one: a crash in between leaves a state directory that opens with either.

mod data_keys;
mod source;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bowline_plumbing::seal::{SealError, SealKey};
use thiserror::Error;
use zeroize::Zeroizing;

use data_keys::{DataKeys, DataKeysFile, Wrapping};

pub use source::{MasterKeySource, NEW_VARIABLE, VARIABLE};

/// First byte of a sealed record.
const VERSION: u8 = 2;
/// Number of the data key (4) and salt, between the version and what is sealed.
const NUMBER_BYTES: usize = 4;
const SALT_BYTES: usize = 16;
/// What a record's key is derived for.
const RECORD_KEY: &[u8] = b"bowline record";
/// What a record is bound to, before its context.
const RECORD_CONTEXT: &str = "bowline data\0";
const CANARY_CONTEXT: &str = "bowline canary";
const CANARY: &[u8] = b"bowline";
/// How often a reader that is no owner begins anew when a rotation overtakes it.
const READS: usize = 3;

/// The data keys of a state directory, opened with its master key. Keep a copy of the master key
/// apart from the backups of the state directory: without it, what is sealed is lost.
pub struct MasterKey {
    keys: DataKeys,
    dir: PathBuf,
    source: MasterKeySource,
    /// The key in use; one rotation at a time.
    present: Mutex<SealKey>,
}

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The id of the master key until now: 16 hex digits, which do not tell the key.
    pub from: String,
    /// The id of the new one.
    pub to: String,
    /// Whether the next start must be given the new key, and the old one opens until then.
    pub at_next_start: bool,
}

/// Why there is no usable master key.
#[derive(Debug, Error)]
pub enum MasterKeyError {
    /// The state directory's own key is gone, and something was sealed with it.
    #[error(
        "the master key {} is missing, and the store holds data sealed with it: restore the file from its backup; \
         or give the key as it was given before ({VARIABLE}, --master-key-file, --master-key-command); or start anew \
         with an empty state directory", .file.display()
    )]
    Missing {
        /// The key's file.
        file: PathBuf,
    },
    /// A file that was named is not there.
    #[error(
        "the master key {0} is missing: restore the file; for a new state directory make a key with \
         `(umask 077; openssl rand -hex 32 > {0})`", .file.display()
    )]
    NoFile {
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
    /// What is there is no key.
    #[error(
        "the master key {from} is damaged: 64 hex digits (in a regular file, if it is a file) are expected; restore \
         it from its backup"
    )]
    Format {
        /// Where it is.
        from: String,
    },
    /// It is a key, but not the one that the store was sealed with.
    #[error(
        "the master key {from} (id {found}) is not the one that the store's data was sealed with{}: restore the \
         right key from its backup; to change keys use `bowline master-key rotate`", of_ids(.expected)
    )]
    WrongKey {
        /// Where it is.
        from: String,
        /// Its id.
        found: String,
        /// Ids of the keys that would open the store.
        expected: Vec<String>,
        /// What did not open.
        source: SealError,
    },
    /// The command gave no key.
    #[error("the command that fetches the master key (--master-key-command) {reason}")]
    Command {
        /// What it did.
        reason: String,
    },
    /// The data keys are gone, and something was sealed with them.
    #[error(
        "{} is missing, and the store holds data sealed with its keys: restore the file from the backup of the state \
         directory, or start anew with an empty state directory", .file.display()
    )]
    DataKeysMissing {
        /// The data keys' file.
        file: PathBuf,
    },
    /// The data keys' file is not as it is written.
    #[error("{} is damaged, or of another version: restore the file from the backup of the state directory", .file.display())]
    DataKeysDamaged {
        /// The data keys' file.
        file: PathBuf,
    },
    /// The data keys' file cannot be used.
    #[error("cannot {action} the data keys {}", .file.display())]
    DataKeysIo {
        /// What failed.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A rotation was asked for, and the source still gives the present key.
    #[error("the master key {from} is still the present one: put the new key there first, then rotate")]
    SameKey {
        /// Where it comes from.
        from: String,
    },
    /// A rotation was asked for without a new key.
    #[error(
        "the present master key is in the variable {VARIABLE}, where Bowline can put no other: give the new one in the \
         variable {NEW_VARIABLE} (`openssl rand -hex 32` makes one)"
    )]
    NewKeyNeeded,
    /// A new key was given, and the present one is the state directory's own.
    #[error("{from} is replaced by a key that Bowline makes: a rotation of it takes no key ({NEW_VARIABLE})")]
    NewKeyUnused {
        /// Where it comes from.
        from: String,
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

fn of_ids(ids: &[String]) -> String {
    if ids.is_empty() { String::new() } else { format!(" (id {})", ids.join(" or ")) }
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
    /// [`MasterKey::open_or_create`] with the state directory's own master key.
    ///
    /// # Errors
    /// As there.
    pub fn load_or_create(dir: impl AsRef<Path>, has_sealed_data: bool) -> Result<Self, MasterKeyError> {
        Self::open_or_create(dir, MasterKeySource::StateDirectory, has_sealed_data)
    }

    /// Opens the data keys of a state directory, or makes new ones (and, as its own file, a master
    /// key) if there are none and nothing was sealed with earlier ones (`has_sealed_data`). The
    /// caller holds the directory's [`StateLock`](crate::state_lock::StateLock). Blocks while a
    /// command fetches the key.
    ///
    /// # Errors
    /// A key is missing although it is needed, is open to others, damaged or another one; the
    /// command or the file system fails.
    pub fn open_or_create(
        dir: impl AsRef<Path>,
        source: MasterKeySource,
        has_sealed_data: bool,
    ) -> Result<Self, MasterKeyError> {
        let dir = dir.as_ref();
        let kept = DataKeysFile::read(dir)?;
        let needed = has_sealed_data || kept.is_some();
        let master_key = match source.fetch(dir)? {
            Some(key) => key,
            None if needed => return Err(MasterKeyError::Missing { file: dir.join(source::FILE) }),
            None => {
                let key = SealKey::generate().map_err(|source| MasterKeyError::Generate { source })?;
                source::create(dir, &key)?;
                key
            }
        };
        let Some(kept) = kept else {
            if has_sealed_data {
                return Err(MasterKeyError::DataKeysMissing { file: dir.join(data_keys::FILE) });
            }
            let generate = |source| MasterKeyError::Generate { source };
            let keys = DataKeys::from([(1, SealKey::generate().map_err(generate)?)]);
            DataKeysFile::new(vec![Wrapping::of(&master_key, &keys).map_err(generate)?]).write(dir)?;
            return Ok(Self { keys, dir: dir.to_owned(), source, present: Mutex::new(master_key) });
        };
        let (at, keys) = unwrap(&kept, &master_key, || source.describe(dir))?;
        if at + 1 < kept.wrappings.len() {
            tracing::warn!(
                "a rotation of the master key is not complete: this start was given the old key, and the new one \
                 opens the state directory too"
            );
        } else if at > 0 {
            // The new key is where it is looked for: the old one ends here.
            DataKeysFile::new(kept.wrappings[at..].to_vec()).write(dir)?;
        }
        Ok(Self { keys, dir: dir.to_owned(), source, present: Mutex::new(master_key) })
    }

    /// Opens the data keys of a state directory for reading, which another process may be using,
    /// and rotating. Nothing is made or written.
    ///
    /// # Errors
    /// As [`MasterKey::open_or_create`], or there are none.
    pub fn open_beside(dir: impl AsRef<Path>, source: MasterKeySource) -> Result<Self, MasterKeyError> {
        let dir = dir.as_ref();
        let mut left = READS;
        loop {
            left -= 1;
            match Self::open_once(dir, &source) {
                // A rotation went between the reading of the one file and of the other.
                Err(MasterKeyError::WrongKey { .. }) if left > 0 => {}
                Err(error) => return Err(error),
                Ok((keys, key)) => {
                    return Ok(Self { keys, dir: dir.to_owned(), source, present: Mutex::new(key) });
                }
            }
        }
    }

    fn open_once(dir: &Path, source: &MasterKeySource) -> Result<(DataKeys, SealKey), MasterKeyError> {
        let missing = || MasterKeyError::Missing { file: dir.join(source::FILE) };
        let master_key = source.fetch(dir)?.ok_or_else(missing)?;
        let file = || dir.join(data_keys::FILE);
        let kept =
            DataKeysFile::read(dir)?.ok_or_else(|| MasterKeyError::DataKeysMissing { file: file() })?;
        let (_, keys) = unwrap(&kept, &master_key, || source.describe(dir))?;
        Ok((keys, master_key))
    }

    /// Wraps the data keys by another master key: a new one in the state directory's file; what the
    /// named file or the command gives now; or `new`, which those and the environment must give at the
    /// next start, and until then the old key opens the state directory too. Records are left as they are, and can be sealed and opened all the while. Blocks.
    ///
    /// # Errors
    /// There is no other key, or the file system fails: the present key goes on.
    pub fn rotate(&self, new: Option<SealKey>) -> Result<Rotated, MasterKeyError> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let from = || self.source.describe(&self.dir);
        let given = new.is_some();
        let next = match (&self.source, new) {
            (MasterKeySource::StateDirectory, Some(_)) => {
                return Err(MasterKeyError::NewKeyUnused { from: from() });
            }
            (_, Some(key)) => key,
            (MasterKeySource::Environment(_), None) => return Err(MasterKeyError::NewKeyNeeded),
            (MasterKeySource::StateDirectory, None) => {
                SealKey::generate().map_err(|source| MasterKeyError::Generate { source })?
            }
            (MasterKeySource::File(_) | MasterKeySource::Command(_), None) => {
                let missing = || MasterKeyError::Missing { file: self.dir.join(source::FILE) };
                self.source.fetch(&self.dir)?.ok_or_else(missing)?
            }
        };
        if next.as_bytes() == present.as_bytes() {
            return Err(MasterKeyError::SameKey { from: from() });
        }
        let wrap = |key: &SealKey| {
            Wrapping::of(key, &self.keys).map_err(|source| MasterKeyError::Generate { source })
        };
        let (old, new) = (wrap(&present)?, wrap(&next)?);
        let rotated =
            Rotated { from: old.master_key_id.clone(), to: new.master_key_id.clone(), at_next_start: given };
        let both = DataKeysFile::new(vec![old, new.clone()]);
        match (&self.source, given) {
            (_, true) => both.write(&self.dir)?,
            (MasterKeySource::StateDirectory, false) => {
                // In this order each crash leaves a master key that opens the data keys.
                source::write_new(&self.dir, &next)?;
                both.write(&self.dir)?;
                source::replace(&self.dir)?;
                DataKeysFile::new(vec![new]).write(&self.dir)?;
            }
            // What gives the next start its key has given this one already.
            (_, false) => DataKeysFile::new(vec![new]).write(&self.dir)?,
        }
        *present = next;
        Ok(rotated)
    }

    /// The id of the master key in use: 16 hex digits, which do not tell the key.
    pub fn id(&self) -> String {
        data_keys::id_of(&self.present.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the master key comes from, for people.
    pub fn origin(&self) -> String {
        self.source.describe(&self.dir)
    }

    /// Encrypts a record, under a key that is derived for it alone from a data key. It opens only
    /// with the same `context`: what it is and whose, such as its key in the store.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, RecordError> {
        let (number, key) = self.keys.last_key_value().expect("there is always a data key");
        let salt: [u8; SALT_BYTES] = crate::random::bytes();
        let mut record = vec![VERSION];
        record.extend_from_slice(&number.to_be_bytes());
        record.extend_from_slice(&salt);
        match record_key(key, &salt).seal(&bound(context), plain) {
            Ok(mut sealed) => {
                record.append(&mut sealed);
                Ok(record)
            }
            Err(source) => Err(RecordError { context: context.to_owned(), source }),
        }
    }

    /// Decrypts what [`MasterKey::seal`] made; the bytes are wiped when they go.
    ///
    /// # Errors
    /// Another data key, another context, changed bytes, or not a record.
    pub fn open(&self, context: &str, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, RecordError> {
        self.open_record(context, record)
            .map_err(|source| RecordError { context: context.to_owned(), source })
    }

    fn open_record(&self, context: &str, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (&version, rest) = record.split_first().ok_or(SealError::Format)?;
        if version != VERSION {
            return Err(SealError::Format);
        }
        let (number, rest) = rest.split_first_chunk::<NUMBER_BYTES>().ok_or(SealError::Format)?;
        let (salt, sealed) = rest.split_first_chunk::<SALT_BYTES>().ok_or(SealError::Format)?;
        let key = self.keys.get(&u32::from_be_bytes(*number)).ok_or(SealError::Authentication)?;
        record_key(key, salt).open(&bound(context), sealed).map(Zeroizing::new)
    }

    /// A key of its own for one purpose (HKDF-SHA-256, RFC 5869), the same for the state directory's
    /// life: what seals by the thousand does not wear a data key, and one purpose's texts open for
    /// no other.
    pub fn derive(&self, purpose: &str) -> SealKey {
        let (_, first) = self.keys.first_key_value().expect("there is always a data key");
        first.derive(b"bowline derived key", purpose.as_bytes())
    }

    /// A record to keep beside the first sealed data, which tells at the next
    /// start whether the data keys are still the same.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn canary(&self) -> Result<Vec<u8>, RecordError> {
        self.seal(CANARY_CONTEXT, CANARY)
    }

    /// Checks that these are the keys that made the canary.
    ///
    /// # Errors
    /// They are others, or the canary is damaged.
    pub fn check_canary(&self, canary: &[u8]) -> Result<(), MasterKeyError> {
        match self.open_record(CANARY_CONTEXT, canary) {
            Ok(_) => Ok(()),
            Err(source) => Err(MasterKeyError::WrongKey {
                from: self.origin(),
                found: self.id(),
                expected: Vec::new(),
                source,
            }),
        }
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MasterKey").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The data keys by the wrapping that this master key opens, and which one that is.
fn unwrap(
    kept: &DataKeysFile,
    master_key: &SealKey,
    from: impl Fn() -> String,
) -> Result<(usize, DataKeys), MasterKeyError> {
    let found = data_keys::id_of(master_key);
    let wrong = |source| MasterKeyError::WrongKey {
        from: from(),
        found: found.clone(),
        expected: kept.wrappings.iter().map(|wrapping| wrapping.master_key_id.clone()).collect(),
        source,
    };
    let at = kept.wrappings.iter().rposition(|wrapping| wrapping.master_key_id == found);
    let at = at.ok_or_else(|| wrong(SealError::Authentication))?;
    Ok((at, kept.wrappings[at].unwrap_keys(master_key).map_err(wrong)?))
}

fn record_key(data_key: &SealKey, salt: &[u8; SALT_BYTES]) -> SealKey {
    data_key.derive(salt, RECORD_KEY)
}

fn bound(context: &str) -> Vec<u8> {
    [RECORD_CONTEXT.as_bytes(), context.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
