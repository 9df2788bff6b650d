//! New ids: random, of a generator of each worker's own (xoshiro256++, Blackman and Vigna) that nobody waits for.

use std::cell::Cell;

use bowline_model::{
    clock::Timestamp,
    trace::{SpanId, TraceId},
};
use bowline_plumbing::wall_clock;

/// Makes ids. They need not be unpredictable, but no two alike: its state of 32 bytes is the system's randomness.
pub(super) struct Ids(Cell<[u64; 4]>);

impl Ids {
    pub(super) fn seeded() -> Self {
        let mut seed = [0; 32];
        // Without randomness the moment has to do.
        if aws_lc_rs::rand::fill(&mut seed).is_err() {
            seed[..8].copy_from_slice(&wall_clock::now().as_millis().to_le_bytes());
        }
        Self::from_seed(seed)
    }

    pub(super) fn from_seed(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        // All zeros would stay so.
        state[0] |= u64::from(state == [0; 4]);
        let ids = Self(Cell::new(state));
        // The first numbers after a seed of few bits are like each other.
        for _ in 0..16 {
            ids.next();
        }
        ids
    }

    fn next(&self) -> u64 {
        let [a, b, c, d] = self.0.get();
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.0.set([a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)]);
        result
    }

    /// A trace that begins at `now`. Its first four bytes are the time in seconds: X-Ray's ids begin so.
    pub(super) fn trace(&self, now: Timestamp) -> TraceId {
        loop {
            let mut bytes = [0; 16];
            // X-Ray's ids are over in 2106.
            bytes[..4].copy_from_slice(&(now.as_secs() as u32).to_be_bytes());
            bytes[4..12].copy_from_slice(&self.next().to_le_bytes());
            bytes[12..].copy_from_slice(&self.next().to_le_bytes()[..4]);
            if let Some(id) = TraceId::new(bytes) {
                return id;
            }
        }
    }

    pub(super) fn span(&self) -> SpanId {
        loop {
            if let Some(id) = SpanId::new(self.next().to_le_bytes()) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn it_is_the_generator_that_it_should_be() {
        // The reference implementation's first numbers of the state 1, 2, 3, 4.
        let ids = Ids(Cell::new([1, 2, 3, 4]));
        let expected = [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386];
        assert_eq!([ids.next(), ids.next(), ids.next(), ids.next()], expected);
        let zeros = Ids::from_seed([0; 32]);
        assert_ne!(zeros.span(), zeros.span(), "no seed stands still");
    }

    #[test]
    fn ids_differ_and_begin_with_the_time() {
        let ids = Ids::seeded();
        let now = Timestamp::from_secs(0x5840_6520);
        let traces: HashSet<_> = (0..10_000).map(|_| ids.trace(now)).collect();
        assert_eq!(traces.len(), 10_000);
        assert!(traces.iter().all(|id| id.x_ray().starts_with("1-58406520-")));
        let spans: HashSet<_> = (0..10_000).map(|_| ids.span()).collect();
        assert_eq!(spans.len(), 10_000);
    }
}
