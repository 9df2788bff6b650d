//! What the services know of the connection that a request came over.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bowline_model::identity::SpiffeId;
use rustls_pki_types::CertificateDer;
use tonic::Status;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::directory::Peer;

/// Requests per second that a connection may go on making. A proxy answers at
/// most one response per type and [`COALESCE`](crate::services::discovery::COALESCE), which is a quarter of it.
const REQUESTS_PER_SECOND: f64 = 1000.0;
/// Requests that a connection may make at once.
const REQUESTS_BURST: f64 = 2000.0;

/// A peer, and until when to believe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthenticatedPeer {
    pub(crate) peer: Peer,
    pub(crate) not_after: SystemTime,
}

impl AuthenticatedPeer {
    /// Reads the leaf of a chain that the handshake has verified; `None` if it
    /// is not as the verifier wants it.
    pub(crate) fn from_verified(leaf: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(leaf).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let (Some(uri), None) = (uris.next(), uris.next()) else { return None };
        let id: SpiffeId = uri.parse().ok()?;
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        let not_after = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        let serial = serial_text(certificate.raw_serial());
        Some(Self { peer: Peer { id, serial }, not_after })
    }
}

/// Lower-case hexadecimal, two digits a byte, without DER's sign byte.
fn serial_text(raw: &[u8]) -> String {
    let magnitude = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    magnitude.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    peer: Option<AuthenticatedPeer>,
    budget: Mutex<Budget>,
}

#[derive(Debug)]
struct Budget {
    requests: f64,
    as_of: Instant,
}

impl Connection {
    pub(crate) fn new(peer: Option<AuthenticatedPeer>) -> Self {
        Self { peer, budget: Mutex::new(Budget { requests: REQUESTS_BURST, as_of: Instant::now() }) }
    }

    /// The peer, if it showed a certificate that has not run out since.
    pub(crate) fn peer(&self) -> Result<&AuthenticatedPeer, Status> {
        let peer =
            self.peer.as_ref().ok_or_else(|| Status::unauthenticated("a client certificate is needed"))?;
        if peer.not_after < SystemTime::now() {
            return Err(Status::unauthenticated("the client certificate has expired"));
        }
        Ok(peer)
    }

    /// Takes `cost` requests out of the connection's budget.
    pub(crate) fn spend(&self, cost: f64) -> Result<(), Status> {
        self.spend_at(cost, Instant::now())
    }

    fn spend_at(&self, cost: f64, now: Instant) -> Result<(), Status> {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(budget.as_of).as_secs_f64() * REQUESTS_PER_SECOND;
        budget.requests = (budget.requests + earned).min(REQUESTS_BURST);
        budget.as_of = budget.as_of.max(now);
        if budget.requests < cost {
            return Err(Status::resource_exhausted("too many requests on this connection"));
        }
        budget.requests -= cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_runs_out_and_refills() {
        let connection = Connection::new(None);
        let start = connection.budget.lock().expect("nothing panicked").as_of;
        connection.spend_at(REQUESTS_BURST, start).expect("a burst is allowed");
        assert!(connection.spend_at(1.0, start).is_err());
        let later = start + Duration::from_millis(2);
        connection.spend_at(1.0, later).expect("it refilled");
        assert!(connection.spend_at(REQUESTS_BURST, later).is_err());
        assert!(connection.spend_at(REQUESTS_BURST + 1.0, start + Duration::from_secs(3600)).is_err());
    }

    #[test]
    fn serials_lose_only_the_sign_byte() {
        assert_eq!(serial_text(&[0x00, 0x8a, 0x01]), "8a01");
        assert_eq!(serial_text(&[0x0a, 0x01]), "0a01");
        assert_eq!(serial_text(&[0x00]), "00");
    }
}
