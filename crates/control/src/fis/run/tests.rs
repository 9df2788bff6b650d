use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(1_000 + seconds)
}

fn run(actions: &[(&str, &[&str])]) -> Run {
    let own = |text: &&str| (*text).to_owned();
    Run::new(actions.iter().map(|(name, after)| ((*name).to_owned(), after.iter().map(own).collect())))
}

fn until(seconds: u64) -> Result<Begun, RunError> {
    let held = Held { faults: vec![FaultId::new(seconds)], drained: Vec::new() };
    Ok(Begun { until: Some(at(seconds)), held })
}

fn failure() -> RunError {
    RunError::new(ErrorCode::DependentServiceFailure, "It is refused.")
}

fn begin(name: &str) -> Step {
    Step::Begin(name.to_owned())
}

fn end(name: &str) -> Step {
    Step::End(name.to_owned())
}

fn status(run: &Run, action: &str) -> ActionStatus {
    run.actions[action].status
}

/// One whose targets are found.
fn running(actions: &[(&str, &[&str])]) -> Run {
    let mut run = run(actions);
    assert_eq!(run.next(at(0)), [Step::Resolve]);
    assert_eq!((run.status, run.started_at), (RunStatus::Initiating, Some(at(0))));
    assert_eq!(run.next(at(0)), []);
    run.resolved(Ok(BTreeMap::new()), at(0));
    assert_eq!(run.status, RunStatus::Running);
    run
}

#[test]
fn actions_follow_those_that_they_start_after() {
    let mut run = running(&[("first", &[]), ("then", &["first"]), ("beside", &[])]);
    assert_eq!(run.next(at(1)), [begin("beside"), begin("first")]);
    assert_eq!(run.next(at(1)), []);
    run.begun("beside", Ok(Begun::default()), at(1));
    run.begun("first", until(10), at(1));
    assert_eq!(
        (status(&run, "beside"), status(&run, "first")),
        (ActionStatus::Completed, ActionStatus::Running)
    );
    assert_eq!(run.next_at(), Some(at(10)));
    assert_eq!(run.next(at(9)), []);
    assert_eq!(run.next(at(10)), [end("first")]);
    // What was held is not over before it is given back.
    assert_eq!((run.next(at(11)), status(&run, "then")), (vec![], ActionStatus::Pending));
    run.ended("first", Ok(()), at(11));
    assert_eq!(run.next(at(11)), [begin("then")]);
    run.begun("then", Ok(Begun::default()), at(12));
    assert_eq!(run.next(at(12)), []);
    assert_eq!(
        (run.status, run.reason.as_str(), run.ended_at),
        (RunStatus::Completed, "Experiment completed.", Some(at(12)))
    );
    assert_eq!((run.next(at(13)), run.stop(Stop::User)), (vec![], false));
}

#[test]
fn a_stopped_experiment_gives_back_what_it_holds_first() {
    for (stop, expected) in
        [(Stop::User, "by user"), (Stop::Alarm("errors"), "errors"), (Stop::Lever, "lever")]
    {
        let mut run = running(&[("a", &[]), ("b", &["a"]), ("c", &[])]);
        run.next(at(0));
        run.begun("a", until(60), at(0));
        assert!(run.stop(stop));
        assert_eq!(run.status, RunStatus::Stopping);
        // What is being begun is ended as soon as it was.
        assert_eq!(run.next(at(1)), [end("a")]);
        assert_eq!(
            (status(&run, "b"), status(&run, "c")),
            (ActionStatus::Cancelled, ActionStatus::Initiating)
        );
        run.begun("c", until(60), at(2));
        assert_eq!(run.next(at(2)), [end("c")]);
        run.ended("a", Ok(()), at(3));
        assert_eq!(run.next(at(3)), []);
        run.ended("c", Ok(()), at(4));
        assert_eq!(run.next(at(4)), []);
        assert_eq!((run.status, run.ended_at), (RunStatus::Stopped, Some(at(4))));
        assert!(run.reason.contains(expected), "{}", run.reason);
        assert_eq!(status(&run, "a"), ActionStatus::Stopped);
        assert!(run.actions.values().all(|action| action.held == Held::default()));
    }
}

#[test]
fn the_lever_cancels_what_has_done_nothing() {
    let mut pending = run(&[("a", &[])]);
    assert!(pending.stop(Stop::Lever));
    assert_eq!(pending.next(at(0)), []);
    assert_eq!(pending.status, RunStatus::Cancelled);

    let mut resolving = run(&[("a", &[])]);
    resolving.next(at(0));
    resolving.stop(Stop::Lever);
    assert_eq!((resolving.next(at(0)), resolving.status), (vec![], RunStatus::Stopping));
    resolving.resolved(Ok(BTreeMap::new()), at(1));
    assert_eq!((resolving.next(at(1)), resolving.status), (vec![], RunStatus::Cancelled));
    assert_eq!(status(&resolving, "a"), ActionStatus::Cancelled);
}

#[test]
fn what_fails_ends_all_and_is_told() {
    let mut run = running(&[("a", &[]), ("b", &["a"]), ("c", &[])]);
    run.next(at(0));
    run.begun("c", until(60), at(0));
    run.begun("a", Err(failure()), at(1));
    assert_eq!(run.next(at(1)), [end("c")]);
    run.ended("c", Ok(()), at(2));
    run.next(at(2));
    assert_eq!(
        (run.status, status(&run, "a"), status(&run, "b")),
        (RunStatus::Failed, ActionStatus::Failed, ActionStatus::Cancelled)
    );
    let error = run.error.unwrap();
    assert_eq!((error.location.as_deref(), error.code), (Some("a"), ErrorCode::DependentServiceFailure));

    // What cannot be given back is told though the user stopped it.
    let mut run = running(&[("a", &[])]);
    run.next(at(0));
    run.begun("a", until(60), at(0));
    run.stop(Stop::User);
    run.next(at(1));
    run.ended("a", Err(failure()), at(2));
    run.next(at(2));
    assert_eq!((run.status, status(&run, "a")), (RunStatus::Failed, ActionStatus::Failed));
}

#[test]
fn targets_that_are_not_found_fail_it_or_skip_actions() {
    let mut run = self::run(&[("a", &[]), ("b", &["a"])]);
    run.next(at(0));
    run.resolved(Err(failure().at("target")), at(1));
    assert_eq!(run.next(at(1)), []);
    assert_eq!((run.status, run.error.unwrap().location.as_deref()), (RunStatus::Failed, Some("target")));

    let mut run = self::run(&[("a", &[]), ("b", &["a"])]);
    run.next(at(0));
    run.resolved(Ok([("a".to_owned(), "Nobody.")].into()), at(1));
    assert_eq!(run.next(at(1)), [begin("b")]);
    assert_eq!((status(&run, "a"), run.actions["a"].reason.as_str()), (ActionStatus::Skipped, "Nobody."));
}

#[test]
fn one_whose_process_ended_has_failed() {
    let mut run = running(&[("a", &[]), ("b", &["a"])]);
    run.next(at(0));
    let held = Held { faults: Vec::new(), drained: vec!["demo".to_owned()] };
    run.begun("a", Ok(Begun { until: Some(at(60)), held: held.clone() }), at(0));
    let mut read: Run = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
    assert_eq!(read, run);
    assert_eq!(read.abandon(at(5)), [held, Held::default()]);
    assert_eq!((read.status, read.ended_at), (RunStatus::Failed, Some(at(5))));
    assert_eq!((status(&read, "a"), status(&read, "b")), (ActionStatus::Stopped, ActionStatus::Cancelled));
    assert_eq!((read.abandon(at(6)), read.next(at(6))), (vec![], vec![]));
}

proptest! {
    /// Whatever becomes of its steps, and whenever it is stopped, every run ends: what was begun is ended once, nothing
    /// begins before what it starts after, and nothing is held at the end.
    #[test]
    fn every_run_ends(
        after in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1..8),
        outcomes in prop::collection::vec((0_u8..10, 0_u64..30, 0_u8..20), 8),
        resolves in 0_u8..10,
        stop in prop::option::of(0_u64..60),
    ) {
        // Each may start after those before it: there are no circles, which templates may not have.
        let mut run = Run::new(after.iter().enumerate().map(|(number, before)| {
            let before = before.iter().filter(|_| number > 0).map(|it| it.index(number.max(1)).to_string());
            (number.to_string(), before.collect())
        }));
        let befores: BTreeMap<_, _> = run.actions.iter().map(|(name, it)| (name.clone(), it.after.clone())).collect();
        let mut begun = BTreeSet::new();
        let mut ended = BTreeSet::new();
        for second in 0..400_u64 {
            let now = at(0) + Duration::from_secs(second);
            if stop == Some(second) {
                run.stop(Stop::User);
            }
            for step in run.next(now) {
                match step {
                    Step::Resolve if resolves == 0 => run.resolved(Err(failure()), now),
                    Step::Resolve => run.resolved(Ok(BTreeMap::new()), now),
                    Step::Begin(name) => {
                        prop_assert!(befores[&name].iter().all(|before| run.actions[before].status == ActionStatus::Completed));
                        let (fails, seconds, _) = outcomes[name.parse::<usize>().unwrap()];
                        let outcome = match (fails, seconds) {
                            (0, _) => Err(failure()),
                            (_, 0) => Ok(Begun::default()),
                            (_, seconds) => until(second + seconds),
                        };
                        if matches!(outcome, Ok(Begun { until: Some(_), .. })) {
                            prop_assert!(begun.insert(name.clone()));
                        }
                        run.begun(&name, outcome, now);
                    }
                    Step::End(name) => {
                        prop_assert!(ended.insert(name.clone()));
                        let (_, _, fails) = outcomes[name.parse::<usize>().unwrap()];
                        run.ended(&name, if fails == 0 { Err(failure()) } else { Ok(()) }, now);
                    }
                }
            }
            let over = run.actions.values().all(|action| action.status.is_over());
            prop_assert!(!run.status.is_over() || over);
        }
        prop_assert!(run.status.is_over(), "{:?}", run);
        prop_assert_eq!(begun, ended);
        prop_assert!(run.ended_at.is_some() && run.actions.values().all(|action| action.ended_at.is_some()));
        if run.status == RunStatus::Completed {
            prop_assert!(run.actions.values().all(|action| action.status == ActionStatus::Completed));
        }
        prop_assert_eq!(run.status == RunStatus::Failed, run.error.is_some());
    }
}
