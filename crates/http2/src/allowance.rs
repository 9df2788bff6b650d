//! How much of what costs more to answer than to send is put up with.

/// A count of what is put up with: what is bad uses it up, what is good fills it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    left: u32,
    max: u32,
}

impl Allowance {
    pub(crate) const fn new(max: u32) -> Self {
        Self { left: max, max }
    }

    /// False: it is used up.
    #[must_use]
    pub(crate) fn spend(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    pub(crate) fn earn(&mut self) {
        self.left = self.max.min(self.left + 1);
    }
}
