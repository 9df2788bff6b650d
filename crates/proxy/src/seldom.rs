//! What seldom happens beside what often does: a future that is looked at when it was woken, not each time its task is.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::task::AtomicWaker;

/// A future that is polled when it was woken. Each other turn of its task costs it a load.
///
/// Without it, whatever a connection waits for beside its traffic (its listener's end, a revocation, an idle time) would
/// be asked each time a byte came, some of it behind locks that workers share.
#[derive(Debug)]
pub(crate) struct Seldom<F> {
    future: F,
    bell: Arc<Bell>,
    /// The bell's own, made once.
    waker: Waker,
    /// Whom the bell wakes.
    task: Option<Waker>,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Release);
        self.task.wake();
    }
}

impl<F> Seldom<F> {
    pub(crate) fn new(future: F) -> Self {
        // Rung: the first poll looks.
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future, waker: Waker::from(Arc::clone(&bell)), bell, task: None }
    }
}

impl<F: Future + Unpin> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let is_known = this.task.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
        if is_known && !this.bell.rung.load(Acquire) {
            return Poll::Pending;
        }
        // In this order: who rings after the bell was muted finds the task, or is seen by the poll.
        let is_rung = this.bell.rung.swap(false, AcqRel);
        this.bell.task.register(cx.waker());
        if !is_known {
            this.task = Some(cx.waker().clone());
        }
        // It may have rung for a task that is no longer this one's.
        if is_rung || this.bell.rung.load(Acquire) {
            return Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, pin::pin, time::Duration};

    use tokio::sync::{Notify, watch};

    use super::*;

    #[tokio::test]
    async fn is_asked_when_it_was_woken_and_not_before() {
        let (asked, notify) = (Cell::new(0), Notify::new());
        let mut waiting = pin!(notify.notified());
        let mut seldom = Seldom::new(poll_fn(|cx| {
            asked.set(asked.get() + 1);
            waiting.as_mut().poll(cx)
        }));
        // Another task's, once.
        assert!(Pin::new(&mut seldom).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        for _ in 0..100 {
            let is_ready = poll_fn(|cx| Poll::Ready(Pin::new(&mut seldom).poll(cx).is_ready())).await;
            assert!(!is_ready);
        }
        assert_eq!(asked.get(), 1);
        notify.notify_one();
        seldom.await;
        assert_eq!(asked.get(), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_missed_however_threads_meet() {
        for round in 0..500_u64 {
            let (tell, mut told) = watch::channel(false);
            let waiting = tokio::spawn(async move {
                let mut changed = Box::pin(async move { drop(told.wait_for(|told| *told).await) });
                let mut seldom = Seldom::new(changed.as_mut());
                if round % 2 == 0 && futures::poll!(&mut seldom).is_ready() {
                    return;
                }
                let traffic = async {
                    loop {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    biased;
                    () = traffic => {}
                    () = seldom => {}
                }
            });
            if round % 3 == 0 {
                tokio::task::yield_now().await;
            }
            tell.send_replace(true);
            tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time").expect("no panic");
        }
    }
}
