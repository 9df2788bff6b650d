//! A block: the values of one tier that were cut at once, or put together of several, in a file that never changes.
//!
//! `BWLMTRC1`, then for each series, in the order of their numbers, a chunk: its periods, oldest first, each with the
//! distance from the one before, in periods, and its distribution. Then the index: for each chunk the series' number,
//! the chunk's length and checksum, and its latest period. Then the foot: where the index begins, the first and the
//! last second that are told of, and the checksum of index and foot. Whole numbers are as in LEB128.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    codec::{Bytes, checksum, put_distribution, put_whole},
    head::Periods,
    tier::SECONDS,
};

const MAGIC: &[u8; 8] = b"BWLMTRC1";

/// Of the foot: three numbers, the magic again, and the checksum.
const FOOT_BYTES: u64 = 8 * 4 + 4;

/// Most bytes of an index: some millions of series.
const INDEX_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Which block: of a tier, of what journals, and how often it was put together of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlockName {
    pub(super) tier: usize,
    /// The first journal that is in it.
    pub(super) first: u64,
    /// The last one.
    pub(super) last: u64,
    pub(super) level: u32,
}

impl BlockName {
    /// `60-0000000012-0000000019-1.block`.
    pub(super) fn file_name(self) -> String {
        let Self { tier, first, last, level } = self;
        format!("{}-{first:010}-{last:010}-{level}.block", SECONDS[tier])
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".block")?.splitn(4, '-').map(str::parse::<u64>);
        let mut next = || parts.next()?.ok();
        let (seconds, first, last, level) = (next()?, next()?, next()?, next()?);
        let tier = SECONDS.iter().position(|of| *of == seconds)?;
        Some(Self { tier, first, last, level: u32::try_from(level).ok()? })
    }

    /// Whether all that is in `other` is in this one.
    pub(super) fn covers(self, other: Self) -> bool {
        self != other && self.tier == other.tier && self.first <= other.first && other.last <= self.last
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u32,
    offset: u64,
    length: u32,
    sum: u32,
    /// The second at which its latest period begins.
    latest: u64,
}

/// A block, opened.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) name: BlockName,
    pub(super) path: PathBuf,
    file: File,
    index: Vec<Entry>,
    /// The second at which its first period begins.
    pub(super) oldest: u64,
    /// The second at which its last period begins.
    pub(super) newest: u64,
    /// Bytes of its file.
    pub(super) bytes: u64,
}

impl Block {
    pub(super) fn open(directory: &Path, name: BlockName) -> io::Result<Self> {
        let path = directory.join(name.file_name());
        let file = File::open(&path)?;
        let bytes = file.metadata()?.len();
        let broken =
            || io::Error::new(io::ErrorKind::InvalidData, "this is no block of metrics, or half of one");
        let foot_at = bytes.checked_sub(FOOT_BYTES).ok_or_else(broken)?;
        let mut foot = [0; FOOT_BYTES as usize];
        file.read_exact_at(&mut foot, foot_at)?;
        let number =
            |at: usize| foot[at..at + 8].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let (index_at, oldest, newest) = (number(0), number(8), number(16));
        let sum = foot[32..].iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let length =
            foot_at.checked_sub(index_at).filter(|length| *length <= INDEX_BYTES_MAX).ok_or_else(broken)?;
        if foot[24..32] != MAGIC[..] {
            return Err(broken());
        }
        let mut packed = vec![0; usize::try_from(length).map_err(|_| broken())?];
        file.read_exact_at(&mut packed, index_at)?;
        if checksum(&[&packed, &foot[..32]]) != sum {
            return Err(broken());
        }
        let index = read_index(&packed).ok_or_else(broken)?;
        Ok(Self { name, path, file, index, oldest, newest, bytes })
    }

    /// Every series with its latest second.
    pub(super) fn series(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.index.iter().map(|entry| (entry.id, entry.latest))
    }

    /// Merges the values of a series whose periods begin in `from..until` into `into`.
    pub(super) fn read(&self, id: u32, from: u64, until: u64, into: &mut Periods) -> io::Result<()> {
        let Ok(at) = self.index.binary_search_by_key(&id, |entry| entry.id) else { return Ok(()) };
        let entry = self.index[at];
        if entry.latest < from || self.oldest >= until || self.newest < from {
            return Ok(());
        }
        let mut chunk = vec![0; entry.length as usize];
        self.file.read_exact_at(&mut chunk, entry.offset)?;
        let broken =
            || io::Error::new(io::ErrorKind::InvalidData, "a chunk of metrics is not as it was written");
        if checksum(&[&chunk]) != entry.sum {
            return Err(broken());
        }
        let seconds = SECONDS[self.name.tier];
        let (mut bytes, mut period) = (Bytes(&chunk), 0_u64);
        while !bytes.is_empty() {
            period = bytes.whole().and_then(|distance| period.checked_add(distance)).ok_or_else(broken)?;
            let values = bytes.distribution().ok_or_else(broken)?;
            let begins = period.saturating_mul(seconds);
            if begins >= from && begins < until {
                into.entry(begins).or_default().merge(&values);
            }
        }
        Ok(())
    }
}

fn read_index(packed: &[u8]) -> Option<Vec<Entry>> {
    let mut bytes = Bytes(packed);
    let count = usize::try_from(bytes.whole()?).ok()?;
    let mut index: Vec<Entry> = Vec::with_capacity(count.min(packed.len() / 4));
    let (mut id, mut offset) = (0_u32, MAGIC.len() as u64);
    for number in 0..count {
        let distance = u32::try_from(bytes.whole()?).ok()?;
        // In their order, each once: they are searched for by halves.
        (number == 0 || distance > 0).then_some(())?;
        id = id.checked_add(distance)?;
        let length = u32::try_from(bytes.whole()?).ok()?;
        let sum = u32::try_from(bytes.whole()?).ok()?;
        index.push(Entry { id, offset, length, sum, latest: bytes.whole()? });
        offset = offset.checked_add(u64::from(length))?;
    }
    Some(index)
}

/// Writes a block, series by series, in the order of their numbers.
pub(super) struct BlockWriter {
    name: BlockName,
    path: PathBuf,
    file: BufWriter<File>,
    index: Vec<Entry>,
    at: u64,
    range: Option<(u64, u64)>,
}

impl BlockWriter {
    /// A file of another name, until it is whole.
    pub(super) fn create(directory: &Path, name: BlockName) -> io::Result<Self> {
        let path = directory.join(format!("{}.new", name.file_name()));
        let mut file = BufWriter::new(File::create(&path)?);
        file.write_all(MAGIC)?;
        Ok(Self { name, path, file, index: Vec::new(), at: MAGIC.len() as u64, range: None })
    }

    pub(super) fn put(&mut self, id: u32, periods: &Periods) -> io::Result<()> {
        let (Some((first, _)), Some((latest, _))) = (periods.first_key_value(), periods.last_key_value())
        else {
            return Ok(());
        };
        let seconds = SECONDS[self.name.tier];
        let (mut chunk, mut before) = (Vec::new(), 0);
        for (begins, values) in periods {
            let period = begins / seconds;
            put_whole(&mut chunk, period - before);
            put_distribution(&mut chunk, values);
            before = period;
        }
        let too_long = |_| io::Error::new(io::ErrorKind::FileTooLarge, "a chunk of metrics is too long");
        let length = u32::try_from(chunk.len()).map_err(too_long)?;
        self.file.write_all(&chunk)?;
        self.index.push(Entry { id, offset: self.at, length, sum: checksum(&[&chunk]), latest: *latest });
        self.at += u64::from(length);
        let (oldest, newest) = self.range.unwrap_or((*first, *latest));
        self.range = Some((oldest.min(*first), newest.max(*latest)));
        Ok(())
    }

    /// Writes the end, and gives the file its name once it is on the disk.
    pub(super) fn finish(mut self, directory: &Path) -> io::Result<Block> {
        let mut packed = Vec::new();
        put_whole(&mut packed, self.index.len() as u64);
        let mut before = 0;
        for entry in &self.index {
            for number in [entry.id - before, entry.length, entry.sum] {
                put_whole(&mut packed, u64::from(number));
            }
            put_whole(&mut packed, entry.latest);
            before = entry.id;
        }
        let (oldest, newest) = self.range.unwrap_or_default();
        let mut foot: Vec<u8> = [self.at, oldest, newest].into_iter().flat_map(u64::to_le_bytes).collect();
        foot.extend_from_slice(MAGIC);
        foot.extend_from_slice(&checksum(&[&packed, &foot]).to_le_bytes());
        self.file.write_all(&packed)?;
        self.file.write_all(&foot)?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&self.path, directory.join(self.name.file_name()))?;
        File::open(directory)?.sync_all()?;
        Block::open(directory, self.name)
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::metric::Distribution;

    use super::*;

    const NAME: BlockName = BlockName { tier: 1, first: 3, last: 3, level: 0 };

    fn periods(of: &[(u64, f64)]) -> Periods {
        of.iter().map(|(begins, value)| (*begins, Distribution::of(*value))).collect()
    }

    fn written(directory: &Path) -> Block {
        let mut writer = BlockWriter::create(directory, NAME).expect("is made");
        writer.put(2, &periods(&[(60, 1.0), (120, 2.0), (600, 3.0)])).expect("writes");
        writer.put(7, &periods(&[(180, 4.0)])).expect("writes");
        writer.finish(directory).expect("is finished")
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let name = BlockName { tier: 3, first: 12, last: 19, level: 1 };
        assert_eq!(name.file_name(), "3600-0000000012-0000000019-1.block");
        assert_eq!(BlockName::parse(&name.file_name()), Some(name));
        for wrong in ["", "3600-1-2-3", "61-1-2-3.block", "60-1-2.block", "60-1-2-3.block.new"] {
            assert_eq!(BlockName::parse(wrong), None, "{wrong}");
        }
        assert!(name.covers(BlockName { last: 12, level: 0, ..name }) && !name.covers(name));
    }

    #[test]
    fn a_range_of_a_series_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let block = written(dir.path());
        assert_eq!((block.oldest, block.newest), (60, 600));
        assert_eq!(block.series().collect::<Vec<_>>(), [(2, 600), (7, 180)]);
        let read = |id, from, until| {
            let mut into = periods(&[(120, 10.0)]);
            block.read(id, from, until, &mut into).expect("reads");
            into.iter().map(|(begins, values)| (*begins, values.sum())).collect::<Vec<_>>()
        };
        assert_eq!(read(2, 0, 1000), [(60, 1.0), (120, 12.0), (600, 3.0)]);
        assert_eq!(read(2, 120, 600), [(120, 12.0)]);
        assert_eq!(read(7, 180, 181), [(120, 10.0), (180, 4.0)]);
        assert_eq!(read(3, 0, 1000), [(120, 10.0)]);
    }

    #[test]
    fn what_is_broken_is_found_and_half_a_block_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = written(dir.path()).path;
        let whole = std::fs::read(&path).expect("reads");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).expect("writes");
            let told = Block::open(dir.path(), NAME).and_then(|block| {
                let mut into = Periods::new();
                block
                    .read(2, 0, 1000, &mut into)
                    .and_then(|()| block.read(7, 0, 1000, &mut into))
                    .map(|()| into)
            });
            // The first bytes are for people who look at files.
            assert_eq!(told.is_err(), at >= MAGIC.len(), "byte {at} of {}", whole.len());
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("writes");
            assert!(Block::open(dir.path(), NAME).is_err(), "{length}");
        }
    }
}
