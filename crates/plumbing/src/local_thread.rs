//! A thread with a runtime of its own: what is spawned there stays there, and what it frees is kept for it.

use std::{
    future::Future,
    io,
    sync::mpsc,
    thread::{Builder, JoinHandle},
};

use tokio::runtime::{self, LocalOptions};

use crate::sys::allocator::Keeping;

/// Starts one, which ends with what `work` begins there. [`tokio::task::spawn_local`] may be used in both.
///
/// # Errors
/// There is no thread, or no runtime, to be had.
pub fn start<W: Future<Output = ()>>(
    name: String,
    work: impl FnOnce() -> W + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (tell, is_built) = mpsc::sync_channel(1);
    let thread = Builder::new().name(name).spawn(move || {
        // The first: what the others free when they are dropped goes through it.
        let _keeping = Keeping::begin();
        // It does not leave the thread that it was built on. Not a LocalSet on another runtime: each event of the
        // system would wake that by a system call of its own.
        let built = runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match built {
            Ok(runtime) => {
                drop(tell.send(Ok(())));
                runtime.block_on(async { work().await });
            }
            Err(error) => drop(tell.send(Err(error))),
        }
    })?;
    is_built.recv().unwrap_or_else(|_| Err(io::Error::other("a thread ended as it began")))?;
    Ok(thread)
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, thread};

    use tokio::{sync::oneshot, task::spawn_local};

    use super::*;

    #[test]
    fn what_is_spawned_stays_on_the_thread() {
        let (tell, told) = oneshot::channel();
        let begun = start("local".into(), || {
            let of_the_thread = Rc::new(thread::current().id());
            let spawned = spawn_local(async move {
                tokio::task::yield_now().await;
                let name = thread::current().name().map(str::to_owned);
                drop(tell.send((*of_the_thread == thread::current().id(), name)));
            });
            async { spawned.await.expect("it ends") }
        });
        let thread = begun.expect("it starts");
        assert_eq!(told.blocking_recv().expect("it is told"), (true, Some("local".into())));
        thread.join().expect("it ends with its work");
    }
}
