//! What experiments have in common: their texts as data, the measures by which they are judged, and what they do alike.

use std::{fmt, time::Duration};

use bowline_model::{experiment::Finding, fault::ALL, task::TaskId};
use tokio::time::{self, Instant};

use crate::{
    attack::{AttackError, Credentials},
    experiment::{Experiment, ExperimentError, Stage, Trial},
    scope::Scope,
    system::{Forged, Mesh},
};

/// Times and amounts of the experiments: all that they go by stands here.
pub(super) mod measures {
    use std::time::Duration;

    /// How long after the fault's end connections that it had closed, or endpoints that it had ejected, may be gone.
    pub(in super::super) const RECOVERY: Duration = Duration::from_secs(8);
    /// How long the replacement of tasks may take, from when they end until they serve.
    pub(in super::super) const REPLACEMENT: Duration = Duration::from_secs(30);
    /// How often the mesh is looked at while something is awaited.
    pub(in super::super) const LOOK: Duration = Duration::from_millis(200);
    /// How long stolen and forged certificates last.
    pub(in super::super) const FORGED: Duration = Duration::from_secs(30);
    /// Within this every sidecar knows of a certificate that it is revoked.
    pub(in super::super) const TOLD: Duration = Duration::from_secs(1);
    /// Packets that are lost in each direction, of a hundred.
    pub(in super::super) const LOSS_PERCENT: u8 = 12;
    /// Renewals under loss, which make handshakes: so many, and so far apart.
    pub(in super::super) const HANDSHAKES_UNDER_LOSS: u32 = 5;
    pub(in super::super) const BETWEEN_HANDSHAKES: Duration = Duration::from_millis(1_100);
    /// By how much handshakes are delayed, each way, and by how much more or less at random.
    pub(in super::super) const HANDSHAKE_DELAY: Duration = Duration::from_millis(150);
    pub(in super::super) const HANDSHAKE_JITTER: Duration = Duration::from_millis(20);
    /// Most connections between the two sidecars of one pair that a fault's time needs, however many requests there are.
    pub(in super::super) const CONNECTIONS_MAX: u64 = 24;
    /// The load of many: requests per second from within the caller's task, beside those of so many other connections.
    pub(in super::super) const HIGH_RATE: u32 = 100;
    pub(in super::super) const HIGH_LOAD_CONNECTIONS: usize = 32;
    pub(in super::super) const HIGH_LOAD_RATE: u32 = 600;
    /// Half of the path's own delay under high load: makes who shakes hands for each request slow.
    pub(in super::super) const HIGH_LOAD_DELAY: Duration = Duration::from_millis(1);
    /// How long 99 of 100 requests may take under load.
    pub(in super::super) const LOADED_P99: Duration = Duration::from_millis(1_000);
    /// A flood: requests per second, on so many connections, and workers that only shake hands.
    pub(in super::super) const FLOOD_RATE: u32 = 500;
    pub(in super::super) const FLOOD_CONNECTIONS: usize = 16;
    pub(in super::super) const FLOOD_HANDSHAKERS: usize = 4;
    /// Connections that begin a handshake and go on no further, and how soon a sidecar has to close them.
    pub(in super::super) const LINGERERS: usize = 300;
    pub(in super::super) const LINGERERS_CLOSED: Duration = Duration::from_secs(7);
    /// How often a connection that is to outlive renewals makes a request.
    pub(in super::super) const BEAT: Duration = Duration::from_millis(50);
    /// Within this the caller's task has asked for names, and what it sends is led astray.
    pub(in super::super) const SPOOF_DETECTED: Duration = Duration::from_secs(8);
    /// How often connections are made anew where a fault is of a share of them, and how far apart.
    pub(in super::super) const RECONNECTIONS: u32 = 6;
    pub(in super::super) const BETWEEN_RECONNECTIONS: Duration = Duration::from_millis(400);
    /// A sidecar whose certificate is renewed is killed when another was issued: within this, and looked for so often.
    pub(in super::super) const ISSUED: Duration = Duration::from_secs(5);
    pub(in super::super) const INTO_RENEWAL: Duration = Duration::from_millis(2);
    /// How long it may take until it serves with the certificate that was issued to it.
    pub(in super::super) const SIDECAR_BACK: Duration = Duration::from_secs(15);
    /// A clock that is so slow does no harm: certificates begin a minute before they are made.
    pub(in super::super) const SKEW_TOLERATED: Duration = Duration::from_secs(40);
    /// By a clock that is so slow nothing that was made just now is valid yet.
    pub(in super::super) const SKEW_REFUSED: Duration = Duration::from_secs(2 * 3_600);
    /// From when clocks are a little slow, they are very slow by then.
    pub(in super::super) const SKEW_DETECTED: Duration = Duration::from_secs(15);
    /// A path works for so long before it goes silent in one direction: connections are there by then.
    pub(in super::super) const BEFORE_SILENCE: Duration = Duration::from_secs(1);
    /// So long a request may take that met a connection which has gone silent.
    pub(in super::super) const SILENCE_FOUND: Duration = Duration::from_secs(8);
    /// How long a service answers 503 to all, and each after how long.
    pub(in super::super) const STORM: Duration = Duration::from_secs(5);
    pub(in super::super) const STORM_ANSWER: Duration = Duration::from_millis(300);
    /// How soon after it success is back.
    pub(in super::super) const STORM_OVER: Duration = Duration::from_secs(2);
    /// Tries for each request, at least for the load to have come, and at most.
    pub(in super::super) const TRIES_MIN: f64 = 0.7;
    pub(in super::super) const TRIES_MAX: f64 = 1.8;
}

/// Chooses whom an experiment is made of: [`Experiment::prepare`].
type Prepare = fn(&Mesh, &Scope) -> Result<Box<dyn Trial>, ExperimentError>;

/// An experiment whose texts are data.
pub struct Described {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) hypothesis: &'static str,
    pub(super) how: &'static str,
    pub(super) expected: &'static str,
    pub(super) prepare: Prepare,
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Described").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Experiment for Described {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn hypothesis(&self) -> &'static str {
        self.hypothesis
    }

    fn how(&self) -> &'static str {
        self.how
    }

    fn expected(&self) -> &'static str {
        self.expected
    }

    fn prepare(&self, mesh: &Mesh, scope: &Scope) -> Result<Box<dyn Trial>, ExperimentError> {
        (self.prepare)(mesh, scope)
    }
}

impl From<AttackError> for ExperimentError {
    fn from(error: AttackError) -> Self {
        Self::failed(error.to_string())
    }
}

/// A certificate of the task's own identity, as who has got into its memory has it, and what can be done with it.
pub(super) async fn steal(stage: &Stage, task: &TaskId) -> Result<(Forged, Credentials), ExperimentError> {
    let stolen = stage.system().forge(task.clone(), None, measures::FORGED).await?;
    let credentials = Credentials::of(&stolen)?;
    Ok((stolen, credentials))
}

/// Has the caller's sidecars make connections anew again and again, where the fault is of a share of them: who keeps a few
/// may never meet it.
pub(super) async fn reconnect_if_shared(stage: &Stage, callers: Vec<TaskId>) -> Result<(), ExperimentError> {
    if stage.scope().per_million == ALL {
        return Ok(());
    }
    for _ in 0..measures::RECONNECTIONS {
        stage.system().renew(callers.clone()).await?;
        time::sleep(measures::BETWEEN_RECONNECTIONS).await;
    }
    Ok(())
}

/// Waits until the service has as many healthy tasks as it wants, none of them among `old`. How many there were in the
/// end, and whether that was in time.
pub(super) async fn replaced(
    stage: &Stage,
    service: &str,
    wanted: usize,
    old: &[TaskId],
) -> Result<Finding, ExperimentError> {
    let begin = Instant::now();
    let (healthy, is_back) = loop {
        let mesh = stage.system().mesh().await?;
        let tasks = mesh.service(service).map(|service| service.healthy_ids()).unwrap_or_default();
        let is_back = tasks.len() >= wanted && old.iter().all(|old| !tasks.contains(old));
        if is_back || begin.elapsed() >= measures::REPLACEMENT {
            break (tasks.len(), is_back);
        }
        time::sleep(measures::LOOK).await;
    };
    let within = measures::REPLACEMENT.as_secs();
    let what =
        format!("{service} has {wanted} healthy tasks in the place of those that ended within {within} s");
    Ok(Finding::new(what, is_back, format!("{healthy} after {:.1} s", seconds(begin.elapsed()))))
}

/// For people.
pub(super) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// A certificate's serial number, lower-case hexadecimal without leading zeros: the first integer of its body but its
/// version (RFC 5280 §4.1). `None`: it is no certificate.
pub(super) fn serial_of(certificate: &[u8]) -> Option<String> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    const INTEGER: u8 = 0x02;
    let (body, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(body, SEQUENCE)?;
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    let (serial, _) = element(fields, INTEGER)?;
    let text: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
    let trimmed = text.trim_start_matches('0');
    Some(if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() })
}

/// Contents of DER's first element, which has to have this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (first == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_read_and_nothing_else_is() {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.serial_number = Some(rcgen::SerialNumber::from(vec![0x00, 0xab, 0x01, 0x02]));
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signs");
        assert_eq!(serial_of(certificate.der()).as_deref(), Some("ab0102"));
        for cut in 0..40 {
            let _ = serial_of(&certificate.der()[..cut]);
        }
        assert_eq!(serial_of(b""), None);
        assert_eq!(serial_of(&[0x30, 0x84, 1, 1, 1, 1]), None);
    }
}
