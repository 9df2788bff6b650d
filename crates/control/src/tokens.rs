//! One-time tokens: what a task's proxy shows to get its first certificate.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bowline_model::{
    clock::Timestamp,
    task::{Secret, TaskId},
};
use zeroize::Zeroizing;

/// How long a token may be redeemed after it was issued.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(60);

/// Most tokens outstanding. Over it, the one nearest its end gives way.
pub const TOKENS_MAX: usize = 10_000;

/// 256 random bits.
const TOKEN_BYTES: usize = 32;

/// A token's length as unpadded base64url.
const TOKEN_TEXT_BYTES: usize = (TOKEN_BYTES * 8).div_ceil(6);

type Hash = [u8; 32];

/// The tokens issued and not yet redeemed.
///
/// Only SHA-256 hashes are kept: a dump of this memory redeems nothing. They
/// are not written to disk either; after a restart an agent asks anew. What a
/// lookup's time can tell is about the hash, which says nothing of the token.
#[derive(Debug, Default)]
pub struct Tokens {
    outstanding: Mutex<Outstanding>,
}

#[derive(Debug, Default)]
struct Outstanding {
    by_hash: HashMap<Hash, Issued>,
    next_purge: Timestamp,
}

#[derive(Debug)]
struct Issued {
    task: TaskId,
    expires: Timestamp,
}

impl Tokens {
    /// No tokens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a token with which `task` may be spoken for once, until
    /// [`TOKEN_LIFETIME`] after `now`. Earlier tokens of the task stay valid.
    pub fn issue(&self, task: &TaskId, now: Timestamp) -> Secret {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        rand::fill(bytes.as_mut()).expect("AWS-LC aborts where the system has no random numbers");
        let text = URL_SAFE_NO_PAD.encode(*bytes);
        let issued = Issued { task: task.clone(), expires: now + TOKEN_LIFETIME };
        let mut outstanding = self.lock();
        outstanding.make_room(now);
        outstanding.by_hash.insert(hash(&text), issued);
        drop(outstanding);
        Secret::new(text)
    }

    /// The task that `token` was issued for, if it is valid at `now`. The
    /// first call for a token takes it, whatever the answer.
    pub fn redeem(&self, token: &str, now: Timestamp) -> Option<TaskId> {
        // A stranger's text: it is not hashed at any length.
        if token.len() != TOKEN_TEXT_BYTES {
            return None;
        }
        let issued = self.lock().by_hash.remove(&hash(token))?;
        (now < issued.expires).then_some(issued.task)
    }

    /// Forgets all tokens of `task`, which has stopped.
    pub fn revoke_task(&self, task: &TaskId) {
        self.lock().by_hash.retain(|_, issued| issued.task != *task);
    }

    fn lock(&self) -> MutexGuard<'_, Outstanding> {
        // No step under the lock leaves the map half changed, so a panic elsewhere spoils nothing.
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outstanding {
    /// Drops what has expired, at most once per lifetime unless full.
    fn make_room(&mut self, now: Timestamp) {
        if now >= self.next_purge || self.by_hash.len() >= TOKENS_MAX {
            self.by_hash.retain(|_, issued| now < issued.expires);
            self.next_purge = now + TOKEN_LIFETIME;
        }
        if self.by_hash.len() >= TOKENS_MAX {
            let first = self.by_hash.iter().min_by_key(|(_, issued)| issued.expires);
            if let Some((hash, task)) = first.map(|(hash, issued)| (*hash, issued.task.clone())) {
                tracing::warn!(%task, limit = TOKENS_MAX, "too many tokens outstanding; the oldest is dropped");
                self.by_hash.remove(&hash);
            }
        }
    }
}

fn hash(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn task(number: u8) -> TaskId {
        TaskId::from_random([number; 16])
    }

    #[test]
    fn redeems_once_for_its_task() {
        let tokens = Tokens::new();
        let (first, second) = (tokens.issue(&task(1), NOW), tokens.issue(&task(2), NOW));
        assert_eq!(first.expose().len(), TOKEN_TEXT_BYTES);
        assert_eq!(tokens.redeem(second.expose(), NOW), Some(task(2)));
        assert_eq!(tokens.redeem(first.expose(), NOW), Some(task(1)));
        assert_eq!(tokens.redeem(first.expose(), NOW), None, "used twice");
    }

    #[test]
    fn expires_after_a_minute() {
        let tokens = Tokens::new();
        let (in_time, late) = (tokens.issue(&task(1), NOW), tokens.issue(&task(1), NOW));
        let last = NOW + Duration::from_millis(59_999);
        assert_eq!(tokens.redeem(in_time.expose(), last), Some(task(1)));
        assert_eq!(tokens.redeem(late.expose(), NOW + TOKEN_LIFETIME), None);
        assert_eq!(tokens.redeem(late.expose(), NOW), None, "an expired token is taken too");
    }

    #[test]
    fn refuses_texts_that_are_no_token() {
        let tokens = Tokens::new();
        let token = tokens.issue(&task(1), NOW);
        for text in ["", "a", &format!("{}=", token.expose()), &"A".repeat(TOKEN_TEXT_BYTES), &"é".repeat(30)]
        {
            assert_eq!(tokens.redeem(text, NOW), None, "{text}");
        }
        assert_eq!(tokens.redeem(token.expose(), NOW), Some(task(1)));
    }

    #[test]
    fn a_stopped_task_has_no_tokens() {
        let tokens = Tokens::new();
        let stopped = [tokens.issue(&task(1), NOW), tokens.issue(&task(1), NOW)];
        let other = tokens.issue(&task(2), NOW);
        tokens.revoke_task(&task(1));
        for token in stopped {
            assert_eq!(tokens.redeem(token.expose(), NOW), None);
        }
        assert_eq!(tokens.redeem(other.expose(), NOW), Some(task(2)));
    }

    #[test]
    fn keeps_no_token_in_clear() {
        let tokens = Tokens::new();
        let token = tokens.issue(&task(1), NOW);
        assert!(!format!("{tokens:?}").contains(token.expose()));
        assert!(tokens.lock().by_hash.contains_key(&hash(token.expose())));
    }

    #[test]
    fn of_many_threads_exactly_one_redeems() {
        // Many tokens, each begun by all threads at the same instant: a gap between
        // finding and taking is narrow. More threads than processors would not run together.
        const COUNT: usize = 5_000;
        let threads = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8));
        let tokens = Tokens::new();
        let issued: Vec<Secret> = (0..COUNT).map(|_| tokens.issue(&task(1), NOW)).collect();
        let arrived = AtomicUsize::new(0);
        let redeem_all = || {
            let redeem = |(round, token): (usize, &Secret)| {
                arrived.fetch_add(1, Ordering::SeqCst);
                let mut spins = 0;
                while arrived.load(Ordering::SeqCst) < (round + 1) * threads {
                    spins += 1;
                    if spins % 1_000 == 0 {
                        std::thread::yield_now();
                    }
                    std::hint::spin_loop();
                }
                tokens.redeem(token.expose(), NOW).is_some()
            };
            issued.iter().enumerate().map(redeem).collect::<Vec<bool>>()
        };
        let won = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(redeem_all)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        for token in 0..COUNT {
            assert_eq!(won.iter().filter(|of_thread| of_thread[token]).count(), 1, "token {token}");
        }
    }

    #[test]
    fn holds_ten_thousand_and_drops_the_oldest() {
        let tokens = Tokens::new();
        let oldest = tokens.issue(&task(1), NOW);
        let kept = tokens.issue(&task(2), NOW + Duration::from_secs(1));
        for _ in 0..TOKENS_MAX - 1 {
            tokens.issue(&task(3), NOW + Duration::from_secs(2));
        }
        assert_eq!(tokens.lock().by_hash.len(), TOKENS_MAX);
        assert_eq!(tokens.redeem(oldest.expose(), NOW), None);
        assert_eq!(tokens.redeem(kept.expose(), NOW), Some(task(2)));
        tokens.issue(&task(4), NOW + TOKEN_LIFETIME + Duration::from_secs(2));
        assert_eq!(tokens.lock().by_hash.len(), 1, "the expired were purged");
    }
}
