//! The journal: what came in since the last block was cut, so that it is still there after the process was killed.
//! Frames, each of values that came in at about the same time.

use std::{
    io,
    path::{Path, PathBuf},
};

use bowline_model::metric::Distribution;

use super::codec::{Appender, Bytes, frames, put_distribution, put_whole};

/// `0000000012.journal`.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.journal"))
}

/// The number of a journal's file.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".journal")?.parse().ok()
}

/// Appends an entry to a frame's payload.
pub(super) fn put_entry(payload: &mut Vec<u8>, id: u32, second: u64, finest: usize, values: &Distribution) {
    put_whole(payload, u64::from(id));
    put_whole(payload, second);
    payload.push(finest as u8);
    put_distribution(payload, values);
}

/// Tells every entry of the whole frames of a journal to `take`: series, second, finest tier, values.
pub(super) fn replay(
    directory: &Path,
    number: u64,
    mut take: impl FnMut(u32, u64, usize, &Distribution),
) -> io::Result<()> {
    let kept = std::fs::read(path(directory, number))?;
    let mut frames = frames(&kept);
    for payload in frames.by_ref() {
        let mut bytes = Bytes(payload);
        while !bytes.is_empty() {
            let mut entry = || {
                let (id, second) = (u32::try_from(bytes.whole()?).ok()?, bytes.whole()?);
                Some((id, second, usize::from(bytes.byte()?), bytes.distribution()?))
            };
            // The frame is as it was written: only another version of this program has written it otherwise.
            let Some((id, second, finest, values)) = entry() else { break };
            take(id, second, finest, &values);
        }
    }
    let cut = kept.len() - frames.whole;
    if cut > 0 {
        tracing::info!(journal = number, bytes = cut, "the torn end of a journal of metrics was cut off");
        std::fs::File::options().write(true).open(path(directory, number))?.set_len(frames.whole as u64)?;
    }
    Ok(())
}

/// An empty journal.
pub(super) fn create(directory: &Path, number: u64) -> io::Result<Appender> {
    Appender::open(&path(directory, number), 0)
}
