//! Signs of life: a ping when nothing has come for a while.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep};

use crate::{config::KeepAlive, connection::Connection};

/// When to ask for a sign of life. Reads no clock where data comes.
#[derive(Debug)]
pub(crate) struct Pulse {
    terms: KeepAlive,
    timer: Pin<Box<Sleep>>,
    /// Something has come since the timer was set.
    heard: bool,
    /// It was asked.
    is_asked: bool,
    /// Nothing is under way, for which a sign of life would matter: the timer is not set.
    rests: bool,
}

impl Pulse {
    pub(crate) fn new(terms: KeepAlive) -> Self {
        Self { timer: Box::pin(sleep(terms.interval)), terms, heard: false, is_asked: false, rests: false }
    }

    /// One turn, in which something has come or nothing. False: the peer does not answer.
    pub(crate) fn turn(&mut self, any: bool, connection: &mut Connection, cx: &mut Context<'_>) -> bool {
        self.heard |= any;
        // While data comes the timer need not be looked at, but when it is over.
        if self.rests || (any && !self.timer.is_elapsed()) {
            return true;
        }
        while let Poll::Ready(()) = self.timer.as_mut().poll(cx) {
            let heard = std::mem::take(&mut self.heard);
            let wait = match (heard, self.is_asked) {
                (false, true) => return false,
                (false, false) if self.terms.while_idle || connection.streams() > 0 => {
                    self.is_asked = true;
                    connection.ping();
                    self.terms.timeout
                }
                (false, false) => {
                    self.rests = true;
                    return true;
                }
                (true, _) => {
                    self.is_asked = false;
                    self.terms.interval
                }
            };
            self.timer.as_mut().reset(Instant::now() + wait);
        }
        true
    }

    /// The turn's end: what it has begun with may need signs of life.
    pub(crate) fn rouse(&mut self, connection: &Connection, cx: &mut Context<'_>) {
        if self.rests && connection.streams() > 0 {
            (self.rests, self.heard) = (false, false);
            self.timer.as_mut().reset(Instant::now() + self.terms.interval);
            // It has to know whom to wake.
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }
}
