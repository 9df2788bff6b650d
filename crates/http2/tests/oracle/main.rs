//! Our ends against those of the `h2` crate, over a byte stream that cuts and stalls: random exchanges,
//! with trailers, pauses, resets and cancels. What both ends see has to be what was sent.

#![allow(clippy::unwrap_used)]

mod exchange;
mod h2_ends;
mod our_ends;
mod pipe;

use std::{rc::Rc, time::Duration};

use proptest::prelude::*;

use crate::exchange::{Exchange, exchanges};

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let limited = async {
        tokio::time::timeout(Duration::from_secs(8), future).await.expect("everything ends");
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
