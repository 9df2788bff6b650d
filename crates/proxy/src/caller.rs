//! Who calls, as the hop proves it, and what the called application is told of it.

use std::{cell::RefCell, collections::HashMap, fmt::Write, rc::Rc};

use bowline_model::identity::SpiffeId;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls_pki_types::CertificateDer;

use crate::{
    headers::CLIENT_CERT,
    tls::verify::{IdentityFault, PeerIdentity, peer_identity},
};

/// nginx's name for the result of the check of a client's certificate.
static CLIENT_VERIFY: HeaderName = HeaderName::from_static("x-ssl-client-verify");
/// The caller's SPIFFE id.
static CLIENT_SPIFFE_ID: HeaderName = HeaderName::from_static("x-ssl-client-spiffe-id");
/// Names that begin so are the mesh's alone.
const CLIENT_PREFIX: &str = "x-ssl-client-";

/// Who calls.
#[derive(Debug)]
pub(crate) struct Caller {
    /// `None` where the operator chose a hop without client certificates.
    pub(crate) identity: Option<PeerIdentity>,
    told: Option<Told>,
}

/// The values of the headers.
#[derive(Debug)]
struct Told {
    certificate: HeaderValue,
    id: HeaderValue,
}

impl Caller {
    /// One that has proved nothing.
    pub(crate) fn unproved() -> Self {
        Self { identity: None, told: None }
    }

    /// One that has proved `identity` with the certificate `leaf`; `own` is this proxy's id.
    pub(crate) fn proved(identity: PeerIdentity, leaf: &CertificateDer<'_>, own: Option<&SpiffeId>) -> Self {
        let certificate = client_cert(own, leaf, &identity.id);
        // SPIFFE ids are ASCII without spaces.
        let told = certificate.and_then(|certificate| {
            Some(Told { certificate, id: HeaderValue::from_str(identity.id.as_str()).ok()? })
        });
        Self { identity: Some(identity), told }
    }

    /// The caller's SPIFFE id.
    pub(crate) fn id(&self) -> Option<&SpiffeId> {
        self.identity.as_ref().map(|identity| &identity.id)
    }

    /// The same as a header has it, which costs nothing to copy.
    pub(crate) fn shown_id(&self) -> Option<&HeaderValue> {
        self.told.as_ref().map(|told| &told.id)
    }

    /// Puts what the mesh vouches for in the place of what the caller says of itself.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        strip(headers);
        if let Some(told) = &self.told {
            headers.insert(CLIENT_CERT.clone(), told.certificate.clone());
            headers.insert(CLIENT_VERIFY.clone(), HeaderValue::from_static("SUCCESS"));
            headers.insert(CLIENT_SPIFFE_ID.clone(), told.id.clone());
        }
    }
}

/// Most callers that a worker keeps.
const CALLERS_MAX: usize = 1_024;

/// Callers by their certificates, which each shows for as long as it is valid: it is read once.
///
/// What is kept follows from the certificate's bytes and this proxy's id alone. Whether it is believed is decided before,
/// in each handshake.
#[derive(Debug, Default)]
pub(crate) struct Callers(RefCell<HashMap<Vec<u8>, Known>>);

#[derive(Debug)]
struct Known {
    own: Option<SpiffeId>,
    caller: Rc<Caller>,
}

impl Callers {
    /// Who has proved to have the certificate `leaf`, which names an identity; `own` is this proxy's id.
    pub(crate) fn of(
        &self,
        leaf: &CertificateDer<'_>,
        own: Option<&SpiffeId>,
    ) -> Result<Rc<Caller>, IdentityFault> {
        let mut known = self.0.borrow_mut();
        if let Some(known) = known.get(&leaf[..])
            && known.own.as_ref() == own
        {
            return Ok(Rc::clone(&known.caller));
        }
        let caller = Rc::new(Caller::proved(peer_identity(leaf)?, leaf, own));
        if known.len() >= CALLERS_MAX {
            known.clear();
        }
        known.insert(leaf.to_vec(), Known { own: own.cloned(), caller: Rc::clone(&caller) });
        Ok(caller)
    }
}

/// Removes what only the mesh may say of a caller. Underscores count as dashes: to a CGI-like
/// application (`HTTP_X_SSL_CLIENT_VERIFY`) both are the same name.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let is_claim = |name: &&HeaderName| {
        let name = name.as_str().as_bytes();
        let is = |expected: &[u8]| {
            name.len() >= expected.len()
                && name.iter().zip(expected).all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
        };
        // Nearly every header is told apart by its first bytes.
        name.first() == Some(&b'x')
            && (is(CLIENT_PREFIX.as_bytes())
                || (name.len() == CLIENT_CERT.as_str().len() && is(CLIENT_CERT.as_str().as_bytes())))
    };
    if headers.keys().any(|name| is_claim(&name)) {
        let claims: Vec<HeaderName> = headers.keys().filter(is_claim).cloned().collect();
        for name in claims {
            headers.remove(name);
        }
    }
}

/// `By=…;Hash=…;URI=…` as Envoy writes it.
fn client_cert(own: Option<&SpiffeId>, leaf: &CertificateDer<'_>, caller: &SpiffeId) -> Option<HeaderValue> {
    let mut text = String::with_capacity(256);
    if let Some(own) = own {
        // Writing to a String cannot fail.
        let _ = write!(text, "By={own};");
    }
    text.push_str("Hash=");
    for byte in aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    let _ = write!(text, ";URI={caller}");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn forged() -> HeaderMap {
        let names = [
            "x-forwarded-client-cert",
            "x_forwarded_client_cert",
            "x-ssl-client-verify",
            "x_ssl-client_verify",
            "x-ssl-client-spiffe-id",
            "x-ssl-client-s-dn",
        ];
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("forged"));
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("twice"));
        }
        headers
    }

    #[test]
    fn what_a_caller_says_of_itself_is_not_passed_on() {
        let mut headers = forged();
        for name in ["x-forwarded-for", "x-ssl-cipher", "x-ssl-clientele", "x-forwarded-client-certificate"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("stays"));
        }
        Caller::unproved().tell(&mut headers);
        assert_eq!(headers.len(), 4, "{headers:?}");
        assert!(headers.values().all(|value| value == "stays"));
    }

    #[test]
    fn the_called_application_is_told_who_calls() {
        let id: SpiffeId = "spiffe://d/ns/a/cluster/c/svc/s".parse().expect("an id");
        let own = SpiffeId::of_service("d", "a", "c", "t");
        let identity = PeerIdentity { id: id.clone(), serial: "1".into(), imported: false };
        let mut headers = forged();
        Caller::proved(identity, &CertificateDer::from(vec![1, 2, 3]), Some(&own)).tell(&mut headers);
        assert_eq!(headers.len(), 3, "{headers:?}");
        assert_eq!(headers["x-ssl-client-verify"], "SUCCESS");
        assert_eq!(headers["x-ssl-client-spiffe-id"], id.as_str());
        let hash = "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81";
        assert_eq!(headers["x-forwarded-client-cert"], format!("By={own};Hash={hash};URI={id}"));
    }

    #[test]
    fn a_certificate_is_read_once_for_each_id_of_this_proxy() {
        let leaf = |name: &str| {
            let mut params = CertificateParams::new(vec![]).expect("parameters");
            let id = format!("spiffe://d/ns/n/cluster/c/svc/{name}");
            params.subject_alt_names = vec![SanType::URI(id.try_into().expect("ASCII"))];
            params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").der().clone()
        };
        let (callers, own) = (Callers::default(), SpiffeId::of_service("d", "n", "c", "own"));
        let (one, other) = (leaf("one"), leaf("other"));
        let first = callers.of(&one, None).expect("an id");
        assert_eq!(first.id(), Some(&SpiffeId::of_service("d", "n", "c", "one")));
        assert!(Rc::ptr_eq(&first, &callers.of(&one, None).expect("an id")));
        assert_eq!(
            callers.of(&other, None).expect("an id").id().map(SpiffeId::as_str),
            Some("spiffe://d/ns/n/cluster/c/svc/other")
        );
        let told = callers.of(&one, Some(&own)).expect("an id");
        assert!(!Rc::ptr_eq(&first, &told));
        let mut headers = HeaderMap::new();
        told.tell(&mut headers);
        let text = headers["x-forwarded-client-cert"].to_str().expect("text");
        assert!(text.starts_with(&format!("By={own};")), "{text}");
        assert_eq!(
            callers.of(&CertificateDer::from(vec![1, 2, 3]), None).err(),
            Some(IdentityFault::Unreadable)
        );
        assert_eq!(callers.0.borrow().len(), 2);
    }

    #[test]
    fn so_many_callers_are_kept_and_no_more() {
        let callers = Callers::default();
        let known = || Known { own: None, caller: Rc::new(Caller::unproved()) };
        callers
            .0
            .borrow_mut()
            .extend((0..CALLERS_MAX).map(|number| (number.to_be_bytes().to_vec(), known())));
        let leaf = rcgen::generate_simple_self_signed([]).expect("signed").cert.der().clone();
        assert!(callers.of(&leaf, None).is_err());
        assert_eq!(callers.0.borrow().len(), CALLERS_MAX, "what has no identity is not kept");
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.subject_alt_names =
            vec![SanType::URI("spiffe://d/ns/n/cluster/c/svc/s".try_into().expect("ASCII"))];
        let leaf = params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").der().clone();
        assert!(callers.of(&leaf, None).is_ok());
        assert_eq!(callers.0.borrow().len(), 1);
    }
}
