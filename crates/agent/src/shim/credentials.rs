//! How a task's programs find the credentials of its role: by variables, as in ECS. The proxy
//! gives the credentials out; the shim decides to whom, and keeps that for the task's life, since
//! the programs' environment cannot change.

use std::{
    cell::RefMut,
    io,
    net::{SocketAddr, SocketAddrV4},
};

use bowline_model::{
    network::{AWS_ENDPOINT_PORT, CREDENTIALS_ADDRESS, CREDENTIALS_PORT},
    task::{Secret, TaskRole},
};
use bowline_plumbing::shim_link::{CredentialsAccess, Place, Transport};

use super::{
    host_network::HostNetwork,
    sockets::{KeptSockets, local_address, open},
};

/// Variables that name the files of SDKs' settings, which programs would find in the user's home.
const NO_FILES: [&str; 2] = ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"];

/// Who is given the credentials, and where they and the AWS endpoint are.
#[derive(Debug)]
pub(crate) struct Credentials {
    access: CredentialsAccess,
    region: String,
    /// On host networking, where 169.254.170.2 is not the task's: where its like listens.
    on_host: Option<SocketAddr>,
    endpoint: SocketAddr,
}

impl Credentials {
    /// Decides. On host networking opens the two sockets that the proxy will ask for, at the
    /// task's own loopback addresses and at free ports: port 80 is not everybody's to take there.
    ///
    /// # Errors
    /// The system gives no socket or no randomness, or the task has no address left.
    pub(crate) fn open(
        role: &TaskRole,
        network: Option<RefMut<'_, HostNetwork>>,
        sockets: &mut KeptSockets,
    ) -> io::Result<Self> {
        let access = CredentialsAccess::generate(network.is_none())?;
        let known = SocketAddrV4::new(CREDENTIALS_ADDRESS, CREDENTIALS_PORT);
        let endpoint = SocketAddrV4::new(CREDENTIALS_ADDRESS, AWS_ENDPOINT_PORT);
        let region = role.region.clone();
        let Some(mut network) = network else {
            return Ok(Self { access, region, on_host: None, endpoint: endpoint.into() });
        };
        let own = network
            .alias(CREDENTIALS_ADDRESS)
            .ok_or_else(|| io::Error::other("the task has no address left"))?;
        let mut instead_of = |asked| {
            let socket = open(Transport::Tcp, SocketAddrV4::new(own, 0))?;
            let address = local_address(&socket)?;
            sockets.insert((Place::Aliases, Transport::Tcp, asked), socket, address);
            io::Result::Ok(address)
        };
        Ok(Self { access, region, on_host: Some(instead_of(known)?), endpoint: instead_of(endpoint)? })
    }

    /// What the proxy is told.
    pub(crate) fn access(&self) -> &CredentialsAccess {
        &self.access
    }

    /// By what AWS's SDKs find the credentials, the region and the endpoint. Source: "Container
    /// credential provider" of AWS's SDKs reference guide.
    pub(crate) fn variables(&self) -> Vec<(&'static str, Secret)> {
        let path = &self.access.path;
        let at = match &self.on_host {
            Some(address) => {
                let uri = Secret::new(format!("http://{address}{}", path.expose()));
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
            }
            None => ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", path.clone()),
        };
        let mut variables = vec![
            at,
            ("AWS_REGION", Secret::new(self.region.clone())),
            ("AWS_DEFAULT_REGION", Secret::new(self.region.clone())),
            ("AWS_ENDPOINT_URL", Secret::new(format!("http://{}", self.endpoint))),
        ];
        if let Some(token) = &self.access.authorization {
            variables.push(("AWS_CONTAINER_AUTHORIZATION_TOKEN", token.clone()));
        }
        // SDKs read the user's own keys before they ask for the task's; an image has none.
        variables.extend(NO_FILES.map(|name| (name, Secret::new("/dev/null".to_owned()))));
        variables
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use bowline_model::task::TaskId;

    use super::*;

    fn opened(network: Option<&RefCell<HostNetwork>>) -> (Credentials, KeptSockets) {
        let mut sockets = KeptSockets::default();
        let role = TaskRole { region: "eu-west-1".to_owned() };
        let network = network.map(|network| network.borrow_mut());
        let credentials = Credentials::open(&role, network, &mut sockets).expect("opened");
        (credentials, sockets)
    }

    fn variables(credentials: &Credentials) -> BTreeMap<&'static str, String> {
        let variables = credentials.variables().into_iter();
        variables.map(|(name, value)| (name, value.expose().to_owned())).collect()
    }

    #[test]
    fn in_a_network_of_its_own_a_task_has_the_address_that_sdks_know() {
        let (credentials, _) = opened(None);
        let variables = variables(&credentials);
        assert_eq!(variables["AWS_ENDPOINT_URL"], "http://169.254.170.2:4566");
        assert_eq!(variables["AWS_REGION"], "eu-west-1");
        let path = &variables["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];
        assert!(path.starts_with("/v2/credentials/") && path.len() == 16 + 36, "{path}");
        assert!(!variables.contains_key("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
        assert!(!variables.contains_key("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
        let again = opened(None).0;
        assert_ne!(&again.access().path, &credentials.access().path, "each task has its own");
        assert!(!format!("{credentials:?}").contains(&path[16..]), "it is not logged");
    }

    #[test]
    fn on_the_host_s_network_it_has_loopback_addresses_and_a_token() {
        let task = TaskId::from_random([3; 16]);
        let network = RefCell::new(HostNetwork::claim(&task, &[]).expect("a network"));
        let (credentials, sockets) = opened(Some(&network));
        let variables = variables(&credentials);
        let uri = &variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"];
        let (address, path) = uri["http://".len()..].split_once('/').expect("a path");
        let address: SocketAddrV4 = address.parse().expect("an address");
        assert!(address.ip().is_loopback() && address.port() != 0, "{uri}");
        assert_eq!(format!("/{path}"), credentials.access().path.expose());
        assert_eq!(variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"].len(), 64);
        assert!(!variables.contains_key("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"));
        let kept = |port| {
            let address = SocketAddrV4::new(CREDENTIALS_ADDRESS, port);
            sockets.contains(&(Place::Aliases, Transport::Tcp, address))
        };
        assert!(kept(CREDENTIALS_PORT) && kept(AWS_ENDPOINT_PORT), "the proxy finds them");
    }
}
