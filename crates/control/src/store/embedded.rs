//! The store of a single control plane: one file.

mod file;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use bowline_model::sabotage::{Defence, sabotaged};
use bowline_plumbing::disk::Disk;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::change_log::{ChangeLog, LogLimits};
use super::{Change, CommitError, Entry, Event, Listing, Store, StoreError, Transaction, Watch, WatchError};

/// Layout of the tables below; a file with another one is refused.
const FORMAT: u64 = 1;

/// Key to (revision, value).
const ENTRIES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("entries");
/// The numbers of the store itself: [`META_FORMAT`], [`META_REVISION`].
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
const META_REVISION: &str = "revision";

/// A [`Store`] in one file of redb's format.
///
/// A commit returns after the file was flushed to the disk. Reads run beside
/// the one writer, on the state before or after its commit. The change log is
/// in memory: after a restart, watches start from a new listing.
///
/// Once a write has failed, redb takes nothing more until its file is opened
/// anew: that is done at once, and if the disk does not let it be, at the next call.
pub struct EmbeddedStore {
    path: PathBuf,
    disk: Disk,
    /// `None`: its disk has failed, and it is to be opened anew.
    database: RwLock<Option<Database>>,
    log: ChangeLog,
    /// Held from before a commit until it is in the log: keeps the log in the
    /// order of the revisions.
    writing: Mutex<Writing>,
}

/// What the writer knows.
#[derive(Default)]
struct Writing {
    /// The last transaction failed in a way that leaves open whether it is in the file.
    doubt: Option<Doubt>,
}

/// A value, and the revision at which it was put.
type Revised = (u64, Vec<u8>);

/// What was there before a transaction that is to count for nothing.
struct Doubt {
    /// The store's revision.
    revision: u64,
    /// Each key that it has changed, and what was there.
    before: Vec<(String, Option<Revised>)>,
}

impl EmbeddedStore {
    /// Opens the file, or makes it (readable by its owner only).
    ///
    /// # Errors
    /// Another process has it open, it is damaged or of another version, or
    /// the file system fails.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, Disk::default(), LogLimits::default())
    }

    /// A store in memory, gone when it is dropped.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn in_memory() -> Result<Self, StoreError> {
        let path = PathBuf::from("memory");
        let made = Database::builder()
            .create_with_backend(redb::backends::InMemoryBackend::new())
            .map_err(redb::Error::from)
            .and_then(|database| initialise(&database).map(|()| database));
        let database = made.map_err(|error| classify(&path, "create", error))?;
        let log = ChangeLog::new(0, LogLimits::default());
        Ok(Self::over(path, Disk::default(), database, log))
    }

    fn over(path: PathBuf, disk: Disk, database: Database, log: ChangeLog) -> Self {
        Self { path, disk, database: RwLock::new(Some(database)), log, writing: Mutex::default() }
    }

    /// As [`EmbeddedStore::open`], on a disk that may be without room on purpose, and with other limits of the change log.
    ///
    /// # Errors
    /// The same.
    pub fn open_with(path: impl AsRef<Path>, disk: Disk, log: LogLimits) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.try_exists().map_err(|error| backend(path, "look for its file", error))? {
            create(path)?;
        }
        let (database, revision) = open_file(path, &disk)?;
        Ok(Self::over(path.to_owned(), disk, database, ChangeLog::new(revision, log)))
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // A panic of an earlier holder left no half commit: redb drops it.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.reopen(&mut self.writing_if_closed())?;
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else { return Err(self.closed()) };
        let transaction = database.begin_read().map_err(|error| classify(&self.path, "read", error))?;
        read(&transaction).map_err(|error| classify(&self.path, "read", error))
    }

    /// The writer's lock where the file is to be opened anew: else who reads does not wait for who writes.
    fn writing_if_closed(&self) -> Option<MutexGuard<'_, Writing>> {
        self.is_closed().then(|| self.writing())
    }

    fn is_closed(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Another reader found it closed, too, and its disk has failed again.
    fn closed(&self) -> StoreError {
        let reason = std::io::Error::other("its disk has failed, and it is not open yet");
        backend(&self.path, "open", reason)
    }

    /// Opens the file anew where its disk has failed, and takes back what its last transaction may have left.
    fn reopen(&self, writing: &mut Option<MutexGuard<'_, Writing>>) -> Result<(), StoreError> {
        let Some(writing) = writing.as_mut().filter(|_| self.is_closed()) else { return Ok(()) };
        let mut present = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let (database, revision) = open_file(&self.path, &self.disk)?;
        if let Some(doubt) = writing.doubt.take_if(|doubt| doubt.revision != revision) {
            if let Err(error) = take_back(&database, &doubt) {
                writing.doubt = Some(doubt);
                return Err(classify(&self.path, "open", error));
            }
            tracing::warn!(
                revision,
                "a transaction that was reported as failed was in the store: it is taken back"
            );
        }
        writing.doubt = None;
        *present = Some(database);
        tracing::info!(store = %self.path.display(), "the store is open again, after its disk had failed");
        Ok(())
    }

    /// After a failed transaction: opens the file anew.
    fn recover(&self, mut writing: MutexGuard<'_, Writing>, doubt: Option<Doubt>) {
        if sabotaged(Defence::StoreRecovery) {
            return;
        }
        writing.doubt = doubt;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        if let Err(error) = self.reopen(&mut Some(writing)) {
            tracing::error!(%error, "the store's disk has failed; the store is opened anew when it is needed");
        }
    }

    /// Applies a checked transaction; the writer's lock is held. `doubt` is told what to take back, should it fail.
    fn apply(
        &self,
        transaction: Transaction,
        doubt: &mut Option<Doubt>,
    ) -> Result<(u64, Vec<Event>), ApplyError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else { return Err(CommitError::from(self.closed()).into()) };
        let mut write = database.begin_write().map_err(redb::Error::from)?;
        write.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
        let mut events = Vec::with_capacity(transaction.changes.len());
        let revision;
        {
            let mut meta = write.open_table(META).map_err(redb::Error::from)?;
            let mut entries = write.open_table(ENTRIES).map_err(redb::Error::from)?;
            let before =
                meta.get(META_REVISION).map_err(redb::Error::from)?.map_or(0, |revision| revision.value());
            for condition in transaction.conditions {
                let actual = entries
                    .get(condition.key.as_str())
                    .map_err(redb::Error::from)?
                    .map_or(0, |entry| entry.value().0);
                if actual != condition.revision {
                    // Dropped without a commit, the write is undone.
                    let expected = condition.revision;
                    return Err(CommitError::Conflict { key: condition.key, expected, actual }.into());
                }
            }
            let doubt = doubt.insert(Doubt { revision: before, before: Vec::new() });
            let next = before + 1;
            for change in transaction.changes {
                match change {
                    Change::Put { key, value } => {
                        let old = entries.insert(key.as_str(), (next, value.as_slice()));
                        doubt.before.push((key.clone(), owned(old.map_err(redb::Error::from)?)));
                        events.push(Event::Put(Entry { key, value, revision: next }));
                    }
                    Change::Delete { key } => {
                        let old = owned(entries.remove(key.as_str()).map_err(redb::Error::from)?);
                        if old.is_some() {
                            doubt.before.push((key.clone(), old));
                            events.push(Event::Deleted { key, revision: next });
                        }
                    }
                }
            }
            if events.is_empty() {
                return Ok((before, events));
            }
            meta.insert(META_REVISION, next).map_err(redb::Error::from)?;
            revision = next;
        }
        write.commit().map_err(redb::Error::from)?;
        Ok((revision, events))
    }
}

impl Store for EmbeddedStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            let entry = entries.get(key)?;
            Ok(entry.map(|guard| {
                let (revision, value) = guard.value();
                Entry { key: key.to_owned(), value: value.to_vec(), revision }
            }))
        })
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.read(|transaction| {
            let revision = transaction.open_table(META)?.get(META_REVISION)?.map_or(0, |guard| guard.value());
            let mut entries = Vec::new();
            for item in transaction.open_table(ENTRIES)?.range(prefix..)? {
                let (key, guard) = item?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                let (revision, value) = guard.value();
                entries.push(Entry { key: key.value().to_owned(), value: value.to_vec(), revision });
            }
            Ok(Listing { revision, entries })
        })
    }

    fn commit(&self, transaction: Transaction) -> Result<u64, CommitError> {
        transaction.check()?;
        let mut writing = Some(self.writing());
        self.reopen(&mut writing)?;
        let mut doubt = None;
        match self.apply(transaction, &mut doubt) {
            Ok((revision, events)) => {
                if !events.is_empty() {
                    self.log.append(revision, events);
                }
                Ok(revision)
            }
            Err(ApplyError::Refused(error)) => Err(error),
            Err(ApplyError::Failed(error)) => {
                if let Some(writing) = writing {
                    self.recover(writing, doubt);
                }
                Err(classify(&self.path, "write", error).into())
            }
        }
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, WatchError> {
        if from_revision > self.log.revision() {
            // A listing may have seen a commit that is not in the log yet:
            // wait for it.
            drop(self.writing());
        }
        self.log.watch(prefix, from_revision)
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.path).finish_non_exhaustive()
    }
}

enum ApplyError {
    Refused(CommitError),
    Failed(redb::Error),
}

impl From<CommitError> for ApplyError {
    fn from(error: CommitError) -> Self {
        Self::Refused(error)
    }
}

impl From<redb::Error> for ApplyError {
    fn from(error: redb::Error) -> Self {
        Self::Failed(error)
    }
}

/// Makes an empty store under another name and moves it into place, so that a
/// crash leaves either no store or a whole one.
fn create(path: &Path) -> Result<(), StoreError> {
    let fail = |error| backend(path, "create its file", error);
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(fail)?;
    let made = Database::builder().create_file(file).map_err(redb::Error::from);
    made.and_then(|database| initialise(&database))
        .map_err(|error| classify(path, "create its file", error))?;
    std::fs::rename(&draft, path).map_err(fail)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(fail)
}

/// Opens a store's file: with its revision.
fn open_file(path: &Path, disk: &Disk) -> Result<(Database, u64), StoreError> {
    let opened = file::open(path, disk.clone());
    let database = opened.map_err(|error| classify(path, "open", error))?;
    let revision = read_meta(path, &database)?;
    Ok((database, revision))
}

/// Puts back what was there before.
fn take_back(database: &Database, doubt: &Doubt) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    {
        let mut entries = write.open_table(ENTRIES)?;
        for (key, before) in &doubt.before {
            match before {
                Some((revision, value)) => {
                    entries.insert(key.as_str(), (*revision, value.as_slice()))?;
                }
                None => {
                    entries.remove(key.as_str())?;
                }
            }
        }
        write.open_table(META)?.insert(META_REVISION, doubt.revision)?;
    }
    write.commit()?;
    Ok(())
}

fn owned(old: Option<redb::AccessGuard<'_, (u64, &[u8])>>) -> Option<(u64, Vec<u8>)> {
    old.map(|guard| {
        let (revision, value) = guard.value();
        (revision, value.to_vec())
    })
}

/// An empty store's tables.
fn initialise(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(ENTRIES)?;
    {
        let mut meta = write.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT)?;
        meta.insert(META_REVISION, 0)?;
    }
    write.commit()?;
    Ok(())
}

/// Checks the format; the store's revision.
fn read_meta(path: &Path, database: &Database) -> Result<u64, StoreError> {
    let read = || -> Result<_, redb::Error> {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let number =
            |key| -> Result<u64, redb::Error> { Ok(meta.get(key)?.map_or(0, |guard| guard.value())) };
        Ok((number(META_FORMAT)?, number(META_REVISION)?))
    };
    let (found, revision) = read().map_err(|error| classify(path, "read its format", error))?;
    if found != FORMAT {
        return Err(StoreError::Format { store: path.display().to_string(), found, expected: FORMAT });
    }
    Ok(revision)
}

fn backend(path: &Path, action: &'static str, error: std::io::Error) -> StoreError {
    StoreError::Backend { store: path.display().to_string(), action, source: Box::new(error) }
}

fn classify(path: &Path, action: &'static str, error: impl Into<redb::Error>) -> StoreError {
    let store = path.display().to_string();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse { store },
        error @ (redb::Error::Corrupted(_)
        | redb::Error::RepairAborted
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }) => {
            StoreError::Damaged { store, source: Box::new(error) }
        }
        // What redb says of a file that is not one of its own.
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::Damaged { store, source: Box::new(error) }
        }
        redb::Error::Io(error) => StoreError::Backend { store, action, source: Box::new(error) },
        error => StoreError::Backend { store, action, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests;
