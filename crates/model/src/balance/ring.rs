//! A hash ring: who is taken off it moves nobody else's requests.

/// Points on a ring at least (Envoy's `minimum_ring_size`).
const POINTS_MIN: u64 = 1_024;
/// Points on a ring at most.
const POINTS_MAX: u64 = 65_536;

/// FNV-1a with a last mix. The same in every proxy and every version: which
/// endpoint a request sticks to must not change with either.
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    super::mixed(fnv)
}

/// Points with whose they are, in order.
#[derive(Debug, Default)]
pub(super) struct Ring(Vec<(u64, u32)>);

impl Ring {
    /// Of each endpoint its place in the list, its stable key and its weight.
    pub(super) fn new(members: impl Iterator<Item = (u32, u64, u64)> + Clone) -> Self {
        let total: u64 = members.clone().map(|(.., weight)| weight).sum::<u64>().max(1);
        // As many points for a unit of weight, whoever is there: else one that
        // leaves would move the others' points.
        let count = members.clone().count() as u64;
        let per_member = (POINTS_MIN / 16).min((POINTS_MAX / count.max(1)).max(1));
        let mean = total.div_ceil(count.max(1));
        let mut points = Vec::new();
        for (place, key, weight) in members {
            let own = (per_member * weight / mean.max(1)).clamp(1, POINTS_MAX);
            points.extend((0..own).map(|point| (super::mixed(key ^ super::mixed(point + 1)), place)));
        }
        points.sort_unstable();
        Self(points)
    }

    /// Whose points follow a hash, each point once.
    pub(super) fn walk(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let begin = self.0.partition_point(|(point, _)| *point < hash);
        self.0[begin..].iter().chain(&self.0[..begin]).map(|(_, place)| *place)
    }
}
