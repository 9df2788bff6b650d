//! Our ends against those of the `h2` crate, over a byte stream that cuts and stalls: random exchanges,
//! with trailers, pauses, resets and cancels. What both ends see has to be what was sent.

#![allow(clippy::unwrap_used)]

mod exchange;
mod h2_ends;
mod heads;
mod our_ends;
mod pipe;

use std::{rc::Rc, time::Duration};

use proptest::prelude::*;

use crate::exchange::{Exchange, exchanges};

/// Runs to the end, which has to come.
fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let limited = async {
        tokio::time::timeout(Duration::from_secs(60), future).await.expect("everything ends");
    };
    local.block_on(&runtime, limited);
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, max_shrink_iters: 12, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn our_client_and_h2s_server(plan in exchanges(), cuts in pipe::cuts()) {
        let plan: Rc<[Exchange]> = plan.into();
        run(async {
            let (near, far) = pipe::pair(&cuts);
            tokio::task::spawn_local(h2_ends::serve(far, Rc::clone(&plan)));
            our_ends::ask(near, plan).await;
        });
    }

    #[test]
    fn h2s_client_and_our_server(plan in exchanges(), cuts in pipe::cuts()) {
        let plan: Rc<[Exchange]> = plan.into();
        run(async {
            let (near, far) = pipe::pair(&cuts);
            tokio::task::spawn_local(our_ends::serve(far, Rc::clone(&plan)));
            h2_ends::ask(near, plan).await;
        });
    }

    #[test]
    fn our_client_and_our_server(plan in exchanges(), cuts in pipe::cuts()) {
        let plan: Rc<[Exchange]> = plan.into();
        run(async {
            let (near, far) = pipe::pair(&cuts);
            tokio::task::spawn_local(our_ends::serve(far, Rc::clone(&plan)));
            our_ends::ask(near, plan).await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, max_shrink_iters: 2_000, ..cases() })]

    #[test]
    fn the_same_requests_are_taken(fields in heads::fields()) {
        let ours = heads::ours(&fields);
        let mut theirs = None;
        run(async { theirs = heads::h2s(&fields).await });
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => {
                prop_assert_eq!(ours.method(), theirs.method());
                prop_assert_eq!(ours.uri(), theirs.uri());
                prop_assert_eq!(ours.headers(), theirs.headers());
            }
            (None, None) => {}
            (None, Some(_)) => prop_assert!(heads::is_refused_on_purpose(&fields), "refused"),
            (Some(_), None) => prop_assert!(false, "taken, which h2 refuses"),
        }
    }
}
