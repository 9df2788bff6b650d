//! What is outside the mesh: how its endpoints are spoken to.

use std::{net::IpAddr, sync::Arc};

use bowline_discovery::v1;
use bowline_model::network::{ALIAS_NETWORK, is_never_egress, is_within};
use rustls::RootCertStore;
use rustls_pki_types::ServerName;

use super::{
    Endpoint, HopConfigs,
    convert::{Invalid, invalid, is_host_name},
};
use crate::tls::origination;

/// Most characters of the roots that one cluster brings.
const ROOTS_PEM_MAX: usize = 256 * 1024;

/// Servers outside the mesh.
#[derive(Debug)]
pub(crate) struct ExternalUpstream {
    pub(crate) security: ExternalSecurity,
    /// Of host names: one for each address that they stand for now.
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
}

/// How the way to a server outside the mesh is protected.
#[derive(Clone, Debug)]
pub(crate) enum ExternalSecurity {
    /// On purpose not at all.
    Plain,
    /// The proxy begins TLS.
    Tls(ExternalTls),
    /// Nothing goes there; the reason is for people.
    Refused(Arc<str>),
}

/// TLS towards a server outside the mesh.
#[derive(Clone, Debug)]
pub(crate) struct ExternalTls {
    pub(crate) configs: Arc<HopConfigs>,
    /// What the certificate must be for, where the endpoint says nothing else.
    pub(crate) server_name: ServerName<'static>,
}

/// [`ExternalSecurity`] before its TLS configuration is made.
#[derive(Debug, PartialEq)]
pub(crate) enum SecurityDraft {
    Plain,
    Tls(TlsDraft),
    Refused(Arc<str>),
}

/// TLS as the stream asks for it.
#[derive(Clone, Debug)]
pub(crate) struct TlsDraft {
    pub(crate) roots: RootsDraft,
    pub(crate) server_name: ServerName<'static>,
    /// TLS 1.2 is spoken where the server has nothing newer.
    pub(crate) tls12: bool,
}

impl PartialEq for TlsDraft {
    fn eq(&self, other: &Self) -> bool {
        let roots = match (&self.roots, &other.roots) {
            (RootsDraft::System, RootsDraft::System) => true,
            (RootsDraft::Given { pem: a, .. }, RootsDraft::Given { pem: b, .. }) => a == b,
            _ => false,
        };
        roots && self.server_name == other.server_name && self.tls12 == other.tls12
    }
}

/// Who is believed.
#[derive(Clone, Debug)]
pub(crate) enum RootsDraft {
    /// The machine's bundle, read when the configuration is made.
    System,
    /// These alone; the text they were read from tells them apart.
    Given { pem: Arc<str>, store: Arc<RootCertStore> },
}

pub(crate) fn security(message: &v1::ExternalUpstream) -> Result<SecurityDraft, Invalid> {
    use v1::external_upstream::Security;
    Ok(match &message.security {
        None => return Err(invalid("external.security", "one of plain, tls and refused is needed")),
        Some(Security::Plain(_)) => SecurityDraft::Plain,
        Some(Security::Refused(refused)) => SecurityDraft::Refused(Arc::from(refused.reason.as_str())),
        Some(Security::Tls(tls)) => SecurityDraft::Tls(tls_draft(tls)?),
    })
}

fn tls_draft(message: &v1::TlsOrigination) -> Result<TlsDraft, Invalid> {
    use v1::tls_origination::Roots;
    let roots = match &message.roots {
        None => return Err(invalid("external.tls.roots", "one of system and rootsPem is needed")),
        Some(Roots::System(_)) => RootsDraft::System,
        Some(Roots::RootsPem(pem)) => {
            let field = "external.tls.rootsPem";
            if pem.len() > ROOTS_PEM_MAX {
                return Err(invalid(field, format!("more than {ROOTS_PEM_MAX} characters")));
            }
            let store = origination::roots_from_pem(pem.as_bytes())
                .map_err(|error| invalid(field, error.to_string()))?;
            RootsDraft::Given { pem: Arc::from(pem.as_str()), store: Arc::new(store) }
        }
    };
    let tls12 = match message.min_version.as_str() {
        "" | "1.2" => true,
        "1.3" => false,
        other => {
            return Err(invalid("external.tls.minVersion", format!("{other:?}; 1.2 and 1.3 are allowed")));
        }
    };
    Ok(TlsDraft { roots, server_name: server_name("external.tls.serverName", &message.server_name)?, tls12 })
}

/// A name that a certificate can be for.
pub(crate) fn server_name(field: &str, text: &str) -> Result<ServerName<'static>, Invalid> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| invalid(field, format!("{text:?} is no DNS name and no IP address")))
}

/// A host name that is to be resolved.
pub(crate) fn host_name(field: &str, text: &str) -> Result<Arc<str>, Invalid> {
    if !is_host_name(text) || text.parse::<IpAddr>().is_ok() {
        return Err(invalid(field, format!("{text:?} is no host name")));
    }
    Ok(Arc::from(text.to_ascii_lowercase()))
}

/// Which of the addresses that a name stands for are connected to: never what is this machine's
/// own or an instance's credentials, which whoever owns the name's zone could point it to. Only a
/// name of this machine (RFC 6761 §6.3) stands for its loopback. IPv4 where there is any: a machine
/// without a route for IPv6 is more common than a server without IPv4.
pub(crate) fn usable(name: &str, addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let local = name == "localhost" || name.ends_with(".localhost");
    let mut usable: Vec<IpAddr> = addresses
        .map(|address| address.to_canonical())
        .filter(|address| match address {
            IpAddr::V4(v4) if v4.is_loopback() => local,
            IpAddr::V4(v4) => !is_never_egress(*v4) && !is_within(*v4, ALIAS_NETWORK),
            IpAddr::V6(v6) if v6.is_loopback() => local,
            IpAddr::V6(v6) => {
                !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local() && !metadata(*v6)
            }
        })
        .collect();
    if usable.iter().any(IpAddr::is_ipv4) {
        usable.retain(IpAddr::is_ipv4);
    }
    usable.sort_unstable();
    usable.dedup();
    usable
}

/// Where AWS answers with a machine's credentials over IPv6.
fn metadata(address: std::net::Ipv6Addr) -> bool {
    address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable_of(name: &str, addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address"));
        usable(name, addresses).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_stands_for_no_address_that_its_owner_could_harm_with() {
        let bad = ["127.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254", "fe80::1", "::ffff:127.0.0.1"];
        assert!(usable_of("evil.example", &bad).is_empty());
        assert!(usable_of("evil.example", &["198.18.0.2", "0.0.0.0", "224.0.0.1", "::"]).is_empty());
        assert_eq!(usable_of("localhost", &["::1", "127.0.0.1"]), ["127.0.0.1"]);
        assert_eq!(
            usable_of("a.example", &["2001:db8::1", "192.0.2.2", "192.0.2.1"]),
            ["192.0.2.1", "192.0.2.2"]
        );
        assert_eq!(usable_of("a.example", &["2001:db8::1"]), ["2001:db8::1"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        use v1::{external_upstream::Security, tls_origination::Roots};
        let tls = |roots, name: &str, version: &str| {
            let tls = v1::TlsOrigination { roots, server_name: name.into(), min_version: version.into() };
            security(&v1::ExternalUpstream { security: Some(Security::Tls(tls)) })
        };
        let field = |result: Result<SecurityDraft, Invalid>| result.expect_err("refused").field;
        let system = || Some(Roots::System(v1::SystemRoots {}));
        assert!(tls(system(), "db.example", "1.3").is_ok());
        assert!(tls(system(), "192.0.2.1", "").is_ok());
        assert_eq!(field(tls(None, "db.example", "")), "external.tls.roots");
        assert_eq!(field(tls(Some(Roots::RootsPem("x".into())), "db.example", "")), "external.tls.rootsPem");
        assert_eq!(field(tls(system(), "", "")), "external.tls.serverName");
        assert_eq!(field(tls(system(), "db example", "")), "external.tls.serverName");
        assert_eq!(field(tls(system(), "db.example", "1.1")), "external.tls.minVersion");
        assert_eq!(field(security(&v1::ExternalUpstream::default())), "external.security");
    }
}
