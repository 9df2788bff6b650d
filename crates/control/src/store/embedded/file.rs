//! The file of a store, on a disk that may be without room.

use std::{fs::OpenOptions, io, ops::Bound, path::Path};

use bowline_plumbing::disk::Disk;
use redb::{BackendError, Builder, Database, StorageBackend, backends::FileBackend};

/// redb's file, each write of which asks for room first.
#[derive(Debug)]
struct DiskFile {
    file: FileBackend,
    disk: Disk,
}

/// Opens an existing store's file.
pub(super) fn open(path: &Path, disk: Disk) -> Result<Database, redb::Error> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(redb::Error::Io)?;
    if file.metadata().map_err(redb::Error::Io)?.len() == 0 {
        // redb would take it for a new one: it is one that was lost.
        return Err(redb::Error::Io(io::ErrorKind::InvalidData.into()));
    }
    let file = DiskFile { file: FileBackend::new(file)?, disk };
    Ok(Builder::new().create_with_backend(file)?)
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.file.len()? {
            self.disk.room()?;
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.room()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
