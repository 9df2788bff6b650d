//! What is open towards this proxy: connections and requests, by who opened them. When what is
//! allowed changes, each is judged anew, and those that may not go on are ended.
//!
//! One set a worker, on the worker's own thread: nothing here is locked.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{Method, Uri};

use crate::{caller::Caller, refusal::RefusalCause};

/// What is open, as far as a verdict depends on it.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Who opened it.
    pub(crate) caller: Rc<Caller>,
    /// Where from.
    pub(crate) source: IpAddr,
    /// The inbound listener's name.
    pub(crate) listener: Arc<str>,
    pub(crate) kind: Kind,
}

/// What kind of thing is open.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A connection whose requests are judged one by one.
    Http,
    /// A TCP connection.
    Tcp,
    /// A request that has not ended, or an upgraded connection.
    Request { method: Method, uri: Uri },
}

#[derive(Debug)]
struct Entry {
    subject: Subject,
    ended: Cell<Option<RefusalCause>>,
    waker: RefCell<Option<Waker>>,
}

/// Everything that is open at one worker.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    entries: RefCell<Vec<Option<Rc<Entry>>>>,
    free: RefCell<Vec<usize>>,
}

impl Connections {
    /// Keeps a subject for as long as what is returned lives.
    pub(crate) fn hold(self: &Rc<Self>, subject: Subject) -> Held {
        let entry = Rc::new(Entry { subject, ended: Cell::new(None), waker: RefCell::new(None) });
        let mut entries = self.entries.borrow_mut();
        let place = match self.free.borrow_mut().pop() {
            Some(place) => {
                entries[place] = Some(Rc::clone(&entry));
                place
            }
            None => {
                entries.push(Some(Rc::clone(&entry)));
                entries.len() - 1
            }
        };
        Held { entry, home: Rc::clone(self), place }
    }

    /// Ends everything for which `judge` has a cause. How many that were.
    pub(crate) fn end_where(&self, judge: impl Fn(&Subject) -> Option<RefusalCause>) -> usize {
        // Wakers may run what opens or closes others.
        let mut ended = Vec::new();
        for entry in self.entries.borrow().iter().flatten().filter(|entry| entry.ended.get().is_none()) {
            if let Some(cause) = judge(&entry.subject) {
                entry.ended.set(Some(cause));
                ended.push(Rc::clone(entry));
            }
        }
        for waker in ended.iter().filter_map(|entry| entry.waker.take()) {
            waker.wake();
        }
        ended.len()
    }
}

/// Keeps a subject among what is open.
#[derive(Debug)]
pub(crate) struct Held {
    entry: Rc<Entry>,
    home: Rc<Connections>,
    place: usize,
}

impl Held {
    /// Why it was ended, once it was.
    pub(crate) fn cause(&self) -> Option<RefusalCause> {
        self.entry.ended.get()
    }

    /// Ready once it has to end. Wakes the last that polled, here or through [`Held::watch`].
    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<RefusalCause> {
        self.entry.poll_ended(cx)
    }

    /// Returns when it has to end.
    pub(crate) async fn ended(&self) -> RefusalCause {
        poll_fn(|cx| self.poll_ended(cx)).await
    }

    /// Returns when it has to end, without keeping it among what is open.
    pub(crate) fn watch(&self) -> impl Future<Output = RefusalCause> + use<> {
        let entry = Rc::clone(&self.entry);
        poll_fn(move |cx| entry.poll_ended(cx))
    }
}

impl Entry {
    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<RefusalCause> {
        if let Some(cause) = self.ended.get() {
            return Poll::Ready(cause);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(entry) = self.home.entries.borrow_mut().get_mut(self.place) {
            *entry = None;
        }
        self.home.free.borrow_mut().push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(listener: &str) -> Subject {
        Subject {
            caller: Rc::new(Caller::unproved()),
            source: [127, 0, 0, 1].into(),
            listener: listener.into(),
            kind: Kind::Http,
        }
    }

    #[tokio::test]
    async fn ends_those_that_are_judged_and_wakes_who_waits() {
        let open = Rc::new(Connections::default());
        let (one, other) = (open.hold(subject("one")), open.hold(subject("other")));
        let judge = |subject: &Subject| (&*subject.listener == "one").then_some(RefusalCause::NotAuthorized);
        let (cause, ended) = tokio::join!(one.ended(), async { open.end_where(judge) });
        assert_eq!((cause, ended), (RefusalCause::NotAuthorized, 1));
        assert_eq!(open.end_where(judge), 0, "once is enough");
        assert_eq!((one.watch().await, other.cause()), (RefusalCause::NotAuthorized, None));
        drop(one);
        let again = open.hold(subject("one"));
        assert_eq!(again.cause(), None, "a place that is used again begins anew");
        assert_eq!(open.entries.borrow().len(), 2);
    }
}
