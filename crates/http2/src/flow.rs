//! Flow control (RFC 9113, section 5.2).

use crate::frame::MAX_31;

/// What the peer lets this end send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendWindow(i64);

impl SendWindow {
    pub(crate) fn new(initial: u32) -> Self {
        Self(i64::from(initial))
    }

    /// Bytes that may be sent now.
    #[inline]
    pub(crate) fn room(self) -> usize {
        self.0.max(0) as usize
    }

    #[inline]
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.0 -= bytes as i64;
    }

    /// Adds to it, or takes away: what the peer's settings change can make it negative. False if it would
    /// be larger than a window can be.
    #[must_use]
    pub(crate) fn change(&mut self, by: i64) -> bool {
        let changed = self.0 + by;
        if changed > i64::from(MAX_31) {
            return false;
        }
        self.0 = changed;
        true
    }
}

/// What this end lets the peer send. What has been taken is given back in large pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveWindow {
    size: u32,
    /// What the peer may still send.
    left: u32,
    /// What has been taken and not been given back.
    taken: u32,
}

impl ReceiveWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self { size, left: size, taken: 0 }
    }

    /// The peer has sent so much; false if it was too much.
    #[inline]
    #[must_use]
    pub(crate) fn receive(&mut self, bytes: u32) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// So much has been taken. What is to be given back now, once it is half of the window.
    #[inline]
    pub(crate) fn take(&mut self, bytes: u32) -> Option<u32> {
        // Nobody can take more than was received.
        self.taken = self.taken.saturating_add(bytes).min(self.size - self.left);
        if self.taken < self.size.div_ceil(2) || self.taken == 0 {
            return None;
        }
        self.left += self.taken;
        Some(std::mem::take(&mut self.taken))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_taken_is_given_back_and_no_more(steps in prop::collection::vec((0_u32..2_000, 0_u32..2_000), 0..200)) {
            let mut window = ReceiveWindow::new(10_000);
            let (mut received, mut taken, mut given) = (0_u64, 0_u64, 0_u64);
            for (receive, take) in steps {
                let fits = received + u64::from(receive) <= 10_000 + given;
                prop_assert_eq!(window.receive(receive), fits);
                received += if fits { u64::from(receive) } else { 0 };
                let take = u64::from(take).min(received - taken);
                taken += take;
                given += window.take(take as u32).map_or(0, u64::from);
                prop_assert!(given <= taken);
                // Who reads everything never leaves the peer with less than half.
                prop_assert!(taken < received || 10_000 + given - received > 5_000);
            }
        }
    }

    #[test]
    fn a_send_window_can_become_negative_but_not_too_large() {
        let mut window = SendWindow::new(10);
        window.spend(10);
        assert!(window.change(-20));
        assert_eq!(window.room(), 0);
        assert!(window.change(25));
        assert_eq!(window.room(), 5);
        assert!(!window.change(i64::from(MAX_31)));
    }
}
