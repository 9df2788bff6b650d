//! What the environment of the container says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hyper::Uri;

/// The other service that this one calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Where its status is, for example `http://service-b-sc:8202/service-b/status`.
    pub(crate) url: Uri,
    /// The field of the answer that carries its response: `service_b_response` for `SERVICE_B_URL`.
    pub(crate) field: String,
}

/// The settings of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The service's name, which is also the first segment of its paths (`SERVICE_NAME`).
    pub(crate) service: String,
    /// Where to listen (`SERVER_HOST`, default 0.0.0.0, and `SERVER_PORT`).
    pub(crate) address: SocketAddr,
    /// The other service, if there is one (`SERVICE_A_URL` or `SERVICE_B_URL`).
    pub(crate) peer: Option<Peer>,
}

/// A variable that is missing or wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ConfigError {
    /// A variable without a default is not set.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// A variable's value is not of its form.
    #[error("{name}={value}: expected {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What the value must be.
        expected: &'static str,
    },
    /// Both URLs are set, so it is not known which one is the other service.
    #[error("SERVICE_A_URL and SERVICE_B_URL are both set: set only the one of the service to call")]
    TwoPeers,
}

impl Config {
    /// Reads the settings through `lookup`, which answers for one variable.
    pub(crate) fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let invalid =
            |name, value: &str, expected| ConfigError::Invalid { name, value: value.to_owned(), expected };

        let service = lookup("SERVICE_NAME").ok_or(ConfigError::Missing("SERVICE_NAME"))?;
        if !service.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(invalid("SERVICE_NAME", &service, "letters, digits, '-', '_' and '.'"));
        }
        let port = lookup("SERVER_PORT").ok_or(ConfigError::Missing("SERVER_PORT"))?;
        let port =
            port.parse::<u16>().map_err(|_| invalid("SERVER_PORT", &port, "a port from 0 to 65535"))?;
        let host = match lookup("SERVER_HOST") {
            Some(host) => {
                host.parse::<IpAddr>().map_err(|_| invalid("SERVER_HOST", &host, "an IP address"))?
            }
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let peer = match (lookup("SERVICE_A_URL"), lookup("SERVICE_B_URL")) {
            (Some(_), Some(_)) => return Err(ConfigError::TwoPeers),
            (Some(url), None) => Some(Peer::new("SERVICE_A_URL", &url, "service_a_response")?),
            (None, Some(url)) => Some(Peer::new("SERVICE_B_URL", &url, "service_b_response")?),
            (None, None) => None,
        };
        Ok(Self { service, address: SocketAddr::new(host, port), peer })
    }
}

impl Peer {
    fn new(name: &'static str, value: &str, field: &str) -> Result<Self, ConfigError> {
        let url =
            value.parse::<Uri>().ok().filter(|url| url.scheme_str() == Some("http") && url.host().is_some());
        match url {
            Some(url) => Ok(Self { url, field: field.to_owned() }),
            None => Err(ConfigError::Invalid {
                name,
                value: value.to_owned(),
                expected: "an http:// URL (the sidecar does the encryption)",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_env(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_of_the_demo_is_read() {
        let config = read(&[
            ("SERVICE_NAME", "service-a"),
            ("SERVER_PORT", "8201"),
            ("SERVICE_B_URL", "http://service-b-sc:8202/service-b/status"),
        ])
        .expect("the demo's own variables");
        assert_eq!(config.address, "0.0.0.0:8201".parse().expect("address"));
        let peer = config.peer.expect("a peer");
        assert_eq!(peer.field, "service_b_response");
        assert_eq!(peer.url.authority().expect("authority").as_str(), "service-b-sc:8202");
    }

    #[test]
    fn a_fault_names_its_variable() {
        assert_eq!(read(&[("SERVER_PORT", "1")]), Err(ConfigError::Missing("SERVICE_NAME")));
        for (name, value) in
            [("SERVER_PORT", "65536"), ("SERVER_HOST", "localhost"), ("SERVICE_B_URL", "https://b/status")]
        {
            let mut variables = vec![(name, value), ("SERVICE_NAME", "service-a"), ("SERVER_PORT", "8201")];
            variables.dedup_by_key(|(name, _)| *name);
            let error = read(&variables).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
        assert_eq!(
            read(&[
                ("SERVICE_NAME", "x"),
                ("SERVER_PORT", "1"),
                ("SERVICE_A_URL", "http://a/"),
                ("SERVICE_B_URL", "http://b/")
            ]),
            Err(ConfigError::TwoPeers)
        );
    }
}
