//! Where and how the AWS endpoint listens.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
};

use anyhow::{Context, bail};
use bowline_control::api::EndpointCertificate;

/// Where the AWS endpoint listens unless told otherwise: LocalStack's port, which `awslocal`,
/// `cdklocal` and `tflocal` expect.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:4566";

/// How the endpoint is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct EndpointArgs {
    /// Where the AWS endpoint listens. Default: 127.0.0.1:4566, or a free port where `up` finds
    /// that taken. On any other address than a loopback one it speaks TLS only, takes no key but
    /// those that were made, and limits how much each client may ask.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// PEM of the AWS endpoint's certificate, the chain after it. Default: off loopback one of
    /// Bowline's own authority, for --listen's address and --listen-name.
    #[arg(long, value_name = "FILE", requires = "listen_tls_key")]
    pub(crate) listen_tls_cert: Option<PathBuf>,
    /// PEM of the private key of --listen-tls-cert.
    #[arg(long, value_name = "FILE", requires = "listen_tls_cert")]
    pub(crate) listen_tls_key: Option<PathBuf>,
    /// A name or address by which clients call the AWS endpoint, for its certificate; can be given
    /// more than once.
    #[arg(long = "listen-name", value_name = "NAME", conflicts_with = "listen_tls_cert")]
    pub(crate) listen_names: Vec<String>,
}

/// The endpoint's socket, and what it is to show.
pub(crate) struct Endpoint {
    pub(crate) listener: TcpListener,
    /// `None`: plaintext.
    pub(crate) certificate: Option<EndpointCertificate>,
    /// `https://shop.internal:4566`.
    pub(crate) url: String,
}

impl EndpointArgs {
    /// Opens the socket. `or_any` allows another port where the default one is taken.
    ///
    /// # Errors
    /// The address cannot be listened on, or there is no name for a certificate.
    pub(crate) fn open(&self, or_any: bool) -> anyhow::Result<Endpoint> {
        let wanted = match self.listen {
            Some(given) => given,
            None => DEFAULT_LISTEN.parse().context("the default address")?,
        };
        let certificate = self.certificate(wanted.ip())?;
        let listener = match TcpListener::bind(wanted) {
            Ok(listener) => listener,
            Err(_) if or_any && self.listen.is_none() => {
                TcpListener::bind("127.0.0.1:0").context("no port is free for the AWS endpoint")?
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("the AWS endpoint cannot listen on {wanted}: name another address with --listen")
                });
            }
        };
        let address = listener.local_addr()?;
        let url = match (&certificate, self.listen_names.first()) {
            (None, _) => format!("http://{address}"),
            (Some(_), None) => format!("https://{address}"),
            (Some(_), Some(name)) => match name.parse::<IpAddr>() {
                Ok(ip) => format!("https://{}", SocketAddr::new(ip, address.port())),
                Err(_) => format!("https://{name}:{}", address.port()),
            },
        };
        Ok(Endpoint { listener, certificate, url })
    }

    fn certificate(&self, ip: IpAddr) -> anyhow::Result<Option<EndpointCertificate>> {
        if let (Some(certificate), Some(key)) = (&self.listen_tls_cert, &self.listen_tls_key) {
            let (certificate, key) = (certificate.clone(), key.clone());
            return Ok(Some(EndpointCertificate::Files { certificate, key }));
        }
        if ip.is_loopback() && self.listen_names.is_empty() {
            return Ok(None);
        }
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for name in &self.listen_names {
            match name.parse::<IpAddr>() {
                Ok(address) => drop(addresses.insert(address)),
                Err(_) => drop(names.insert(name.clone())),
            }
        }
        if !ip.is_unspecified() {
            addresses.insert(ip);
        } else if names.is_empty() && addresses.is_empty() {
            bail!(
                "--listen {ip}: say with --listen-name by which names or addresses clients call it, or give a \
                 certificate with --listen-tls-cert and --listen-tls-key"
            );
        }
        Ok(Some(EndpointCertificate::Own { names, addresses }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(listen: &str, names: &[&str]) -> EndpointArgs {
        EndpointArgs {
            listen: Some(listen.parse().expect("an address")),
            listen_tls_cert: None,
            listen_tls_key: None,
            listen_names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn only_loopback_is_plaintext() {
        let open = args("127.0.0.1:0", &[]).open(false).expect("opens");
        assert!(open.certificate.is_none() && open.url.starts_with("http://127.0.0.1:"), "{}", open.url);
        let error = args("0.0.0.0:0", &[]).open(false).err().expect("nobody knows its name");
        assert!(error.to_string().contains("--listen-name"), "{error}");

        let open = args("0.0.0.0:0", &["shop.internal", "192.0.2.1"]).open(false).expect("opens");
        assert!(open.url.starts_with("https://shop.internal:"), "{}", open.url);
        let Some(EndpointCertificate::Own { names, addresses }) = open.certificate else { panic!("own") };
        assert!(names.contains("shop.internal") && addresses.contains(&IpAddr::from([192, 0, 2, 1])));
        assert_eq!(addresses.len(), 1, "0.0.0.0 is nobody's name");

        let open = args("127.0.0.1:0", &["localhost"]).open(false).expect("opens");
        assert!(open.certificate.is_some(), "TLS on loopback for who wants it");
    }
}
