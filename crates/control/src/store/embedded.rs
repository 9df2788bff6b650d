//! The store of a single control plane: one file.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
pub struct EmbeddedStore {
    path: PathBuf,
    database: Database,
    log: ChangeLog,
    /// Held from before a commit until it is in the log: keeps the log in the
    /// order of the revisions.
    writing: Mutex<()>,
}

impl EmbeddedStore {
    /// Opens the file, or makes it (readable by its owner only).
    ///
    /// # Errors
    /// Another process has it open, it is damaged or of another version, or
    /// the file system fails.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, LogLimits::default())
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
        Ok(Self { path, database, log: ChangeLog::new(0, LogLimits::default()), writing: Mutex::new(()) })
    }

    /// As [`EmbeddedStore::open`], with other limits of the change log.
    ///
    /// # Errors
    /// The same.
    pub fn open_with(path: impl AsRef<Path>, log: LogLimits) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.try_exists().map_err(|error| backend(path, "look for its file", error))? {
            create(path)?;
        }
        let database = Database::open(path).map_err(|error| classify(path, "open", error))?;
        let revision = read_meta(path, &database)?;
        Ok(Self {
            path: path.to_owned(),
            database,
            log: ChangeLog::new(revision, log),
            writing: Mutex::new(()),
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| classify(&self.path, "read", error))?;
        read(&transaction).map_err(|error| classify(&self.path, "read", error))
    }

    /// Applies a checked transaction; the writer's lock is held.
    fn apply(&self, transaction: Transaction) -> Result<(u64, Vec<Event>), ApplyError> {
        let mut write = self.database.begin_write().map_err(redb::Error::from)?;
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
            let next = before + 1;
            for change in transaction.changes {
                match change {
                    Change::Put { key, value } => {
                        entries.insert(key.as_str(), (next, value.as_slice())).map_err(redb::Error::from)?;
                        events.push(Event::Put(Entry { key, value, revision: next }));
                    }
                    Change::Delete { key } => {
                        if entries.remove(key.as_str()).map_err(redb::Error::from)?.is_some() {
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
        // A panic of an earlier holder left no half commit: redb drops it.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (revision, events) = self.apply(transaction).map_err(|error| match error {
            ApplyError::Refused(error) => error,
            ApplyError::Failed(error) => classify(&self.path, "write", error).into(),
        })?;
        if !events.is_empty() {
            self.log.append(revision, events);
        }
        Ok(revision)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, WatchError> {
        if from_revision > self.log.revision() {
            // A listing may have seen a commit that is not in the log yet:
            // wait for it.
            drop(self.writing.lock().unwrap_or_else(PoisonError::into_inner));
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
        error => StoreError::Backend { store, action, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::store::conformance;

    #[test]
    fn conforms() {
        let directory = tempfile::tempdir().expect("a directory");
        let count = std::cell::Cell::new(0);
        conformance::all(&|log| {
            count.set(count.get() + 1);
            let path = directory.path().join(format!("{}.redb", count.get()));
            Box::new(EmbeddedStore::open_with(path, log).expect("opens"))
        });
    }

    #[test]
    fn keeps_everything_when_reopened_and_its_file_is_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.redb");
        let store = EmbeddedStore::open(&path).expect("opens");
        store.commit(conformance::put("a", "1")).expect("commits");
        store.commit(conformance::put("b", "2")).expect("commits");
        let before = store.list("").expect("lists");
        assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::InUse { .. })));
        drop(store);

        let store = EmbeddedStore::open(&path).expect("opens");
        assert_eq!(store.list("").expect("lists"), before);
        assert_eq!(store.watch("", 1).err(), Some(WatchError::Compacted { oldest: 2 }));
        assert_eq!(store.commit(conformance::put("c", "3")).expect("commits"), 3);
        let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!directory.path().join("store.redb.new").exists());
    }

    #[test]
    fn refuses_what_is_not_its_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("text");
        std::fs::write(&path, "a file of somebody else, which is left alone").expect("writes");
        let error = EmbeddedStore::open(&path).expect_err("not a store");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        std::fs::write(&path, "").expect("writes");
        let error = EmbeddedStore::open(&path).expect_err("an empty file is a store that was lost");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");

        let path = directory.path().join("later.redb");
        drop(EmbeddedStore::open(&path).expect("opens"));
        let database = Database::open(&path).expect("opens");
        let write = database.begin_write().expect("begins");
        write.open_table(META).expect("is there").insert(META_FORMAT, FORMAT + 1).expect("writes");
        write.commit().expect("commits");
        drop(database);
        let error = EmbeddedStore::open(&path).expect_err("another format");
        assert!(matches!(error, StoreError::Format { found: 2, .. }), "{error:?}");
    }

    #[test]
    fn a_draft_left_by_a_crash_is_made_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.redb");
        std::fs::write(directory.path().join("store.redb.new"), "half").expect("writes");
        EmbeddedStore::open(&path).expect("opens");
    }

    #[test]
    fn a_watch_waits_for_a_commit_that_was_listed_before_it_was_logged() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = EmbeddedStore::open(directory.path().join("store.redb")).expect("opens");
        let writing = store.writing.lock().expect("nobody panicked");
        let Ok((revision, events)) = store.apply(conformance::put("a", "1")) else {
            panic!("does not apply")
        };
        let listed = store.list("").expect("lists").revision;
        assert_eq!(listed, revision);
        std::thread::scope(|scope| {
            let (started, result) = std::sync::mpsc::channel();
            let store = &store;
            scope.spawn(move || started.send(store.watch("", listed).map(|watch| watch.revision())));
            // No answer can come before the log has it, however long this waits.
            let early = result.recv_timeout(std::time::Duration::from_millis(50));
            store.log.append(revision, events);
            drop(writing);
            assert!(early.is_err(), "{early:?}");
            assert_eq!(result.recv().expect("answers"), Ok(listed));
        });
    }

    const KILLED_STORE: &str = "BOWLINE_TEST_KILLED_STORE";

    /// Runs again as its own child: the writer that is killed.
    #[test]
    fn what_was_acknowledged_survives_kill_9() {
        if let Some(path) = std::env::var_os(KILLED_STORE) {
            write_until_killed(Path::new(&path));
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.redb");
        let mut acknowledged = 0;
        for lines in [1, 2, 17, 40, 3] {
            let mut writer = Command::new(std::env::current_exe().expect("has a path"))
                .args(["--exact", "store::embedded::tests::what_was_acknowledged_survives_kill_9"])
                .args(["--nocapture", "--test-threads=1"])
                .env(KILLED_STORE, &path)
                .stdout(Stdio::piped())
                .spawn()
                .expect("starts");
            let mut seen = 0;
            // To the end, not just `lines`: what was printed before the kill
            // was acknowledged too.
            for line in BufReader::new(writer.stdout.take().expect("is piped")).lines() {
                // The test harness may have begun the line.
                let line = line.expect("reads");
                let Some((_, revision)) = line.split_once("acknowledged ") else { continue };
                let revision: u64 = revision.trim().parse().expect("is a number");
                assert!(revision > acknowledged, "revision {revision} after {acknowledged}");
                acknowledged = revision;
                seen += 1;
                if seen == lines {
                    writer.kill().expect("kills");
                }
            }
            writer.wait().expect("ends");
            assert!(seen >= lines, "the writer ended by itself after {seen} lines");

            let store = EmbeddedStore::open(&path).expect("opens after a kill");
            let listing = store.list("").expect("lists");
            assert!(listing.revision >= acknowledged, "{} < {acknowledged}", listing.revision);
            // Of the last transaction, acknowledged or not: all or nothing.
            for key in ["left", "right"] {
                let entry = store.get(key).expect("reads").expect("is there");
                assert_eq!((entry.revision, entry.value), (listing.revision, number(listing.revision)));
            }
            let rows = store.list("row/").expect("lists").entries;
            assert_eq!(rows.len() as u64, listing.revision, "a row is missing");
            for (row, revision) in rows.iter().zip(1..) {
                assert_eq!((row.revision, &row.value), (revision, &number(revision)));
            }
        }
    }

    fn write_until_killed(path: &Path) -> ! {
        let store = EmbeddedStore::open(path).expect("opens");
        let mut revision = store.list("").expect("lists").revision;
        loop {
            let next = revision + 1;
            let put = |key: String| Change::Put { key, value: number(next) };
            let changes = vec![put("left".into()), put(format!("row/{next:08}")), put("right".into())];
            revision = store.commit(Transaction { conditions: Vec::new(), changes }).expect("commits");
            let mut stdout = std::io::stdout().lock();
            // When the parent is gone, so is this.
            if writeln!(stdout, "acknowledged {revision}").and_then(|()| stdout.flush()).is_err() {
                std::process::exit(1);
            }
        }
    }

    fn number(revision: u64) -> Vec<u8> {
        // Large enough that a commit spans pages.
        revision.to_be_bytes().repeat(200)
    }
}
