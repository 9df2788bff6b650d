//! A ground that remembers what was done to it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_chaos::{
    evidence::Evidence,
    injector::{
        Injector,
        ground::{Endpoint, Ground, Undo, Witness},
        relay_process::RelayCommand,
    },
    relay::order::Shown,
};
use bowline_model::{
    clock::Timestamp,
    fault::{
        ALL, ControlPlaneHarm, FaultError, FaultFuture, FaultId, FaultKind, FaultOrder, FaultyCertificate,
        SidecarHarm, TaskHarm,
    },
    task::TaskId,
};
use tokio::time::Instant;

/// The task of this number.
pub(crate) fn task(number: u8) -> TaskId {
    TaskId::from_random([number; 16])
}

/// What lasts ten seconds.
pub(crate) fn order(kind: FaultKind) -> FaultOrder {
    FaultOrder { kind, per_million: ALL, lasting: Duration::from_secs(10), cause: "a test".to_owned() }
}

/// What was done, and what of it goes wrong.
#[derive(Debug)]
pub(crate) struct FakeGround {
    /// By the system's clock, which relays ask; from then on by tokio's, which tests can stop.
    pub(crate) start: Timestamp,
    /// When that was.
    pub(crate) begin: Instant,
    /// What was done and not undone.
    pub(crate) done: Arc<Mutex<BTreeSet<String>>>,
    /// How often something was undone.
    pub(crate) undone: Arc<Mutex<usize>>,
    /// What of this fails.
    pub(crate) fails: Mutex<BTreeSet<String>>,
    /// How often undoing fails.
    pub(crate) undo_fails: Arc<Mutex<usize>>,
    /// How long doing anything takes.
    pub(crate) takes: Duration,
    /// Where sidecars go.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Where they are led.
    pub(crate) diverted: Mutex<Vec<(SocketAddr, SocketAddr)>>,
}

impl FakeGround {
    pub(crate) fn new() -> Self {
        Self {
            start: bowline_plumbing::wall_clock::now(),
            begin: Instant::now(),
            done: Arc::default(),
            undone: Arc::default(),
            fails: Mutex::default(),
            undo_fails: Arc::default(),
            takes: Duration::ZERO,
            endpoints: Vec::new(),
            diverted: Mutex::default(),
        }
    }

    pub(crate) fn done(&self) -> Vec<String> {
        self.done.lock().expect("whole").iter().cloned().collect()
    }

    fn try_do(&self, what: String) -> Result<Undo, FaultError> {
        if self.fails.lock().expect("whole").contains(&what) {
            return Err(FaultError::Failed(what));
        }
        self.done.lock().expect("whole").insert(what.clone());
        let (done, undone, fails) =
            (Arc::clone(&self.done), Arc::clone(&self.undone), Arc::clone(&self.undo_fails));
        Ok(Undo::new(move || {
            let (done, undone, fails, what) =
                (Arc::clone(&done), Arc::clone(&undone), Arc::clone(&fails), what.clone());
            async move {
                // Others get a turn.
                tokio::task::yield_now().await;
                *undone.lock().expect("whole") += 1;
                let mut fails = fails.lock().expect("whole");
                if *fails > 0 {
                    *fails -= 1;
                    return Err(FaultError::Failed("undoing".to_owned()));
                }
                done.lock().expect("whole").remove(&what);
                Ok(())
            }
        }))
    }
}

impl Ground for FakeGround {
    fn now(&self) -> Timestamp {
        self.start + self.begin.elapsed()
    }

    fn has_task(&self, wanted: &TaskId) -> bool {
        (1..=100).any(|number| task(number) == *wanted)
    }

    fn endpoints_of(&self, _: &TaskId, cluster: &str) -> Vec<Endpoint> {
        if cluster == "backend" { self.endpoints.clone() } else { Vec::new() }
    }

    fn forge(
        &self,
        task: &TaskId,
        shows: Option<&FaultyCertificate>,
        _: Duration,
    ) -> Result<(Shown, Undo), FaultError> {
        let undo = self.try_do(format!("forge {} {shows:?}", task.as_str()))?;
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["backend".to_owned()])
            .expect("a name")
            .self_signed(&key)
            .expect("a certificate");
        Ok((Shown { chain_der: vec![certificate.der().to_vec()], key_der: key.serialize_der() }, undo))
    }

    fn stage_certificate<'a>(
        &'a self,
        tasks: &'a [TaskId],
        shows: &'a FaultyCertificate,
        per_million: u32,
        _: Timestamp,
    ) -> FaultFuture<'a, Undo> {
        Box::pin(async move {
            tokio::time::sleep(self.takes).await;
            self.try_do(format!("stage {} {shows:?} {per_million}", tasks.len()))
        })
    }

    fn divert_path<'a>(
        &'a self,
        callers: &'a [TaskId],
        cluster: &'a str,
        to: &'a [(SocketAddr, SocketAddr)],
        _: Timestamp,
    ) -> FaultFuture<'a, Undo> {
        Box::pin(async move {
            self.diverted.lock().expect("whole").extend(to);
            self.try_do(format!("divert {} {cluster}", callers.len()))
        })
    }

    fn spoof_name(&self, name: &str, address: IpAddr, _: Timestamp) -> Result<Undo, FaultError> {
        self.try_do(format!("spoof {name} {address}"))
    }

    fn disturb<'a>(
        &'a self,
        _: &'a [TaskId],
        harm: &'a SidecarHarm,
        per_million: u32,
        _: Timestamp,
    ) -> FaultFuture<'a, Undo> {
        Box::pin(async move { self.try_do(format!("disturb {harm:?} {per_million}")) })
    }

    fn arrived(&self, _: &[TaskId]) -> u64 {
        7
    }

    fn begin_task_fault<'a>(
        &'a self,
        task: &'a TaskId,
        _: &'a FaultId,
        _: &'a TaskHarm,
        _: Timestamp,
    ) -> FaultFuture<'a, Undo> {
        Box::pin(async move {
            tokio::time::sleep(self.takes).await;
            self.try_do(format!("harm {}", &task.as_str()[..2]))
        })
    }

    fn begin_control_plane_fault<'a>(
        &'a self,
        harm: &'a ControlPlaneHarm,
        _: Timestamp,
    ) -> FaultFuture<'a, (Undo, Witness)> {
        Box::pin(async move {
            let undo = self.try_do(format!("harm {harm:?}"))?;
            Ok((undo, Witness::new(|| Evidence { refused: 7, ..Evidence::default() })))
        })
    }
}

/// This very program as a relay: it runs [`super::relay::as_a_relay`] on its first thread.
pub(crate) fn relay_command() -> RelayCommand {
    let arguments = ["--exact", "relay::as_a_relay", "--ignored", "--nocapture", "--test-threads=1"];
    RelayCommand {
        program: std::env::current_exe().expect("this program"),
        arguments: arguments.map(str::to_owned).to_vec(),
    }
}

pub(crate) fn injector(ground: &Arc<FakeGround>) -> Injector {
    Injector::new(Arc::<FakeGround>::clone(ground), relay_command())
}
