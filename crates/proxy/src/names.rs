//! Look-ups by names that the control plane gives.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

/// Things by name, looked up for each request.
pub(crate) type ByName<T> = HashMap<Arc<str>, T, NameHashing>;

/// See [`NameHasher`].
pub(crate) type NameHashing = BuildHasherDefault<NameHasher>;

/// A hash of few instructions for keys that nobody outside chooses: names and addresses of the configuration. For what
/// clients choose it would be wrong: it is no defence against keys that are made to collide.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameHasher(u64);

impl NameHasher {
    fn add(&mut self, word: u64) {
        // As Firefox's: pi's digits, odd.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, number: u8) {
        self.add(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.add(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.add(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }

    fn finish(&self) -> u64 {
        // The product's low bits know little of the key, and tables go by them.
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher, net::SocketAddr};

    use super::*;

    #[test]
    fn names_and_addresses_that_look_alike_are_spread() {
        let hashing = NameHashing::default();
        let keys = (0..10_000_u16).map(|number| {
            let name: Arc<str> = format!("service-{number}|80").into();
            (name, SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 8_080)))
        });
        let hashes: Vec<u64> = keys.map(|key| hashing.hash_one(key)).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        let places: HashSet<u64> = hashes.iter().map(|hash| hash & 0x3fff).collect();
        // Of 16,384 places 10,000 random keys take 7,490.
        assert!(places.len() > 7_000, "{}", places.len());
    }
}
