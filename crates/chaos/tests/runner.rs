//! The runner against a system that is made up: what it does when, and what it makes of what it sees.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bowline_chaos::{
    experiment::{Experiment, ExperimentError, Stage, StepFuture, Timing, Trial, nothing},
    probe::{Line, Order, SampleLine, clock},
    record::Record,
    runner::{self, Step},
    scope::{Edge, Scope},
    system::{
        Alias, AwsCall, Event, Evidence, Exit, Forged, Mesh, RoleSession, Running, Service, System,
        SystemError, SystemFuture, Task,
    },
};
use bowline_model::{
    clock::Timestamp,
    experiment::{Expectation, Finding, Outcome, Verdict, Want},
    fault::{Fault, FaultId, FaultKind, FaultOrder, FaultyCertificate},
    task::TaskId,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// What becomes of requests, and what was asked.
#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    ended: Vec<FaultId>,
    begun: usize,
}

/// Answers 200, and 403 while a fault is in force.
#[derive(Debug, Default)]
struct Fake {
    state: Arc<Mutex<State>>,
    /// Requests fail, whatever is in force.
    is_broken: bool,
    /// Faults do nothing.
    is_sabotaged: bool,
    /// How long a fault's beginning takes.
    begins_after: Duration,
    /// Whether the probe was told to end.
    probes_running: Arc<AtomicUsize>,
}

fn task(number: u8) -> Task {
    Task {
        id: TaskId::from_random([number; 16]),
        healthy: true,
        inbound: Vec::new(),
        shim_pid: None,
        serial: None,
        certificate_ends: None,
    }
}

fn unasked<T: Send>() -> SystemFuture<'static, T> {
    Box::pin(async { Err(SystemError::new("nobody asks for that")) })
}

impl System for Fake {
    fn mesh(&self) -> SystemFuture<'_, Mesh> {
        let alias = Alias {
            names: vec!["b".to_owned()],
            port: 80,
            protocol: "HTTP".to_owned(),
            service: "b".to_owned(),
            mode: "MUTUAL_TLS".to_owned(),
            ..Alias::default()
        };
        let service = |name: &str, number, aliases| Service {
            name: name.to_owned(),
            tasks: vec![task(number)],
            aliases,
            ..Service::default()
        };
        let services = vec![service("a", 1, vec![alias]), service("b", 2, Vec::new())];
        Box::pin(async { Ok(Mesh { services, ..Mesh::default() }) })
    }

    fn begin_fault(&self, order: FaultOrder) -> SystemFuture<'_, Fault> {
        let mut state = self.state.lock().expect("no panic");
        state.begun += 1;
        let id = FaultId::new(state.begun as u64);
        let began_at = Timestamp::from_secs(1);
        let fault = Fault { id, ends_at: began_at + order.lasting, order, began_at };
        let (state, begins_after) = (Arc::clone(&self.state), self.begins_after);
        Box::pin(async move {
            tokio::time::sleep(begins_after).await;
            state.lock().expect("no panic").faults.push(fault.clone());
            Ok(fault)
        })
    }

    fn end_fault(&self, id: FaultId) -> SystemFuture<'_, ()> {
        let mut state = self.state.lock().expect("no panic");
        state.faults.retain(|fault| fault.id != id);
        state.ended.push(id);
        Box::pin(async { Ok(()) })
    }

    fn faults(&self) -> SystemFuture<'_, Vec<Fault>> {
        let faults = self.state.lock().expect("no panic").faults.clone();
        Box::pin(async { Ok(faults) })
    }

    fn evidence(&self, _: FaultId) -> SystemFuture<'_, Evidence> {
        unasked()
    }

    fn forge(&self, _: TaskId, _: Option<FaultyCertificate>, _: Duration) -> SystemFuture<'_, Forged> {
        unasked()
    }

    fn revoke(&self, _: String) -> SystemFuture<'_, ()> {
        unasked()
    }

    fn renew(&self, _: Vec<TaskId>) -> SystemFuture<'_, usize> {
        unasked()
    }

    fn unprivileged(&self, _: TaskId) -> SystemFuture<'_, Option<RoleSession>> {
        unasked()
    }

    fn run(&self, from: TaskId, _: Option<String>, command: Vec<String>) -> SystemFuture<'_, Running> {
        assert_eq!((from, command), (task(1).id, vec!["program".to_owned(), "chaos-probe".to_owned()]));
        let (input, orders) = tokio::io::duplex(4_096);
        let (mut lines, output) = tokio::io::duplex(4_096);
        let (state, is_broken, is_sabotaged) = (Arc::clone(&self.state), self.is_broken, self.is_sabotaged);
        let running = Arc::clone(&self.probes_running);
        running.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let mut orders = BufReader::new(orders);
            let mut order = String::new();
            orders.read_line(&mut order).await.expect("an order");
            let order: Order = serde_json::from_str(&order).expect("an order");
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / order.load.rate);
            loop {
                let mut byte = [0];
                tokio::select! {
                    _ = ticks.tick() => {}
                    ended = orders.read(&mut byte) => {
                        assert_eq!(ended.ok(), Some(0));
                        break;
                    }
                }
                let has_faults = !state.lock().expect("no panic").faults.is_empty();
                let outcome = match (is_broken, has_faults && !is_sabotaged) {
                    (true, _) => Outcome::Unanswered("connect".to_owned()),
                    (_, true) => Outcome::refused(403, "expired"),
                    (_, false) => Outcome::answered(200),
                };
                let line = Line::Sample(SampleLine::new(clock(), Duration::from_millis(1), outcome));
                let text = format!("{}\n", serde_json::to_string(&line).expect("a line"));
                if lines.write_all(text.as_bytes()).await.is_err() {
                    break;
                }
            }
            let ended = serde_json::to_string(&Line::Ended { dropped: 0 }).expect("a line");
            let _ = lines.write_all(format!("{ended}\n").as_bytes()).await;
            running.fetch_sub(1, Ordering::SeqCst);
        });
        let running = Running {
            input: Box::new(input),
            output: Box::new(BufReader::new(output)),
            exit: Box::pin(async { Ok(Exit::default()) }),
        };
        Box::pin(async { Ok(running) })
    }

    fn events(&self, _: u64) -> SystemFuture<'_, Vec<Event>> {
        unasked()
    }

    fn aws(&self, _: AwsCall) -> SystemFuture<'_, serde_json::Value> {
        unasked()
    }

    fn program(&self) -> Result<String, SystemError> {
        Ok("program".to_owned())
    }
}

/// Expects refusals. Says what else it does.
#[derive(Clone, Debug, Default)]
struct Refusals {
    restored: Arc<AtomicUsize>,
    inject_fails: bool,
    finding: Option<bool>,
}

impl Experiment for Refusals {
    fn name(&self) -> &'static str {
        "refusals"
    }

    fn title(&self) -> &'static str {
        "Refusals"
    }

    fn hypothesis(&self) -> &'static str {
        "it is refused"
    }

    fn how(&self) -> &'static str {
        "by a fault"
    }

    fn expected(&self) -> &'static str {
        "403"
    }

    fn prepare(&self, mesh: &Mesh, scope: &Scope) -> Result<Box<dyn Trial>, ExperimentError> {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(RefusalsTrial { of: self.clone(), edge }))
    }
}

struct RefusalsTrial {
    of: Refusals,
    edge: Edge,
}

impl Trial for RefusalsTrial {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn timing(&self) -> Timing {
        Timing {
            before: Duration::from_millis(300),
            during: Duration::from_millis(700),
            after: Duration::from_millis(200),
        }
    }

    fn expectation(&self) -> Expectation {
        Expectation {
            detect_within: Duration::from_millis(400),
            recover_within: Duration::from_secs(1),
            ..Expectation::refused(Want::forbidden("expired"))
        }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let tasks = self.edge.caller.healthy_ids();
            stage.begin(FaultKind::Certificate { tasks, shows: FaultyCertificate::Expired }).await?;
            match self.of.inject_fails {
                true => Err(ExperimentError::failed("the second fault cannot be")),
                false => Ok(()),
            }
        })
    }

    fn during<'a>(&'a mut self, _: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        match self.of.finding {
            Some(held) => Box::pin(async move { Ok(vec![Finding::new("a check", held, "it was so")]) }),
            None => nothing(),
        }
    }

    fn restore<'a>(&'a mut self, _: &'a Stage) -> StepFuture<'a, ()> {
        self.of.restored.fetch_add(1, Ordering::SeqCst);
        nothing()
    }
}

async fn run(fake: Fake, experiment: &Refusals, scope: &Scope) -> (Record, Arc<Mutex<State>>) {
    let (state, probes) = (Arc::clone(&fake.state), Arc::clone(&fake.probes_running));
    let system: Arc<dyn System> = Arc::new(fake);
    let record = runner::run(&system, experiment, scope, &|_| {}, std::future::pending()).await;
    assert!(state.lock().expect("no panic").faults.is_empty(), "every fault was ended");
    let gone = async {
        while probes.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the probe was told to end");
    (record, state)
}

#[tokio::test]
async fn a_hypothesis_that_holds() {
    let experiment = Refusals { finding: Some(true), ..Refusals::default() };
    let (record, state) = run(Fake::default(), &experiment, &Scope::default()).await;
    assert_eq!(record.verdict, Verdict::Held, "{record:#?}");
    let judgement = record.judgement.expect("a judgement");
    assert!(judgement.before.requests >= 2 && judgement.during.requests >= 5, "{judgement:#?}");
    assert!(judgement.time_to_detect.expect("detected") < Duration::from_secs(1));
    assert_eq!((judgement.lost, record.findings.len()), (0, 1));
    assert_eq!(experiment.restored.load(Ordering::SeqCst), 1);
    let state = state.lock().expect("no panic");
    assert_eq!((state.begun, state.ended.len()), (1, 1));
}

#[tokio::test]
async fn a_hypothesis_falls_when_the_expectation_is_not_met() {
    let (record, _) =
        run(Fake { is_sabotaged: true, ..Fake::default() }, &Refusals::default(), &Scope::default()).await;
    assert_eq!(record.verdict, Verdict::Fell);
    assert!(record.reason().expect("a reason").contains("403 expired"), "{:?}", record.reason());
}

#[tokio::test]
async fn a_hypothesis_falls_when_a_check_beside_does() {
    let experiment = Refusals { finding: Some(false), ..Refusals::default() };
    let (record, _) = run(Fake::default(), &experiment, &Scope::default()).await;
    assert_eq!(record.verdict, Verdict::Fell);
    assert_eq!(record.reason().as_deref(), Some("a check (it was so)"));
}

#[tokio::test]
async fn without_a_steady_state_nothing_is_injected() {
    let (record, state) =
        run(Fake { is_broken: true, ..Fake::default() }, &Refusals::default(), &Scope::default()).await;
    let Verdict::Refused(reason) = record.verdict else { panic!("{record:#?}") };
    assert!(reason.contains("connect"), "{reason}");
    assert_eq!(state.lock().expect("no panic").begun, 0);
}

#[tokio::test]
async fn what_does_not_apply_is_said() {
    let scope = Scope { called: Some("c".to_owned()), ..Scope::default() };
    let (record, state) = run(Fake::default(), &Refusals::default(), &scope).await;
    let Verdict::NotApplicable(reason) = record.verdict else { panic!("{record:#?}") };
    assert_eq!(reason, "there is no service \"c\"; services: a, b");
    assert_eq!(state.lock().expect("no panic").begun, 0);
}

#[tokio::test]
async fn an_injection_that_fails_halfway_is_undone() {
    let experiment = Refusals { inject_fails: true, ..Refusals::default() };
    let (record, state) = run(Fake::default(), &experiment, &Scope::default()).await;
    assert_eq!(record.verdict, Verdict::Failed("the second fault cannot be".to_owned()));
    assert_eq!(experiment.restored.load(Ordering::SeqCst), 1);
    assert_eq!(state.lock().expect("no panic").ended.len(), 1);
}

#[tokio::test]
async fn broken_off_the_fault_is_ended_at_once() {
    let fake = Fake::default();
    let (state, experiment) = (Arc::clone(&fake.state), Refusals::default());
    let system: Arc<dyn System> = Arc::new(fake);
    let lasts = AtomicBool::new(false);
    let (stopper, mut stopped) = tokio::sync::watch::channel(false);
    let listener = |progress: &runner::Progress| {
        if progress.step == Step::During {
            lasts.store(true, Ordering::SeqCst);
            stopper.send_replace(true);
        }
    };
    let stop = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        assert_eq!(state.lock().expect("no panic").faults.len(), 1, "the fault is in force");
    };
    let record = runner::run(&system, &experiment, &Scope::default(), &listener, stop).await;
    assert_eq!(record.verdict, Verdict::Aborted);
    assert!(lasts.load(Ordering::SeqCst));
    assert!(state.lock().expect("no panic").faults.is_empty());
    assert_eq!(experiment.restored.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn broken_off_while_a_fault_is_beginning_it_is_ended_too() {
    let fake = Fake { begins_after: Duration::from_millis(500), ..Fake::default() };
    let (state, experiment) = (Arc::clone(&fake.state), Refusals::default());
    let system: Arc<dyn System> = Arc::new(fake);
    let (stopper, mut stopped) = tokio::sync::watch::channel(false);
    let listener = |progress: &runner::Progress| {
        if progress.step == Step::Injecting {
            stopper.send_replace(true);
        }
    };
    let stop = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        let state = state.lock().expect("no panic");
        assert_eq!((state.begun, state.faults.len()), (1, 0), "it is asked for, and not in force yet");
    };
    let record = runner::run(&system, &experiment, &Scope::default(), &listener, stop).await;
    assert_eq!(record.verdict, Verdict::Aborted);
    // Nor does it begin afterwards.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let state = state.lock().expect("no panic");
    assert!(state.faults.is_empty(), "{:?}", state.faults);
    assert_eq!(state.ended, [FaultId::new(1)]);
}
