//! Telling every part of a process to finish what it has, and waiting for it.

use tokio::sync::watch;

/// The side that says when. Dropping it drains as well.
#[derive(Debug)]
pub struct DrainTrigger {
    sender: watch::Sender<bool>,
}

/// The side that listens. While a clone of it lives, the drain is not over.
#[derive(Clone, Debug)]
pub struct DrainWatch {
    receiver: watch::Receiver<bool>,
}

/// A trigger and its first watch.
pub fn channel() -> (DrainTrigger, DrainWatch) {
    let (sender, receiver) = watch::channel(false);
    (DrainTrigger { sender }, DrainWatch { receiver })
}

impl DrainTrigger {
    /// Tells every watch to finish, and returns when the last of them is gone.
    pub async fn drain(self) {
        self.sender.send_replace(true);
        self.sender.closed().await;
    }
}

impl DrainWatch {
    /// Returns when the drain begins.
    pub async fn signaled(&mut self) {
        // An error means that the trigger is gone: that drains, too.
        let _ = self.receiver.wait_for(|draining| *draining).await;
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        *self.receiver.borrow() || self.receiver.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_last_watch() {
        let (trigger, watch) = channel();
        let mut other = watch.clone();
        let worker = tokio::spawn(async move {
            other.signaled().await;
            assert!(other.is_draining());
        });
        drop(watch);
        trigger.drain().await;
        worker.await.expect("the worker saw the drain");
    }
}
