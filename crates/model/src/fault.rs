//! Faults that are injected on purpose: into certificates, paths between sidecars, names, and tasks.
//!
//! Every fault has a deadline from its beginning. Whoever holds one ends it by itself when its deadline comes, whatever
//! has become of who asked for it: sidecars go back to their own certificates and to the true addresses, relays pass on
//! what comes, shims undo what they did to their tasks.

use std::{fmt, net::IpAddr, pin::Pin, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{clock::Timestamp, task::TaskId};

/// Longest time that a fault may last. Source: AWS FIS quotas, an action's longest duration.
pub const LASTING_MAX: Duration = Duration::from_secs(12 * 3600);
/// Shortest time that a fault may last.
pub const LASTING_MIN: Duration = Duration::from_secs(1);
/// Shortest life of a certificate in [`ControlPlaneHarm::NoIssuance`].
pub const LIFETIME_MIN: Duration = Duration::from_secs(5);
/// Longest life of a certificate in [`ControlPlaneHarm::NoIssuance`].
pub const LIFETIME_MAX: Duration = Duration::from_secs(3600);
/// Longest time that the control plane is away in [`ControlPlaneHarm::Killed`].
pub const AWAY_MAX: Duration = Duration::from_secs(600);
/// Most faults at a time.
pub const FAULTS_MAX: usize = 256;
/// Most that a clock can be wrong.
pub const CLOCK_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Longest that an answer in place of an application takes.
pub const ANSWER_DELAY_MAX: Duration = Duration::from_secs(60);
/// All of what a fault can be applied to, in [`FaultOrder::per_million`].
pub const ALL: u32 = 1_000_000;

/// Names a fault while it lasts: `flt-` and sixteen hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FaultId(String);

impl FaultId {
    /// The fault of that number; numbers are random.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(format!("flt-{number:016x}"))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// It is no fault's id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no fault's id: those are flt- and sixteen hexadecimal digits")]
pub struct FaultIdError(String);

impl FromStr for FaultId {
    type Err = FaultIdError;

    fn from_str(text: &str) -> Result<Self, FaultIdError> {
        let digits = text.strip_prefix("flt-").unwrap_or_default();
        let is_hexadecimal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() == 16 && is_hexadecimal {
            Ok(Self(text.to_owned()))
        } else {
            Err(FaultIdError(text.chars().take(64).collect()))
        }
    }
}

impl TryFrom<String> for FaultId {
    type Error = FaultIdError;

    fn try_from(text: String) -> Result<Self, FaultIdError> {
        text.parse()
    }
}

impl From<FaultId> for String {
    fn from(id: FaultId) -> Self {
        id.0
    }
}

/// What is to go wrong, of how much, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultOrder {
    /// What.
    pub kind: FaultKind,
    /// Of a million new connections, for those of [`FaultKind::Certificate`] and [`FaultKind::Path`]; of a million
    /// requests, for [`SidecarHarm::Answers`]. [`ALL`] for others.
    pub per_million: u32,
    /// For how long, from when it is in force: [`LASTING_MIN`] to [`LASTING_MAX`].
    pub lasting: Duration,
    /// Who asks: the name of an experiment.
    pub cause: String,
}

/// A fault that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Its id.
    pub id: FaultId,
    /// What was asked for.
    pub order: FaultOrder,
    /// Since when.
    pub began_at: Timestamp,
    /// When it ends by itself.
    pub ends_at: Timestamp,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// The sidecars of these tasks show a faulty certificate, when they call and when they are called.
    Certificate {
        /// Whose sidecars.
        tasks: Vec<TaskId>,
        /// What they show.
        shows: FaultyCertificate,
    },
    /// What these tasks' sidecars send to a cluster goes through a relay that harms it.
    Path {
        /// Whose sidecars call.
        callers: Vec<TaskId>,
        /// Which cluster of theirs, by its name on the stream.
        cluster: String,
        /// To which of the cluster's tasks; to all where none is named.
        called: Vec<TaskId>,
        /// What the relay does.
        harm: PathHarm,
    },
    /// DNS answers for a name lead elsewhere.
    Name {
        /// The name, without a dot at its end.
        name: String,
        /// Where to.
        address: IpAddr,
    },
    /// Something happens to these tasks themselves.
    Task {
        /// Which.
        tasks: Vec<TaskId>,
        /// What.
        harm: TaskHarm,
    },
    /// Something is wrong with these tasks' sidecars.
    Sidecar {
        /// Whose.
        tasks: Vec<TaskId>,
        /// What.
        harm: SidecarHarm,
    },
    /// Something happens to the control plane.
    ControlPlane(ControlPlaneHarm),
}

/// What happens to the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ControlPlaneHarm {
    /// Its process gets `SIGKILL`; at the fault's end it is started again as it was.
    Killed,
    /// It issues no certificates to these tasks. Before that each of them gets one that lives for `lifetime`: so soon
    /// the fault is felt by who has not renewed.
    NoIssuance {
        /// Whose sidecars.
        tasks: Vec<TaskId>,
        /// From [`LIFETIME_MIN`] to [`LIFETIME_MAX`].
        lifetime: Duration,
    },
    /// What the configuration stream has for these tasks' sidecars cannot be used.
    Garbage {
        /// Whose sidecars.
        tasks: Vec<TaskId>,
    },
    /// The disk with its state has no room left.
    DiskFull,
}

/// What is wrong with a sidecar that does else what it always does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SidecarHarm {
    /// Its clock is wrong: that by which it judges certificates, and all else that asks for the time of day.
    Clock {
        /// Milliseconds that it is ahead of the machine's; negative: behind. Not 0, [`CLOCK_MAX`] at most.
        ahead_ms: i64,
    },
    /// It answers in place of the task's application, which gets no request.
    Answers {
        /// With this HTTP status: 400 to 599.
        status: u16,
        /// So long after the request came: [`ANSWER_DELAY_MAX`] at most.
        after: Duration,
    },
}

/// A certificate that nobody must believe, though a key belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultyCertificate {
    /// It ended an hour ago. All else is right.
    Expired,
    /// It begins in an hour. All else is right.
    NotYetValid,
    /// It is the mesh's, and it is revoked.
    Revoked,
    /// It names another service of the mesh, whose SPIFFE id this is. All else is right.
    Identity(String),
    /// It is the mesh's, and has no SPIFFE id.
    NoIdentity,
    /// It names the right service, and comes from an authority that is none of the mesh's.
    UntrustedCa,
    /// It signed itself.
    SelfSigned,
    /// It was signed by an end entity's key: its chain leads to the mesh's root, but over what may sign nothing.
    InvalidChain,
    /// Its private key is another's.
    KeyMismatch,
}

/// What a relay between two sidecars does to a share of connections; it passes the others on as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathHarm {
    /// Bytes come later.
    Delay {
        /// In each direction.
        each_way: Duration,
        /// So much more or less, at random.
        jitter: Duration,
        /// Only until the called side has answered the caller's second flight: the handshake.
        handshake_only: bool,
    },
    /// Packets are lost, by the kernel, on a link between the relay's two ends.
    Loss {
        /// Of a hundred, in each direction.
        percent: u8,
    },
    /// Nothing is passed on; connections stay open.
    Stall,
    /// Nothing from the called side is passed on: a partition in one direction.
    OneWay {
        /// From so long after the fault's beginning on. Connections that are made before are there by then, and answer.
        after: Duration,
    },
    /// Connections are closed as they are accepted.
    Refuse,
    /// Connections are reset after so many bytes of the called side.
    Reset {
        /// Bytes of the called side before; 0: as they are accepted.
        after_bytes: u64,
    },
    /// Somebody else answers.
    Rogue(RogueServer),
}

/// Who answers in place of a task's sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RogueServer {
    /// TLS 1.3 with a certificate that names the service, from an authority of its own.
    UntrustedCa,
    /// TLS 1.3 with a certificate that signed itself.
    SelfSigned,
    /// No TLS: an HTTP answer in the clear to whatever comes.
    Plaintext,
    /// At most TLS 1.2.
    OldTls,
}

/// What happens to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskHarm {
    /// Processes get a signal, once.
    Kill {
        /// Which processes.
        victims: Victims,
        /// The signal's number.
        signal: i32,
    },
    /// Processes are stopped (`SIGSTOP`), and go on at the fault's end (`SIGCONT`).
    Freeze {
        /// Which processes.
        victims: Victims,
    },
    /// Processors are kept busy, in the first container's control group.
    Cpu {
        /// Of each worker's time.
        percent: u8,
        /// How many workers; 0: as many as there are processors.
        workers: u16,
    },
    /// Memory is held, in the first container's control group.
    Memory {
        /// Of the task's limit, or of the machine's memory where there is none.
        percent: u8,
    },
    /// Files are written and read, in the first container.
    Io {
        /// Of the free space of its file system that is used.
        percent: u8,
        /// How many workers.
        workers: u16,
    },
    /// Packets of a port are dropped in the task's networks.
    Blackhole {
        /// The port.
        port: u16,
        /// `tcp` rather than `udp`.
        tcp: bool,
        /// Packets that come, rather than packets that go.
        ingress: bool,
    },
    /// Packets are lost in the task's networks, between its application and its sidecar.
    Loss {
        /// Of a hundred.
        percent: u8,
    },
}

/// Processes of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Victims {
    /// Its sidecar.
    Sidecar,
    /// Everything in its containers.
    Containers,
    /// Those in its containers whose command has this name.
    Named(String),
    /// The whole task: its shim, and with it all else. Not to be frozen.
    Task,
}

/// Why a fault was not begun or ended.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum FaultError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A task, cluster or fault is not there.
    #[error("{0}")]
    NotFound(String),
    /// As many faults as there may be, are.
    #[error("{FAULTS_MAX} faults are in force, which is as many as there may be")]
    TooMany,
    /// It could not be put in force; what was done of it is undone.
    #[error("the fault could not be put in force: {0}")]
    Failed(String),
}

/// A future of a [`FaultInjector`].
pub type FaultFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, FaultError>> + Send + 'a>>;

/// Puts faults in force, and ends them.
pub trait FaultInjector: Send + Sync + fmt::Debug {
    /// Returns when the fault is in force everywhere it was asked for. What it was begun with is undone where it could
    /// not be put in force whole.
    fn begin(&self, order: FaultOrder) -> FaultFuture<'_, Fault>;

    /// Ends a fault before its deadline; returns when nothing of it is left. Ending one that is over is no error.
    fn end(&self, id: FaultId) -> FaultFuture<'_, ()>;

    /// Those in force.
    fn faults(&self) -> Vec<Fault>;
}

impl FaultKind {
    /// Whether it can be of a share, [`FaultOrder::per_million`].
    #[must_use]
    pub fn has_share(&self) -> bool {
        match self {
            Self::Certificate { .. } | Self::Path { .. } => true,
            Self::Sidecar { harm, .. } => matches!(harm, SidecarHarm::Answers { .. }),
            Self::Name { .. } | Self::Task { .. } | Self::ControlPlane(_) => false,
        }
    }
}

impl FaultOrder {
    /// Whether it can be.
    ///
    /// # Errors
    /// Says which number is not within its bounds, or what names nobody.
    pub fn check(&self) -> Result<(), FaultError> {
        let refuse = |what: String| Err(FaultError::Invalid(what));
        if !(LASTING_MIN..=LASTING_MAX).contains(&self.lasting) {
            return refuse(format!("a fault lasts from one second to 12 hours, not {:?}", self.lasting));
        }
        if self.per_million == 0 || self.per_million > ALL {
            return refuse(format!("a share is from 1 to {ALL} in a million, not {}", self.per_million));
        }
        if self.per_million != ALL && !self.kind.has_share() {
            return refuse(
                "only faults of certificates, of paths and of answers can be of a share".to_owned(),
            );
        }
        let targets = match &self.kind {
            FaultKind::Certificate { tasks, .. }
            | FaultKind::Task { tasks, .. }
            | FaultKind::Sidecar { tasks, .. } => tasks.len(),
            FaultKind::Path { callers, .. } => callers.len(),
            FaultKind::Name { .. } => 1,
            FaultKind::ControlPlane(harm) => match harm {
                ControlPlaneHarm::NoIssuance { tasks, .. } | ControlPlaneHarm::Garbage { tasks } => {
                    tasks.len()
                }
                ControlPlaneHarm::Killed | ControlPlaneHarm::DiskFull => 1,
            },
        };
        if targets == 0 {
            return refuse("the fault names no task".to_owned());
        }
        if let FaultKind::ControlPlane(harm) = &self.kind {
            harm.check(self.lasting).or_else(refuse)?;
        }
        match &self.kind {
            FaultKind::Sidecar { harm: SidecarHarm::Clock { ahead_ms }, .. }
                if *ahead_ms == 0 || Duration::from_millis(ahead_ms.unsigned_abs()) > CLOCK_MAX =>
            {
                return refuse(format!("a clock is wrong by 1 ms to 366 days, not by {ahead_ms} ms"));
            }
            FaultKind::Sidecar { harm: SidecarHarm::Answers { status, after }, .. }
                if !(400..600).contains(status) || *after > ANSWER_DELAY_MAX =>
            {
                return refuse(format!(
                    "an answer in place of an application's has a status of 400 to 599 and comes within a minute, \
                     not {status} after {after:?}"
                ));
            }
            _ => {}
        }
        let percent = match &self.kind {
            FaultKind::Path { harm: PathHarm::Loss { percent }, .. } => Some(percent),
            FaultKind::Task { harm, .. } => match harm {
                TaskHarm::Cpu { percent, .. }
                | TaskHarm::Memory { percent }
                | TaskHarm::Io { percent, .. }
                | TaskHarm::Loss { percent } => Some(percent),
                TaskHarm::Freeze { victims: Victims::Task } => {
                    return refuse("a whole task cannot be frozen: what thaws it is a part of it".to_owned());
                }
                _ => None,
            },
            _ => None,
        };
        match percent {
            Some(percent) if !(1..=100).contains(percent) => {
                refuse(format!("a percentage is from 1 to 100, not {percent}"))
            }
            _ => Ok(()),
        }
    }
}

impl ControlPlaneHarm {
    /// Whether it can last for so long.
    fn check(&self, lasting: Duration) -> Result<(), String> {
        match self {
            Self::Killed if lasting > AWAY_MAX => {
                Err(format!("the control plane is away for {AWAY_MAX:?} at most, not {lasting:?}"))
            }
            Self::NoIssuance { lifetime, .. } if !(LIFETIME_MIN..=LIFETIME_MAX).contains(lifetime) => Err(
                format!("a certificate lives from {LIFETIME_MIN:?} to {LIFETIME_MAX:?}, not {lifetime:?}"),
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(kind: FaultKind) -> FaultOrder {
        FaultOrder { kind, per_million: ALL, lasting: Duration::from_secs(10), cause: "a test".to_owned() }
    }

    fn loss(percent: u8) -> FaultOrder {
        order(FaultKind::Path {
            callers: vec!["a".repeat(32).parse().expect("an id")],
            cluster: "backend".to_owned(),
            called: Vec::new(),
            harm: PathHarm::Loss { percent },
        })
    }

    #[test]
    fn orders_that_cannot_be_are_refused() {
        assert_eq!(loss(20).check(), Ok(()));
        assert!(loss(0).check().is_err());
        assert!(loss(101).check().is_err());
        assert!(FaultOrder { per_million: 0, ..loss(1) }.check().is_err());
        assert!(FaultOrder { lasting: Duration::ZERO, ..loss(1) }.check().is_err());
        assert!(FaultOrder { lasting: LASTING_MAX + LASTING_MIN, ..loss(1) }.check().is_err());
        let nobody = FaultKind::Task { tasks: Vec::new(), harm: TaskHarm::Memory { percent: 1 } };
        assert!(order(nobody).check().is_err());
        let name = FaultKind::Name { name: "a.b".to_owned(), address: IpAddr::from([127, 0, 0, 1]) };
        assert_eq!(order(name.clone()).check(), Ok(()));
        assert!(FaultOrder { per_million: 1, ..order(name) }.check().is_err());
        let killed = order(FaultKind::ControlPlane(ControlPlaneHarm::Killed));
        assert_eq!(killed.check(), Ok(()));
        assert!(FaultOrder { lasting: AWAY_MAX * 2, ..killed }.check().is_err());
        let nobody = ControlPlaneHarm::Garbage { tasks: Vec::new() };
        assert!(order(FaultKind::ControlPlane(nobody)).check().is_err());
        let tasks = vec!["a".repeat(32).parse().expect("an id")];
        let brief = ControlPlaneHarm::NoIssuance { tasks, lifetime: Duration::from_secs(1) };
        assert!(order(FaultKind::ControlPlane(brief)).check().is_err());
    }

    #[test]
    fn clocks_and_answers_have_bounds() {
        let sidecar = |harm| {
            let tasks = vec!["a".repeat(32).parse().expect("an id")];
            order(FaultKind::Sidecar { tasks, harm })
        };
        let clock = |ahead_ms| sidecar(SidecarHarm::Clock { ahead_ms });
        assert_eq!((clock(-1).check(), clock(7_200_000).check()), (Ok(()), Ok(())));
        for wrong in [0, i64::MIN, i64::MAX] {
            assert!(clock(wrong).check().is_err(), "{wrong}");
        }
        assert!(FaultOrder { per_million: 1, ..clock(5) }.check().is_err());
        let answers = |status, after| sidecar(SidecarHarm::Answers { status, after });
        assert_eq!(FaultOrder { per_million: 1, ..answers(503, Duration::ZERO) }.check(), Ok(()));
        assert!(answers(200, Duration::ZERO).check().is_err());
        assert!(answers(503, ANSWER_DELAY_MAX * 2).check().is_err());
    }

    #[test]
    fn ids_are_read_as_written() {
        let id = FaultId::new(0xab);
        assert_eq!(id.as_str(), "flt-00000000000000ab");
        assert_eq!(id.as_str().parse(), Ok(id));
        for wrong in ["", "flt-", "flt-00000000000000aB", "flt-000000000000000", "00000000000000ab"] {
            assert!(wrong.parse::<FaultId>().is_err(), "{wrong}");
        }
    }
}
