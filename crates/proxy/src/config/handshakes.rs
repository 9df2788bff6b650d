//! What handshakes are made with, kept as long as what it was made from stays the same.

use std::{collections::HashMap, sync::Arc};

use bowline_discovery::v1;
use bowline_model::identity::SpiffeId;
use rustls::sign::CertifiedKey;

use super::{HopConfigs, PublicTls, UpstreamTls, store::HeldIdentity};
use crate::tls::{
    self, ALPN_H2, ALPN_HTTP1, ALPN_TCP, ALPN_UPGRADE, Clock, staged::Shown, trust::TrustStore,
    verify::ExpectedServers,
};

/// The hop's configurations of a cluster, and what they were made from.
#[derive(Debug)]
pub(super) struct CachedHop {
    tls_generation: u64,
    mode: v1::TlsMode,
    protocol: v1::Protocol,
    identities: Vec<SpiffeId>,
    own: String,
    configs: Arc<HopConfigs>,
}

#[derive(Debug)]
pub(super) struct CachedPublic {
    keys: Vec<Arc<CertifiedKey>>,
    tls12: bool,
    config: Arc<rustls::ServerConfig>,
}

/// What the inbound side's configurations differ in, besides the moment that they are of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct InboundKey {
    pub(super) mode: v1::TlsMode,
    pub(super) protocol: v1::Protocol,
    /// Name of the Identity that is shown.
    pub(super) identity: String,
}

pub(super) fn inbound_config(
    cache: &mut HashMap<InboundKey, (u64, Arc<rustls::ServerConfig>)>,
    tls_generation: u64,
    shown: Option<&Shown>,
    trust: &Arc<TrustStore>,
    key: InboundKey,
) -> Option<Arc<rustls::ServerConfig>> {
    if let Some((generation, config)) = cache.get(&key)
        && *generation == tls_generation
    {
        return Some(Arc::clone(config));
    }
    let alpn: &[&[u8]] = match key.protocol {
        v1::Protocol::Tcp => &[ALPN_TCP],
        _ => &[ALPN_H2, ALPN_UPGRADE, ALPN_HTTP1],
    };
    let clients = match key.mode {
        v1::TlsMode::Plaintext => return None,
        v1::TlsMode::ServerOnly => None,
        v1::TlsMode::Mutual => Some(trust),
    };
    match tls::inbound_config(shown?, clients, alpn) {
        Ok(config) => {
            cache.insert(key, (tls_generation, Arc::clone(&config)));
            Some(config)
        }
        Err(error) => {
            tracing::error!(%error, "the inbound side cannot use the proxy's certificate");
            None
        }
    }
}

pub(super) fn public_config<'a>(
    cache: &mut HashMap<String, CachedPublic>,
    listener: &str,
    shown: impl Iterator<Item = &'a HeldIdentity>,
    tls12: bool,
) -> PublicTls {
    let keys: Vec<_> = shown.map(|held| Arc::clone(&held.key)).collect();
    if let Some(cached) = cache.get(listener)
        && cached.keys.len() == keys.len()
        && cached.keys.iter().zip(&keys).all(|(cached, key)| Arc::ptr_eq(cached, key))
        && cached.tls12 == tls12
    {
        return PublicTls::On(Arc::clone(&cached.config));
    }
    let Some((first, more)) = keys.split_first() else { return PublicTls::Waiting };
    match tls::public_config(first, more, tls12) {
        Ok(config) => {
            let cached = CachedPublic { keys, tls12, config: Arc::clone(&config) };
            cache.insert(listener.to_owned(), cached);
            PublicTls::On(config)
        }
        Err(error) => {
            tracing::error!(listener, %error, "the public certificate cannot be used");
            PublicTls::Waiting
        }
    }
}

pub(super) fn hop_configs(
    cache: &mut HashMap<String, CachedHop>,
    tls_generation: u64,
    shown: Option<&Shown>,
    trust: &Arc<TrustStore>,
    (name, protocol, mode, identities, own_name): (&str, v1::Protocol, v1::TlsMode, &[SpiffeId], &str),
) -> UpstreamTls {
    if mode == v1::TlsMode::Plaintext {
        return UpstreamTls::Plaintext;
    }
    if let Some(cached) = cache.get(name)
        && cached.tls_generation == tls_generation
        && cached.mode == mode
        && cached.protocol == protocol
        && cached.identities == identities
        && cached.own == own_name
    {
        return UpstreamTls::On(Arc::clone(&cached.configs));
    }
    // A server that proves itself alone asks for no certificate. One that begins to ask, before
    // this proxy is told, gets it.
    if mode == v1::TlsMode::Mutual && shown.is_none() {
        return UpstreamTls::Waiting;
    }
    let servers = ExpectedServers::new(identities.iter().cloned());
    let main = if protocol == v1::Protocol::Tcp { ALPN_TCP } else { ALPN_H2 };
    let made = tls::hop_config(shown, trust, servers.clone(), main, Clock::Process).and_then(|main| {
        let upgrade = tls::hop_config(shown, trust, servers.clone(), ALPN_UPGRADE, Clock::Process)?;
        let for_one = shown.is_some_and(Shown::differs);
        Ok(HopConfigs { main, upgrade, expected: Some(servers.clone()), for_one })
    });
    match made {
        Ok(configs) => {
            let configs = Arc::new(configs);
            let cached = CachedHop {
                tls_generation,
                mode,
                protocol,
                identities: identities.to_vec(),
                own: own_name.to_owned(),
                configs: Arc::clone(&configs),
            };
            cache.insert(name.to_owned(), cached);
            UpstreamTls::On(configs)
        }
        Err(error) => {
            tracing::error!(cluster = name, %error, "the hop cannot use the proxy's certificate");
            UpstreamTls::Waiting
        }
    }
}
