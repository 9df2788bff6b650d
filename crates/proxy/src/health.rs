//! What is known of an endpoint's health: ejections by outlier detection and
//! results of active checks. Shared by all workers; the request path reads
//! atomics only, and takes the lock only when something failed.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_model::{
    clock::Timestamp,
    outlier::{Outlier, OutlierPolicy},
};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::{
    config::{Cluster, HealthCheck, Upstream},
    dial::{DialError, HopKind, Target, accepted, dial},
    refusal::REFUSAL,
    run::Control,
    shared::Shared,
};

/// One endpoint's health.
#[derive(Debug, Default)]
pub(crate) struct EndpointHealth {
    /// Milliseconds since 1970; 0: never ejected.
    ejected_until: AtomicU64,
    /// Set while `outlier` holds failures, so that a success knows to reset.
    has_failures: AtomicBool,
    /// An active check says so.
    unhealthy: AtomicBool,
    outlier: Mutex<Outlier>,
}

impl EndpointHealth {
    /// Whether requests may go there.
    pub(crate) fn is_available(&self, now: Timestamp) -> bool {
        let until = self.ejected_until.load(Relaxed);
        (until == 0 || now.as_millis() >= until) && !self.unhealthy.load(Relaxed)
    }

    fn is_ejected(&self, now: Timestamp) -> bool {
        now.as_millis() < self.ejected_until.load(Relaxed)
    }

    /// The result of an active check, after its threshold.
    pub(crate) fn set_checked(&self, healthy: bool) {
        self.unhealthy.store(!healthy, Relaxed);
    }

    pub(crate) fn succeeded(&self) {
        if self.has_failures.load(Relaxed) {
            self.has_failures.store(false, Relaxed);
            self.outlier.lock().unwrap_or_else(PoisonError::into_inner).succeeded();
        }
    }
}

/// The health of a cluster's endpoints; lives as long as the cluster's name.
#[derive(Debug, Default)]
pub(crate) struct ClusterHealth {
    endpoints: Mutex<HashMap<(SocketAddr, String), Arc<EndpointHealth>>>,
    policy: Mutex<Option<OutlierPolicy>>,
}

impl ClusterHealth {
    pub(crate) fn set_policy(&self, policy: Option<OutlierPolicy>) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// The health of exactly these endpoints; what is known of others is dropped.
    pub(crate) fn of<'a>(
        &self,
        endpoints: impl Iterator<Item = (SocketAddr, &'a str)>,
    ) -> Vec<Arc<EndpointHealth>> {
        let mut known = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::new();
        let healths = endpoints
            .map(|(address, task)| {
                let key = (address, task.to_owned());
                let health = known.get(&key).cloned().unwrap_or_default();
                kept.insert(key, Arc::clone(&health));
                health
            })
            .collect();
        *known = kept;
        healths
    }

    /// A request or connection to `endpoint` failed; true if that ejects it.
    pub(crate) fn failed(&self, endpoint: &EndpointHealth, now: Timestamp) -> bool {
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(policy) = policy else { return false };
        endpoint.has_failures.store(true, Relaxed);
        let mut outlier = endpoint.outlier.lock().unwrap_or_else(PoisonError::into_inner);
        if !outlier.failed(now, &policy) {
            return false;
        }
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let ejected = endpoints.values().filter(|health| health.is_ejected(now)).count();
        if !policy.allows_ejection(ejected, endpoints.len()) {
            return false;
        }
        endpoint.ejected_until.store(outlier.eject(now, &policy).as_millis(), Relaxed);
        true
    }
}

/// How often the set of checks is compared with the configuration.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// Most endpoints checked at once, over all clusters.
const CHECKS_MAX: usize = 10_000;

/// Runs the active checks of all clusters that ask for them.
pub(crate) async fn check_forever(control: Control) {
    let shared = Arc::clone(&control.lock().shared);
    drop(control);
    let mut running: HashMap<(Arc<str>, SocketAddr, String), tokio::task::AbortHandle> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let snapshot = shared.snapshot.load_full();
        let mut wanted = HashMap::new();
        for cluster in snapshot.clusters.values().filter(|cluster| cluster.health_check.is_some()) {
            let Upstream::Mesh(mesh) = &cluster.upstream else { continue };
            for endpoint in mesh.endpoints.iter().filter(|endpoint| !endpoint.draining) {
                let key = (Arc::clone(&cluster.name), endpoint.address, endpoint.task_id.clone());
                if wanted.len() < CHECKS_MAX {
                    wanted.insert(key, Arc::clone(&endpoint.health));
                }
            }
        }
        running.retain(|key, task| {
            let keep = wanted.contains_key(key) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, health) in wanted {
            if let Entry::Vacant(entry) = running.entry(key) {
                let (cluster, address, _) = entry.key().clone();
                entry.insert(tasks.spawn(check_endpoint(Arc::clone(&shared), cluster, address, health)));
            }
        }
        while tasks.try_join_next().is_some() {}
        tokio::time::sleep(LOOK_AROUND).await;
    }
}

/// Checks one endpoint for as long as it exists.
async fn check_endpoint(
    shared: Arc<Shared>,
    name: Arc<str>,
    address: SocketAddr,
    health: Arc<EndpointHealth>,
) {
    let (mut good, mut bad) = (0u32, 0u32);
    // As a target group's target: not used before its first checks pass.
    let mut healthy = None;
    loop {
        let snapshot = shared.snapshot.load_full();
        let Some(cluster) = snapshot.clusters.get(&name) else { return };
        let Some(check) = cluster.health_check.clone() else {
            return health.set_checked(true);
        };
        let Upstream::Mesh(mesh) = &cluster.upstream else { return };
        let Some(endpoint) = mesh.endpoints.iter().find(|endpoint| endpoint.address == address) else {
            return;
        };
        let target = Target::Endpoint(Arc::clone(endpoint));
        let passed = tokio::time::timeout(check.timeout, check_once(&shared, cluster, &check, &target)).await;
        if let Ok(Err(error)) = &passed
            && error.is_refusal()
        {
            // That says nothing of the endpoint's health.
            tracing::warn!(cluster = &*name, endpoint = %address, %error, "a health check was refused");
            tokio::time::sleep(check.interval).await;
            continue;
        }
        let passed = matches!(passed, Ok(Ok(())));
        (good, bad) = if passed { (good.saturating_add(1), 0) } else { (0, bad.saturating_add(1)) };
        let verdict = match healthy {
            // The first check decides alone, as an ALB's does.
            None => Some(passed),
            Some(_) if good >= check.healthy_threshold => Some(true),
            Some(_) if bad >= check.unhealthy_threshold => Some(false),
            Some(before) => Some(before),
        };
        if verdict != healthy {
            let healthy = verdict == Some(true);
            tracing::info!(cluster = &*name, endpoint = %address, healthy, "health check");
            health.set_checked(healthy);
        }
        healthy = verdict;
        tokio::time::sleep(check.interval).await;
    }
}

/// Why a check failed.
#[derive(Debug, Error)]
enum CheckError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("answered {0}")]
    Status(u16),
    #[error("the authorization policy does not allow it")]
    NotAuthorized,
}

impl CheckError {
    /// Whether an identity was refused.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Dial(error) => error.refusal().is_some(),
            Self::NotAuthorized => true,
            Self::Http(_) | Self::Status(_) => false,
        }
    }
}

async fn check_once(
    shared: &Shared,
    cluster: &Cluster,
    check: &HealthCheck,
    target: &Target,
) -> Result<(), CheckError> {
    let stream = dial(shared, cluster, target, HopKind::Main).await?;
    let stream = accepted(cluster, target, stream).await?;
    let Some(path) = &check.path else { return Ok(()) };
    let (mut sender, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::new(Empty::new());
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = target.address().to_string().parse().ok();
    uri.path_and_query = Some(path.clone());
    *request.uri_mut() = http::Uri::from_parts(uri).unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_2;
    request
        .headers_mut()
        .insert(http::header::USER_AGENT, http::HeaderValue::from_static("ELB-HealthChecker/2.0"));
    let response = sender.send_request(request).await;
    connection.abort();
    let response = response?;
    if response.headers().contains_key(&REFUSAL) {
        return Err(CheckError::NotAuthorized);
    }
    let status = response.status().as_u16();
    match check.matcher.iter().any(|(low, high)| (*low..=*high).contains(&status)) {
        true => Ok(()),
        false => Err(CheckError::Status(status)),
    }
}
