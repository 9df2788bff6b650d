//! What is under way to a cluster, and its limits: requests, retries,
//! connections, and who waits for one. Exact over all workers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_model::{
    retry::RetryBudget,
    sabotage::{Defence, sabotaged},
};
use tokio::sync::Notify;

use crate::metrics::series::{OpenConnection, Series};

/// Envoy's circuit breakers of a cluster; `usize::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breakers {
    /// Connections to all endpoints. An endpoint without any gets one all the same.
    pub(crate) connections: usize,
    /// Requests that wait for a connection.
    pub(crate) pending: usize,
    pub(crate) requests: usize,
    /// Beside the budget of a route.
    pub(crate) retries: usize,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Retry,
    Pending,
    Connection,
}

/// What retries may be a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    Requests,
    /// Where TCP is spoken.
    Connections,
}

/// A cluster's counts; they live as long as its name.
#[derive(Debug, Default)]
pub(crate) struct ClusterLoad {
    counts: [AtomicUsize; 4],
    retry_ended: Notify,
}

/// One of what is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    load: Arc<ClusterLoad>,
    kind: Kind,
    /// Of a connection that is open.
    open: Option<OpenConnection>,
}

impl Counted {
    /// The connection is open; before, it was being made.
    pub(crate) fn opened(&mut self, series: &Arc<Series>) {
        self.open = Some(OpenConnection::new(Arc::clone(series)));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.load.count(self.kind).fetch_sub(1, AcqRel);
        if let Kind::Retry = self.kind {
            self.load.retry_ended.notify_one();
        }
    }
}

impl ClusterLoad {
    fn count(&self, kind: Kind) -> &AtomicUsize {
        &self.counts[kind as usize]
    }

    /// Requests that are under way, and connections that are open or being made.
    pub(crate) fn open(&self) -> (usize, usize) {
        (self.count(Kind::Request).load(Relaxed), self.count(Kind::Connection).load(Relaxed))
    }

    /// One more where `may` says so of how many there are.
    fn one_more(self: &Arc<Self>, kind: Kind, may: impl Fn(usize) -> bool) -> Option<Counted> {
        let more = |count: usize| may(count).then(|| count + 1);
        self.count(kind).fetch_update(AcqRel, Acquire, more).ok()?;
        Some(Counted { load: Arc::clone(self), kind, open: None })
    }

    /// A request begins.
    pub(crate) fn request(self: &Arc<Self>, breakers: &Breakers) -> Option<Counted> {
        self.one_more(Kind::Request, |count| count < breakers.requests)
    }

    /// A request waits for a connection.
    pub(crate) fn pending(self: &Arc<Self>, breakers: &Breakers) -> Option<Counted> {
        self.one_more(Kind::Pending, |count| count < breakers.pending)
    }

    /// A connection is opened. The first to an endpoint always is.
    pub(crate) fn connection(self: &Arc<Self>, breakers: &Breakers, first: bool) -> Option<Counted> {
        self.one_more(Kind::Connection, |count| first || count < breakers.connections)
    }

    fn try_retry(self: &Arc<Self>, of: Live, budget: RetryBudget, breakers: &Breakers) -> Option<Counted> {
        let live = match of {
            Live::Requests => Kind::Request,
            Live::Connections => Kind::Connection,
        };
        let live = self.count(live).load(Relaxed);
        self.one_more(Kind::Retry, |count| {
            sabotaged(Defence::RetryBudget) || budget.allows(count, live) && count < breakers.retries
        })
    }

    /// A place among the retries, when there is one within `patience`.
    pub(crate) async fn retry(
        self: &Arc<Self>,
        of: Live,
        budget: RetryBudget,
        breakers: &Breakers,
        patience: Duration,
    ) -> Option<Counted> {
        if let Some(retry) = self.try_retry(of, budget, breakers) {
            return Some(retry);
        }
        let waiting = async {
            loop {
                let ended = self.retry_ended.notified();
                if let Some(retry) = self.try_retry(of, budget, breakers) {
                    return retry;
                }
                ended.await;
            }
        };
        tokio::time::timeout(patience, waiting).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Breakers =
        Breakers { connections: usize::MAX, pending: usize::MAX, requests: usize::MAX, retries: usize::MAX };

    #[test]
    fn limits_are_exact_over_threads() {
        let load = Arc::new(ClusterLoad::default());
        let breakers = Breakers { requests: 37, ..OPEN };
        let held: Vec<Counted> = std::thread::scope(|scope| {
            let begin = || (0..50).filter_map(|_| load.request(&breakers)).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(held.len(), 37);
        drop(held);
        assert!(load.request(&breakers).is_some(), "there is room again");
        let none = Breakers { connections: 0, ..OPEN };
        assert!(load.connection(&none, false).is_none() && load.connection(&none, true).is_some());
    }

    #[tokio::test]
    async fn a_retry_waits_its_turn_but_not_for_ever() {
        let load = Arc::new(ClusterLoad::default());
        let budget = RetryBudget { percent: 0, min_concurrency: 1 };
        let patience = Duration::from_millis(20);
        let first = load.retry(Live::Requests, budget, &OPEN, patience).await.expect("the first");
        assert!(load.retry(Live::Requests, budget, &OPEN, patience).await.is_none());
        let (second, ()) =
            tokio::join!(load.retry(Live::Requests, budget, &OPEN, patience), async { drop(first) });
        let second = second.expect("the first has ended");
        let none = Breakers { retries: 1, ..OPEN };
        let wide = RetryBudget { percent: 100, min_concurrency: 9 };
        assert!(
            load.retry(Live::Requests, wide, &none, patience).await.is_none(),
            "the breaker holds beside the budget"
        );
        drop(second);
        // Of connections it is a share of those.
        let tenth = RetryBudget { percent: 10, min_concurrency: 1 };
        let _open: Vec<_> = (0..20).filter_map(|_| load.connection(&OPEN, false)).collect();
        let first = load.retry(Live::Connections, tenth, &OPEN, patience).await.expect("the first of two");
        let second = load.retry(Live::Connections, tenth, &OPEN, patience).await;
        assert!(second.is_some() && load.retry(Live::Connections, tenth, &OPEN, patience).await.is_none());
        drop((first, second));
    }
}
