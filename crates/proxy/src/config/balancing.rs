//! How a cluster's endpoints are chosen, as a message has it.

use std::{sync::Arc, time::Duration};

use bowline_discovery::v1;
use bowline_model::balance::{Balancer, Terms, Zones};
use http::HeaderName;

use super::convert::{Invalid, invalid};

/// Most things that are looked at for a hash.
const HASH_KEYS_MAX: usize = 16;
/// Longest name of a cookie, in bytes.
const COOKIE_NAME_MAX: usize = 256;

/// See the module. The default is round robin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balancing {
    pub(crate) terms: Terms,
    /// What is hashed: the first that a request has.
    pub(crate) hash_on: Vec<HashKey>,
    /// The proxy's own zone.
    pub(crate) zone: Option<Arc<str>>,
}

/// A thing to hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HashKey {
    Header(HeaderName),
    Cookie(StickyCookie),
    Source,
}

/// A cookie that is set where it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StickyCookie {
    pub(crate) name: String,
    /// `None`: until the client's session ends.
    pub(crate) ttl: Option<Duration>,
    pub(crate) path: String,
}

pub(super) fn read(message: &v1::LoadBalancing) -> Result<Balancing, Invalid> {
    let balancer = match v1::Balancer::try_from(message.balancer) {
        Ok(v1::Balancer::RoundRobin) => Balancer::RoundRobin,
        Ok(v1::Balancer::LeastRequest) => Balancer::LeastRequest,
        Ok(v1::Balancer::PeakEwma) => Balancer::PeakEwma,
        Ok(v1::Balancer::Random) => Balancer::Random,
        Ok(v1::Balancer::RingHash) => Balancer::RingHash,
        Err(_) => {
            let reason = format!("{} is not known to this version", message.balancer);
            return Err(invalid("loadBalancing.balancer", reason));
        }
    };
    let zone = (!message.zone.is_empty()).then(|| Arc::from(message.zone.as_str()));
    Ok(Balancing {
        terms: Terms {
            balancer,
            slow_start: Duration::from_millis(message.slow_start_ms),
            panic_percent: message.panic_percent.min(100),
            zones: zone.as_ref().map(|_| Zones {
                min_endpoints: if message.zone_min_endpoints == 0 { 6 } else { message.zone_min_endpoints },
                callers_percent: message.zone_callers_percent.min(100),
            }),
        },
        hash_on: hash_keys("loadBalancing.hashOn", &message.hash_on)?,
        zone,
    })
}

pub(super) fn hash_keys(field: &str, keys: &[v1::HashKey]) -> Result<Vec<HashKey>, Invalid> {
    if keys.len() > HASH_KEYS_MAX {
        return Err(invalid(field, format!("at most {HASH_KEYS_MAX} are accepted")));
    }
    let named = |error: Invalid| invalid(format!("{field}{}", error.field), error.reason);
    keys.iter().map(|key| hash_key(key).map_err(named)).collect()
}

fn hash_key(key: &v1::HashKey) -> Result<HashKey, Invalid> {
    match (key.header.as_str(), &key.cookie, key.source) {
        ("", None, true) => Ok(HashKey::Source),
        ("", Some(cookie), false) => cookie_of(cookie).map(HashKey::Cookie),
        (name, None, false) if !name.is_empty() => HeaderName::from_bytes(name.as_bytes())
            .map(HashKey::Header)
            .map_err(|_| invalid(".header", format!("{name:?} is no header name"))),
        _ => Err(invalid("", "exactly one of header, cookie and source is needed")),
    }
}

fn cookie_of(cookie: &v1::HashCookie) -> Result<StickyCookie, Invalid> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = &cookie.name;
    if name.is_empty() || name.len() > COOKIE_NAME_MAX || !name.bytes().all(is_token) {
        return Err(invalid(".cookie.name", format!("{name:?} is no cookie's name")));
    }
    let path = if cookie.path.is_empty() { "/" } else { cookie.path.as_str() };
    // What could add attributes to it.
    if !path.starts_with('/') || path.bytes().any(|byte| !(0x21..0x7F).contains(&byte) || byte == b';') {
        return Err(invalid(".cookie.path", format!("{path:?} is no path")));
    }
    Ok(StickyCookie {
        name: name.clone(),
        ttl: (cookie.ttl_seconds > 0).then(|| Duration::from_secs(cookie.ttl_seconds)),
        path: path.to_owned(),
    })
}
