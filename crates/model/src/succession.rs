//! How one certificate authority follows another, with nobody losing a connection.
//!
//! A [`Succession`] is a line of authorities that stand for the same thing, as the mesh's own or one that
//! services name. Of each line one signs:
//!
//! ```text
//!            add              promote                    retire
//!  (nothing) ───▶ Next ───────────────────▶ Current ─▶ Former ───▶ Retired
//!                 trusted,                  trusted,   trusted,    neither
//!                 does not sign             signs      does not sign
//! ```
//!
//! The invariant: a certificate that somebody may show is of an authority that everybody who may be
//! shown it trusts. So `promote` waits until all know the next one, and `retire` until nobody has a
//! certificate of the old one. Both can be forced, for a key that was stolen.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{arn::Arn, clock::Timestamp};

/// Most authorities of one line that are trusted at the same time: proxies believe a hundred in all.
pub const TRUSTED_MAX: usize = 8;

/// Where an authority is in its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Slot {
    /// Trusted, so that it can sign one day; signs nothing.
    Next,
    /// Trusted, and signs.
    #[default]
    Current,
    /// Trusted, as certificates of it are about; signs no more.
    Former,
    /// Not trusted.
    Retired,
}

impl Slot {
    /// Whether members believe what it signed.
    pub fn is_trusted(self) -> bool {
        self != Self::Retired
    }

    /// In a word, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Former => "former",
            Self::Retired => "retired",
        }
    }
}

/// An authority in its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub authority: Arn,
    /// Where it is.
    pub slot: Slot,
    /// Since when it is there.
    pub since: Timestamp,
}

/// A certificate that its holder may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Who signed it.
    pub authority: Arn,
    /// The last moment at which anybody takes it.
    pub not_after: Timestamp,
}

/// Whoever shows certificates to others and is shown theirs: a task's proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// For people: the task's id.
    pub name: String,
    /// It has said that it trusts every authority of the bundle as it is at present.
    pub informed: bool,
    /// Every certificate that it may show; those that it has given up for a later one are not among them.
    pub leaves: Vec<Leaf>,
}

impl Peer {
    fn is_live(&self, now: Timestamp) -> bool {
        self.leaves.iter().any(|leaf| leaf.not_after >= now)
    }

    fn holds(&self, authority: &Arn, now: Timestamp) -> bool {
        self.leaves.iter().any(|leaf| leaf.authority == *authority && leaf.not_after >= now)
    }
}

/// Why a line is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SuccessionRefused {
    /// One waits already.
    #[error("{0} is next already: promote it, or retire it")]
    NextExists(Arn),
    /// It is in the line already.
    #[error("{0} is of this line already")]
    Known(Arn),
    /// So many are trusted.
    #[error("{TRUSTED_MAX} authorities of the line are trusted already: retire one")]
    TooMany,
    /// None waits.
    #[error("no authority is next: make one first")]
    NoNext,
    /// Not everybody with a certificate trusts what others show, or would.
    #[error("{} the present roots: {}", not_said(.0), listed(.0))]
    Uninformed(Vec<String>),
    /// None is there to retire.
    #[error("no former authority is trusted: there is nothing to retire")]
    NothingFormer,
    /// More than one could be meant.
    #[error("more than one former authority is trusted; name one of {}", listed(.0))]
    Ambiguous(Vec<String>),
    /// It signs.
    #[error("{0} signs at present: promote another one first")]
    IsCurrent(Arn),
    /// It is not of the line, or not trusted any more.
    #[error("{0} is not a trusted authority of this line")]
    Unknown(Arn),
    /// Somebody has a certificate of it.
    #[error("{} a certificate of {authority}: {}", hold(.peers), listed(.peers))]
    Live {
        /// What would be retired.
        authority: Arn,
        /// Who has them.
        peers: Vec<String>,
    },
}

/// Names told at most.
const LISTED_MAX: usize = 5;

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn not_said(names: &[String]) -> String {
    match names.len() {
        1 => "1 proxy has not said that it trusts".into(),
        count => format!("{count} proxies have not said that they trust"),
    }
}

fn hold(names: &[String]) -> String {
    match names.len() {
        1 => "1 proxy may show".into(),
        count => format!("{count} proxies may show"),
    }
}

/// A line of authorities, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    members: Vec<Member>,
}

impl Succession {
    /// A line of these, the oldest first.
    pub fn new(members: Vec<Member>) -> Self {
        Self { members }
    }

    /// Everyone, the oldest first.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Who is there, if anybody is.
    pub fn in_slot(&self, slot: Slot) -> Option<&Arn> {
        self.members.iter().find(|member| member.slot == slot).map(|member| &member.authority)
    }

    /// The one whose certificate whoever was away for a while trusts most likely: the oldest that is
    /// trusted at all, but none that never signed.
    pub fn oldest_trusted(&self) -> Option<&Arn> {
        let signed = |member: &&Member| matches!(member.slot, Slot::Former | Slot::Current);
        self.members.iter().find(signed).map(|member| &member.authority)
    }

    /// Makes an authority the next.
    ///
    /// # Errors
    /// There is one, it is of the line already, or too many are trusted: nothing was changed.
    pub fn add(&mut self, authority: Arn, now: Timestamp) -> Result<(), SuccessionRefused> {
        if let Some(next) = self.in_slot(Slot::Next) {
            return Err(SuccessionRefused::NextExists(next.clone()));
        }
        if self.members.iter().any(|member| member.authority == authority) {
            return Err(SuccessionRefused::Known(authority));
        }
        if self.members.iter().filter(|member| member.slot.is_trusted()).count() >= TRUSTED_MAX {
            return Err(SuccessionRefused::TooMany);
        }
        self.members.push(Member { authority, slot: Slot::Next, since: now });
        Ok(())
    }

    /// The next one signs from now on, and the current one no more. Returns the one that signs.
    ///
    /// # Errors
    /// There is no next one, or somebody with a certificate does not trust it yet (unless `force`):
    /// nothing was changed.
    pub fn promote(&mut self, peers: &[Peer], force: bool, now: Timestamp) -> Result<Arn, SuccessionRefused> {
        let next = self.in_slot(Slot::Next).cloned().ok_or(SuccessionRefused::NoNext)?;
        let uninformed = uninformed(peers, now);
        if !uninformed.is_empty() && !force {
            return Err(SuccessionRefused::Uninformed(uninformed));
        }
        for member in &mut self.members {
            let slot = match member.slot {
                Slot::Next => Slot::Current,
                Slot::Current => Slot::Former,
                Slot::Former | Slot::Retired => continue,
            };
            (member.slot, member.since) = (slot, now);
        }
        Ok(next)
    }

    /// Takes an authority out of the bundle: the one that is named, a former one or the next, or the
    /// only former one. Returns it.
    ///
    /// # Errors
    /// It signs, is not of the line, or (unless `force`) somebody may show a certificate of it or does
    /// not trust the others yet: nothing was changed.
    pub fn retire(
        &mut self,
        which: Option<&Arn>,
        peers: &[Peer],
        force: bool,
        now: Timestamp,
    ) -> Result<Arn, SuccessionRefused> {
        let authority = match which {
            Some(authority) => {
                let member = self.members.iter().find(|member| member.authority == *authority);
                match member.map(|member| member.slot) {
                    Some(Slot::Next | Slot::Former) => authority.clone(),
                    Some(Slot::Current) => return Err(SuccessionRefused::IsCurrent(authority.clone())),
                    Some(Slot::Retired) | None => {
                        return Err(SuccessionRefused::Unknown(authority.clone()));
                    }
                }
            }
            None => {
                let former = self.members.iter().filter(|member| member.slot == Slot::Former);
                let former: Vec<_> = former.map(|member| &member.authority).collect();
                match former[..] {
                    [] => return Err(SuccessionRefused::NothingFormer),
                    [one] => one.clone(),
                    _ => {
                        let names = former.into_iter().map(Arn::to_string).collect();
                        return Err(SuccessionRefused::Ambiguous(names));
                    }
                }
            }
        };
        if !force {
            let holders = peers.iter().filter(|peer| peer.holds(&authority, now));
            let holders: Vec<_> = holders.map(|peer| peer.name.clone()).collect();
            if !holders.is_empty() {
                return Err(SuccessionRefused::Live { authority, peers: holders });
            }
            let uninformed = uninformed(peers, now);
            if !uninformed.is_empty() {
                return Err(SuccessionRefused::Uninformed(uninformed));
            }
        }
        for member in self.members.iter_mut().filter(|member| member.authority == authority) {
            (member.slot, member.since) = (Slot::Retired, now);
        }
        Ok(authority)
    }
}

fn uninformed(peers: &[Peer], now: Timestamp) -> Vec<String> {
    let unaware = peers.iter().filter(|peer| peer.is_live(now) && !peer.informed);
    unaware.map(|peer| peer.name.clone()).collect()
}

#[cfg(test)]
mod tests;
