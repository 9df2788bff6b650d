//! The data keys of a state directory: a file in which each is wrapped by the master key.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bowline_plumbing::seal::{SealError, SealKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{MasterKeyError, source};

/// Name of the file in the state directory.
pub(super) const FILE: &str = "data-keys.json";
const FORMAT: u32 = 1;
const KEY_BYTES: usize = 32;
/// There is one data key now, and two wrappings at most; more is a damaged file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DataKeysFile {
    format: u32,
    /// The oldest first. There are two from the beginning of a rotation until the new master key
    /// has proved to be there.
    pub(super) wrappings: Vec<Wrapping>,
}

/// All data keys, wrapped by one master key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wrapping {
    /// [`id_of`] the master key.
    pub(super) master_key_id: String,
    /// By number: base 64.
    keys: BTreeMap<u32, String>,
}

/// Data keys by number.
pub(super) type DataKeys = BTreeMap<u32, SealKey>;

/// What a master key is called: 16 hex digits from which the key cannot be told.
pub(super) fn id_of(master_key: &SealKey) -> String {
    let id = master_key.derive(b"bowline master key id", &[]);
    id.as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Wrapping {
    pub(super) fn of(master_key: &SealKey, keys: &DataKeys) -> Result<Self, SealError> {
        let wrap = |(number, key): (&u32, &SealKey)| {
            Ok((*number, STANDARD.encode(master_key.seal(&context(*number), key.as_bytes())?)))
        };
        Ok(Self {
            master_key_id: id_of(master_key),
            keys: keys.iter().map(wrap).collect::<Result<_, SealError>>()?,
        })
    }

    pub(super) fn unwrap_keys(&self, master_key: &SealKey) -> Result<DataKeys, SealError> {
        let unwrap = |(number, text): (&u32, &String)| {
            let wrapped = STANDARD.decode(text).map_err(|_| SealError::Format)?;
            let plain = Zeroizing::new(master_key.open(&context(*number), &wrapped)?);
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            if plain.len() != bytes.len() {
                return Err(SealError::Format);
            }
            bytes.copy_from_slice(&plain);
            Ok((*number, SealKey::from_bytes(*bytes)))
        };
        let keys: DataKeys = self.keys.iter().map(unwrap).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(SealError::Format) } else { Ok(keys) }
    }
}

impl DataKeysFile {
    pub(super) fn new(wrappings: Vec<Wrapping>) -> Self {
        Self { format: FORMAT, wrappings }
    }

    /// The file; `None` where the directory has none.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, MasterKeyError> {
        let file = dir.join(FILE);
        let mut text = Vec::new();
        match File::open(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.and_then(|opened| opened.take(MAX_FILE_BYTES).read_to_end(&mut text)),
        }
        .map_err(|source| MasterKeyError::DataKeysIo {
            action: "read",
            file: file.clone(),
            source,
        })?;
        match serde_json::from_slice::<Self>(&text) {
            Ok(read) if read.format == FORMAT && !read.wrappings.is_empty() => Ok(Some(read)),
            _ => Err(MasterKeyError::DataKeysDamaged { file }),
        }
    }

    /// Replaces the file; a crash leaves the old one or the new one.
    pub(super) fn write(&self, dir: &Path) -> Result<(), MasterKeyError> {
        let file = dir.join(FILE);
        let write = || {
            let draft = dir.join(format!("{FILE}.new"));
            let mut opened =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            opened.write_all(&serde_json::to_vec(self)?)?;
            opened.sync_all()?;
            std::fs::rename(&draft, &file)?;
            source::sync(dir)
        };
        write().map_err(|source| MasterKeyError::DataKeysIo { action: "write", file: file.clone(), source })
    }
}

/// What a wrapped key is bound to.
fn context(number: u32) -> Vec<u8> {
    format!("bowline data key\0{number}").into_bytes()
}
