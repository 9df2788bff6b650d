//! Load on a file system: files without a name, which go with the process whatever ends it.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::{Advice, OFlags, fadvise, fstatvfs};

/// What is written, made durable and read at a time.
const PIECE: usize = 256 * 1024;

/// At least a piece for each worker, however little is free.
const FILE_BYTES_MIN: u64 = 1024 * 1024;

/// The last of the free space is left to others even at 100 %.
const PERCENT_MAX: u8 = 95;

/// Between tries while nothing can be written.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts workers, and says how many and how much each writes at most before it begins anew.
pub(super) fn begin(percent: u8, workers: u16) -> io::Result<(u16, u64)> {
    let workers = workers.max(1);
    let mut files = Vec::new();
    for _ in 0..workers {
        files.push(temporary_file()?);
    }
    let space = fstatvfs(&files[0])?;
    let bytes = share(percent, space.f_bavail.saturating_mul(space.f_frsize), workers);
    for (number, file) in files.into_iter().enumerate() {
        thread::Builder::new().stack_size(64 * 1024).spawn(move || work(&file, bytes, number))?;
    }
    Ok((workers, bytes))
}

fn share(percent: u8, free: u64, workers: u16) -> u64 {
    let all = free / 100 * u64::from(percent.min(PERCENT_MAX));
    (all / u64::from(workers.max(1))).max(FILE_BYTES_MIN)
}

/// In the container's own directory for such files, or in the first where one can be made.
fn temporary_file() -> io::Result<File> {
    let mut failure = io::Error::other("there is no directory for temporary files");
    for directory in [env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp"), PathBuf::from(".")] {
        match without_name(&directory).or_else(|_| unlinked(&directory)) {
            Ok(file) => return Ok(file),
            Err(error) => {
                failure = io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
            }
        }
    }
    Err(failure)
}

fn without_name(directory: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::TMPFILE.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(directory)
}

/// Where the file system has no files without a name: for an instant it has one.
fn unlinked(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!(".bowline-stress-{}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn work(file: &File, bytes: u64, number: usize) {
    // Not the same everywhere: a file system may keep equal blocks once.
    let mut piece: Vec<u8> = (0..PIECE).map(|index| (index * 31 + number * 7) as u8).collect();
    let mut place = 0;
    loop {
        piece[..8].copy_from_slice(&(place ^ (number as u64) << 48).to_le_bytes());
        if write_and_read(file, &mut piece, place).is_err() {
            // The file system is full, which is load enough.
            thread::sleep(PAUSE);
            place = 0;
            continue;
        }
        place = next(place, bytes);
    }
}

/// Where to write after `place`: at the beginning again once a piece more would be too much.
fn next(place: u64, bytes: u64) -> u64 {
    let piece = PIECE as u64;
    if place + 2 * piece > bytes { 0 } else { place + piece }
}

fn write_and_read(file: &File, piece: &mut [u8], place: u64) -> io::Result<()> {
    file.write_all_at(piece, place)?;
    file.sync_data()?;
    // Out of the cache, so that what is read comes from the disk.
    let _ = fadvise(file, place, std::num::NonZeroU64::new(piece.len() as u64), Advice::DontNeed);
    file.read_exact_at(piece, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_within_their_share() {
        assert_eq!(share(10, 1000 * FILE_BYTES_MIN, 2), 1000 * FILE_BYTES_MIN / 100 * 5);
        assert_eq!(share(1, 0, 4), FILE_BYTES_MIN);
        assert_eq!(share(100, 100, 1), share(95, 100, 1));
        let mut place = 0;
        for _ in 0..100 {
            place = next(place, FILE_BYTES_MIN);
            assert!(place + PIECE as u64 <= FILE_BYTES_MIN);
        }
    }

    #[test]
    fn a_temporary_file_has_no_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = [without_name(directory.path()), unlinked(directory.path())];
        let mut piece = vec![7; PIECE];
        for file in files {
            write_and_read(&file.expect("a file"), &mut piece, 0).expect("writes and reads");
        }
        assert_eq!(fs::read_dir(directory.path()).expect("reads").count(), 0);
    }
}
