//! The directory of a store: which blocks are there, and which are put together or given up.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_model::clock::Timestamp;

use super::{
    MetricStoreError, Retention,
    block::{Block, BlockName, BlockWriter},
    head::{Head, Periods},
    journal,
    tier::TIERS,
};

/// The file that tells which series there are.
pub(super) const SERIES_FILE: &str = "series";

/// How many blocks of the same level are put together to one of the next.
pub(super) const TOGETHER: usize = 8;

/// Of how long a tier is kept, and of how many bytes there may be, what one block may be at the most. It is given up
/// as a whole.
const BLOCK_SHARE: u64 = 8;

/// The blocks of every tier, in the order in which they were cut.
pub(super) type Shelves = [Vec<Arc<Block>>; TIERS];

/// What was found in a directory.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) shelves: Shelves,
    /// Journals whose values are in no block, oldest first.
    pub(super) journals: Vec<u64>,
    /// The number of the next journal.
    pub(super) next_journal: u64,
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> MetricStoreError {
    let path = path.to_owned();
    move |source| MetricStoreError::Io { path, source }
}

/// Looks through a directory, and clears away what a process that was killed left half done.
pub(super) fn scan(directory: &Path) -> Result<Found, MetricStoreError> {
    let (mut names, mut journals, mut halves) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let entry = entry.map_err(failed(directory))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(".new") {
            halves.push(entry.path());
        } else if let Some(block) = BlockName::parse(name) {
            names.insert(block);
        } else {
            journals.extend(journal::number(name));
        }
    }
    // Blocks of a cut get their names one after the other, that of the last tier last: only then is the journal in
    // blocks. Before that it counts, and the blocks do not.
    let is_cut = |number: u64| {
        names.iter().any(|name| name.tier == TIERS - 1 && (name.first..=name.last).contains(&number))
    };
    let (done, journals): (Vec<u64>, Vec<u64>) = journals.into_iter().partition(|number| is_cut(*number));
    halves.extend(done.iter().map(|number| journal::path(directory, *number)));
    let is_superseded = |name: &BlockName| {
        names.iter().any(|other| other.covers(*name))
            || journals.iter().any(|number| (name.first..=name.last).contains(number))
    };
    let (superseded, names): (Vec<BlockName>, Vec<BlockName>) =
        names.iter().partition(|name| is_superseded(name));
    halves.extend(superseded.iter().map(|name| directory.join(name.file_name())));
    for path in halves {
        std::fs::remove_file(&path).map_err(failed(&path))?;
    }
    let mut shelves = Shelves::default();
    let last_block = names.iter().map(|name| name.last).max().unwrap_or(0);
    for name in names {
        match Block::open(directory, name) {
            Ok(block) => shelves[name.tier].push(Arc::new(block)),
            // One that cannot be read is no reason to lose the others.
            Err(error) => tracing::error!(block = name.file_name(), %error, "metrics cannot be read"),
        }
    }
    let next_journal = journals.iter().copied().max().unwrap_or(0).max(last_block) + 1;
    Ok(Found { shelves, journals, next_journal })
}

/// Cuts the blocks of a head that holds what the journals `first..=last` hold.
pub(super) fn cut(directory: &Path, head: &Head, first: u64, last: u64) -> io::Result<[Arc<Block>; TIERS]> {
    let mut blocks = Vec::with_capacity(TIERS);
    for tier in 0..TIERS {
        let mut writer = BlockWriter::create(directory, BlockName { tier, first, last, level: 0 })?;
        for (id, periods) in head.tier(tier) {
            writer.put(id, periods)?;
        }
        blocks.push(Arc::new(writer.finish(directory)?));
    }
    <[Arc<Block>; TIERS]>::try_from(blocks).map_err(|_| io::Error::other("there is a block for each tier"))
}

/// Blocks of a shelf that are to be put together: as many neighbours of one level as it takes, which together are
/// neither too long nor too large. The last one's place in the shelf is the end of the range.
pub(super) fn together(
    shelf: &[Arc<Block>],
    retention: &Retention,
    bytes_max: u64,
) -> Option<std::ops::Range<usize>> {
    (TOGETHER..=shelf.len()).map(|end| end - TOGETHER..end).find(|range| {
        let blocks = &shelf[range.clone()];
        let (first, last) = (&blocks[0], &blocks[TOGETHER - 1]);
        // Late values make a block begin early, but do not keep it longer.
        let span = last.newest.saturating_sub(first.newest);
        let bytes: u64 = blocks.iter().map(|block| block.bytes).sum();
        blocks.iter().all(|block| block.name.level == first.name.level)
            && span <= retention.of(first.name.tier).as_secs() / BLOCK_SHARE
            && bytes <= bytes_max / BLOCK_SHARE
    })
}

/// Puts blocks together, without the series that are not in `live` and what is older than `horizon`.
pub(super) fn put_together(
    directory: &Path,
    blocks: &[Arc<Block>],
    horizon: u64,
    live: &dyn Fn(u32) -> bool,
) -> io::Result<Arc<Block>> {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
        return Err(io::Error::other("there is nothing to put together"));
    };
    let name = BlockName {
        tier: first.name.tier,
        first: first.name.first,
        last: last.name.last,
        level: first.name.level + 1,
    };
    let ids: BTreeSet<u32> = blocks.iter().flat_map(|block| block.series()).map(|(id, _)| id).collect();
    let mut writer = BlockWriter::create(directory, name)?;
    for id in ids.into_iter().filter(|id| live(*id)) {
        let mut periods = Periods::new();
        for block in blocks {
            if let Err(error) = block.read(id, horizon, u64::MAX, &mut periods) {
                tracing::error!(block = block.name.file_name(), %error, "some metrics are lost");
            }
        }
        writer.put(id, &periods)?;
    }
    Ok(Arc::new(writer.finish(directory)?))
}

/// The blocks to give up: those that are too old, and, where there are too many bytes, the oldest of the tier that
/// takes most of them. Tells how many bytes were given up for want of room.
pub(super) fn give_up(
    shelves: &mut Shelves,
    retention: &Retention,
    now: Timestamp,
    bytes_max: u64,
) -> (Vec<PathBuf>, u64) {
    let mut given_up = Vec::new();
    for (tier, shelf) in shelves.iter_mut().enumerate() {
        let horizon = retention.horizon(tier, now);
        shelf.retain(|block| {
            let stays = block.newest >= horizon;
            if !stays {
                given_up.push(block.path.clone());
            }
            stays
        });
    }
    let mut for_room = 0;
    let bytes_of = |shelf: &Vec<Arc<Block>>| shelf.iter().map(|block| block.bytes).sum::<u64>();
    while shelves.iter().map(bytes_of).sum::<u64>() > bytes_max {
        let Some(largest) = shelves.iter_mut().max_by_key(|shelf| bytes_of(shelf)) else { break };
        if largest.is_empty() {
            break;
        }
        let block = largest.remove(0);
        for_room += block.bytes;
        given_up.push(block.path.clone());
    }
    (given_up, for_room)
}
