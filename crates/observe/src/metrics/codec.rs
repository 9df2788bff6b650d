//! Numbers and distributions as bytes, and frames that tell whether they are whole.
//!
//! A minute of one value takes some 5 bytes, one of a hundred latencies some 60. What is read comes from this
//! process's own files, but a disk may return anything: nothing here panics, or takes more room than its input.

use std::{fs::File, io::Write, path::Path};

use bowline_model::metric::{Distribution, Statistic};
use flate2::Crc;

/// Most bytes of a frame's payload.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What precedes the payload of a frame: its length and its checksum.
const FRAME_HEAD: usize = 8;

/// The whole numbers that an `f64` holds exactly, and that are written as such.
const WHOLE_MAX: f64 = 4_503_599_627_370_496.0;

/// Values that are all the same one.
const KIND_ONE_VALUE: u8 = 0;
/// Everything else.
const KIND_BUCKETS: u8 = 1;

pub(crate) fn put_whole(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_whole(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A number in one byte or a few where it is whole, which counts, bytes and most sums are.
fn put_number(out: &mut Vec<u8>, number: f64) {
    let is_whole =
        number.fract() == 0.0 && number.abs() < WHOLE_MAX && !(number == 0.0 && number.is_sign_negative());
    if is_whole {
        put_whole(out, zigzag(number as i64) << 1);
    } else {
        out.push(1);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(crate) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

pub(crate) fn put_distribution(out: &mut Vec<u8>, values: &Distribution) {
    let told = |statistic| values.statistic(statistic).unwrap_or(0.0);
    let (minimum, maximum) = (told(Statistic::Minimum), told(Statistic::Maximum));
    if is_one_value(values, minimum, maximum) {
        out.push(KIND_ONE_VALUE);
        put_number(out, minimum);
        put_number(out, values.count());
        return;
    }
    out.push(KIND_BUCKETS);
    for number in [values.sum(), minimum, maximum, values.zeros()] {
        put_number(out, number);
    }
    put_buckets(out, &values.positive().collect::<Vec<_>>());
    put_buckets(out, &values.negative().collect::<Vec<_>>());
}

/// Whether it is what recording `minimum` so many times would be, to the last bit.
fn is_one_value(values: &Distribution, minimum: f64, maximum: f64) -> bool {
    if minimum != maximum || values.is_empty() {
        return false;
    }
    let mut same = Distribution::default();
    same.record(minimum, values.count());
    same == *values
}

fn put_buckets(out: &mut Vec<u8>, buckets: &[(i32, f64)]) {
    put_whole(out, buckets.len() as u64);
    let mut before = 0;
    for (index, times) in buckets {
        let index = i64::from(*index);
        put_whole(out, zigzag(index - before));
        put_number(out, *times);
        before = index;
    }
}

/// Reads from the front of bytes; `None` where they are not what they should be.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn whole(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.whole()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn number(&mut self) -> Option<f64> {
        let whole = self.whole()?;
        match whole & 1 {
            0 => Some(unzigzag(whole >> 1) as f64),
            _ => Some(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
        }
    }

    pub(crate) fn distribution(&mut self) -> Option<Distribution> {
        match self.byte()? {
            KIND_ONE_VALUE => {
                let (value, count) = (self.number()?, self.number()?);
                let mut values = Distribution::default();
                values.record(value, count);
                Some(values)
            }
            KIND_BUCKETS => {
                let (sum, minimum, maximum) = (self.number()?, self.number()?, self.number()?);
                let zeros = self.number()?;
                let (positive, negative) = (self.buckets()?, self.buckets()?);
                Distribution::of_parts(positive, negative, zeros, [sum, minimum, maximum])
            }
            _ => None,
        }
    }

    fn buckets(&mut self) -> Option<Vec<(i32, f64)>> {
        let count = usize::try_from(self.whole()?).ok()?;
        // Each takes two bytes at the least: no more is allocated than there can be.
        let mut buckets = Vec::with_capacity(count.min(self.0.len() / 2));
        let mut before = 0_i64;
        for _ in 0..count {
            before = before.checked_add(unzigzag(self.whole()?))?;
            buckets.push((i32::try_from(before).ok()?, self.number()?));
        }
        Some(buckets)
    }
}

/// Of all these bytes, one after the other.
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    parts.iter().for_each(|bytes| crc.update(bytes));
    crc.sum()
}

/// Appends a frame: length, checksum, payload.
pub(crate) fn put_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(&[payload]).to_le_bytes());
    out.extend_from_slice(payload);
}

/// The frames at the front of a file's bytes, up to the first that is not whole: a process that was killed leaves
/// half a frame behind.
pub(crate) fn frames(bytes: &[u8]) -> Frames<'_> {
    Frames { rest: bytes, whole: 0 }
}

pub(crate) struct Frames<'a> {
    rest: &'a [u8],
    /// How many bytes the frames take that were told.
    pub(crate) whole: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(FRAME_HEAD)?;
        let (length, sum) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let sum = u32::from_le_bytes(sum.try_into().ok()?);
        let (payload, rest) = rest.split_at_checked(length)?;
        if length > FRAME_BYTES_MAX || checksum(&[payload]) != sum {
            return None;
        }
        self.rest = rest;
        self.whole += FRAME_HEAD + length;
        Some(payload)
    }
}

/// A file that only grows, by whole pieces: where one cannot be written whole, what was written of it is cut off.
#[derive(Debug)]
pub(crate) struct Appender {
    file: File,
    length: u64,
}

impl Appender {
    /// Of a file whose first `length` bytes are whole; whatever follows them is cut off.
    pub(crate) fn open(path: &Path, length: u64) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        file.set_len(length)?;
        Ok(Self { file, length })
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        // What an earlier failure may have left behind.
        if self.file.metadata()?.len() != self.length {
            self.file.set_len(self.length)?;
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(values: &Distribution) -> Vec<u8> {
        let mut out = Vec::new();
        put_distribution(&mut out, values);
        out
    }

    #[test]
    fn a_value_takes_few_bytes() {
        assert!(written(&Distribution::of(200.0)).len() <= 5);
        let mut latencies = Distribution::default();
        (0..100).for_each(|number| latencies.record(0.001 * 1.05_f64.powi(number), 1.0));
        assert!(written(&latencies).len() < 260, "{}", written(&latencies).len());
    }

    #[test]
    fn half_a_frame_is_none() {
        let mut out = Vec::new();
        put_frame(&mut out, b"one");
        put_frame(&mut out, b"two");
        for cut in 12..out.len() - 1 {
            let mut frames = frames(&out[..cut]);
            assert_eq!(frames.by_ref().collect::<Vec<_>>(), [b"one"], "{cut}");
            assert_eq!(frames.whole, 11);
        }
        out[10] ^= 1;
        assert_eq!(frames(&out).count(), 0, "the first is not what was written");
    }

    #[test]
    fn a_piece_that_was_half_written_is_cut_off() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let mut appender = Appender::open(&path, 0).expect("opens");
        appender.append(b"one").expect("writes");
        std::fs::write(&path, b"onetw").expect("as if the disk had been full");
        appender.append(b"two").expect("writes");
        assert_eq!(std::fs::read(&path).expect("reads"), b"onetwo");
        Appender::open(&path, 3).expect("opens").append(b"!").expect("writes");
        assert_eq!(std::fs::read(&path).expect("reads"), b"one!");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            values in prop::collection::vec((prop_oneof![-1e9..1e9f64, Just(0.0), Just(-0.0), Just(5.0)], 1u32..5), 0..40),
            whole in any::<u64>(),
            text in ".{0,20}",
        ) {
            let mut distribution = Distribution::default();
            values.iter().for_each(|(value, times)| distribution.record(*value, f64::from(*times)));
            let mut out = written(&distribution);
            put_whole(&mut out, whole);
            put_text(&mut out, &text);
            let mut bytes = Bytes(&out);
            prop_assert_eq!(bytes.distribution(), Some(distribution));
            prop_assert_eq!(bytes.whole(), Some(whole));
            prop_assert_eq!(bytes.text(), Some(&*text));
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Bytes(&input).distribution(), Bytes(&input).text(), frames(&input).count());
        }
    }
}
