//! The last good state on disk, sealed under a key that the shim holds, so
//! that a restarted proxy serves without the control plane.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bowline_discovery::resource::Resource;
use bowline_plumbing::seal::{SealError, SealKey};
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    certificates::{Stored, chain_text},
    config::store::without_faults,
    run::Control,
};

/// Changes within this time are written together.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Longest state file, in bytes.
const STATE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct LastGood {
    format: u32,
    pub(crate) certificates: Vec<Stored>,
    /// Roots by trust domain.
    pub(crate) roots: BTreeMap<String, String>,
    /// Version and resource.
    #[serde(deserialize_with = "resources")]
    pub(crate) resources: Vec<(String, Resource)>,
}

/// As the configuration file's are read, by way of JSON values: a second reader of all resources would be there for
/// this alone. Keys are not among them.
fn resources<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, Resource)>, D::Error> {
    let values = Vec::<(String, serde_json::Value)>::deserialize(from)?;
    let read = |(version, value)| Ok((version, serde_json::from_value(value).map_err(de::Error::custom)?));
    values.into_iter().map(read).collect()
}

const FORMAT: u32 = 1;

/// Why there is no state to go on with.
#[derive(Debug, Error)]
pub(crate) enum LastGoodError {
    #[error("the state file cannot be read or written")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the state is of another format")]
    Format,
}

/// Where and under which key the state is kept.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    path: PathBuf,
    key: SealKey,
    /// Binds the file to its task.
    context: Vec<u8>,
    /// One writes at a time.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Keeper {
    pub(crate) fn new(path: &Path, key: SealKey, task_id: &str) -> Self {
        let context = format!("bowline proxy state of {task_id}").into_bytes();
        Self { path: path.to_owned(), key, context, writing: Arc::default() }
    }

    /// The state as it was last written; `None` if there is none.
    pub(crate) fn load(&self) -> Result<Option<LastGood>, LastGoodError> {
        let mut sealed = Vec::new();
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(file) => file.take(STATE_BYTES_MAX).read_to_end(&mut sealed)?,
        };
        let plain = Zeroizing::new(self.key.open(&self.context, &sealed)?);
        let state: LastGood = serde_json::from_slice(&plain).map_err(|_| LastGoodError::Format)?;
        match state.format {
            FORMAT => Ok(Some(state)),
            _ => Err(LastGoodError::Format),
        }
    }

    /// Replaces the state on disk; a crash leaves the old one or the new one.
    pub(crate) fn save(&self, state: &LastGood) -> Result<(), LastGoodError> {
        let plain = Zeroizing::new(serde_json::to_vec(state).map_err(|_| LastGoodError::Format)?);
        let sealed = self.key.seal(&self.context, &plain)?;
        let temporary = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// Writes the state whenever certificates or resources have changed.
    pub(crate) async fn keep(
        self,
        control: Control,
        mut certificates: watch::Receiver<Vec<Stored>>,
        mut revision: watch::Receiver<u64>,
    ) {
        loop {
            tokio::select! {
                changed = certificates.changed() => if changed.is_err() { return },
                changed = revision.changed() => if changed.is_err() { return },
            }
            tokio::time::sleep(DEBOUNCE).await;
            let stored = certificates.borrow_and_update().clone();
            revision.borrow_and_update();
            self.write(&control, stored).await;
        }
    }

    /// Writes what is so now, with these certificates. Where that fails, it is said, and the state before is kept.
    pub(crate) async fn write(&self, control: &Control, certificates: Vec<Stored>) {
        let turn = Arc::clone(&self.writing).lock_owned().await;
        let (keeper, state) = (self.clone(), collect(control, certificates));
        let saved = tokio::task::spawn_blocking(move || {
            // It is over when the file is written, whether or not somebody waits for it still.
            let _turn = turn;
            keeper.save(&state)
        });
        if let Ok(Err(error)) = saved.await {
            tracing::error!(error = %chain_text(&error), "the last good state is not on disk");
        }
    }
}

fn collect(control: &Control, certificates: Vec<Stored>) -> LastGood {
    let data_plane = control.lock();
    let roots = data_plane.store.trust().roots.iter();
    LastGood {
        format: FORMAT,
        certificates,
        roots: roots.map(|(domain, roots)| (domain.clone(), roots.pem.clone())).collect(),
        resources: data_plane
            .store
            .all()
            .map(without_faults)
            .map(|held| (held.version, held.resource))
            .collect(),
    }
}

/// Puts a state into effect, as far as this version understands it.
pub(crate) fn restore(control: &Control, state: &LastGood) {
    let mut data_plane = control.lock();
    for (domain, pem) in &state.roots {
        if let Err(error) = data_plane.store.set_bootstrap_roots(domain, pem) {
            tracing::warn!(domain, %error, "roots of the last good state are unusable");
        }
    }
    for certificate in &state.certificates {
        match certificate.held() {
            Ok(held) => data_plane.store.hold(&certificate.name, held),
            Err(error) => {
                tracing::warn!(name = certificate.name, %error, "a certificate of the last good state is unusable");
            }
        }
    }
    let rejections = data_plane.apply(state.resources.clone(), &[]);
    for rejection in rejections {
        tracing::warn!(
            reason = crate::run::describe(&rejection),
            "a resource of the last good state is unusable"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_opens_only_for_its_task_and_unchanged() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state");
        let key = SealKey::generate().expect("randomness");
        let keeper = Keeper::new(&path, key.clone(), "task-1");
        assert!(keeper.load().expect("no state is fine").is_none());
        let state = LastGood {
            format: FORMAT,
            certificates: vec![],
            roots: [("d".to_owned(), "pem".to_owned())].into(),
            resources: vec![],
        };
        keeper.save(&state).expect("saved");
        assert_eq!(keeper.load().expect("opens").expect("is there").roots, state.roots);
        assert!(Keeper::new(&path, key, "task-2").load().is_err());
        let mut bytes = fs::read(&path).expect("read");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&path, bytes).expect("written");
        assert!(matches!(keeper.load(), Err(LastGoodError::Seal(SealError::Authentication))));
    }
}
