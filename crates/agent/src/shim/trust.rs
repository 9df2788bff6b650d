//! The task's own CA, and the files by which its containers trust it: an
//! application that calls `https://` on an alias is answered by its own
//! sidecar, with a certificate of this CA. It is no root of the mesh: nothing
//! outside of the task believes it, and its key is never on disk.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bowline_model::task::{ProxyRole, Secret, TaskId, TaskSpec};
use bowline_plumbing::{shim_link::TaskAuthority, sys::mount::set_read_only};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use super::{init::bind, mounts::make_place};

/// How long the CA is valid. A task that lives longer must be replaced for its
/// `https://` calls to go on.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// It begins this long before it is made: clocks are set back.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Where a task with mounts of its own sees the files of [`CA_FILE`] and
/// [`BUNDLE_FILE`]. Part of what users may rely on.
const DIRECTORY: &str = "/run/bowline";
/// The task's CA alone.
const CA_FILE: &str = "ca.pem";
/// The system's roots and the task's CA.
const BUNDLE_FILE: &str = "ca-bundle.pem";

/// Where systems keep the roots that most programs read: Debian's and its
/// kin's, Red Hat's.
const SYSTEM_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
/// Larger files are no list of roots.
const SYSTEM_BUNDLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Variables by which programs find roots in place of the system's: OpenSSL
/// and what is built on it, Python's requests, curl, the AWS CLI and SDKs, git.
const BUNDLE_VARIABLES: [&str; 5] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO"];
/// The one by which Node.js finds roots besides its own.
const EXTRA_VARIABLE: &str = "NODE_EXTRA_CA_CERTS";

/// The task's CA and where its containers find it.
#[derive(Debug)]
pub(crate) struct Trust {
    authority: TaskAuthority,
    directory: PathBuf,
}

impl Trust {
    /// Whether anything in the task calls through a sidecar.
    pub(crate) fn is_of_use(spec: &TaskSpec) -> bool {
        let has_sidecar = spec.proxy.as_ref().is_some_and(|proxy| proxy.role == ProxyRole::Sidecar);
        has_sidecar && !spec.containers.is_empty()
    }

    /// Makes the CA, and writes its files to `directory`, which the containers
    /// see under the same name until [`mounted`](Self::mounted) is called.
    pub(crate) fn make(task: &TaskId, directory: PathBuf) -> io::Result<Self> {
        let authority = make_authority(task).map_err(io::Error::other)?;
        write_files(&authority.certificate_pem, &directory)?;
        Ok(Self { authority, directory })
    }

    /// The containers see the files at the place that is the same for every task.
    pub(crate) fn mounted(&mut self) {
        self.directory = PathBuf::from(DIRECTORY);
    }

    /// What the task's sidecar mints leaves with.
    pub(crate) fn authority(&self) -> &TaskAuthority {
        &self.authority
    }

    /// Variables for a container's environment, unless it has them already.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let bundle = BUNDLE_VARIABLES.iter().map(|name| (*name, self.directory.join(BUNDLE_FILE)));
        bundle.chain([(EXTRA_VARIABLE, self.directory.join(CA_FILE))])
    }
}

fn make_authority(task: &TaskId) -> Result<TaskAuthority, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Bowline task {task}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // Good for servers only: no client can be proved by it.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LIFETIME).into();
    Ok(TaskAuthority {
        certificate_pem: params.self_signed(&key)?.pem(),
        key_pem: Secret::new(key.serialize_pem()),
    })
}

fn write_files(certificate_pem: &str, directory: &Path) -> io::Result<()> {
    // Seen through a mount by programs that have dropped their privileges, too.
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    fs::write(directory.join(CA_FILE), certificate_pem)?;
    let mut bundle = system_roots().unwrap_or_default();
    if !bundle.is_empty() && !bundle.ends_with(b"\n") {
        bundle.push(b'\n');
    }
    bundle.extend_from_slice(certificate_pem.as_bytes());
    fs::write(directory.join(BUNDLE_FILE), bundle)
}

/// The system's roots, where they are in one file.
fn system_roots() -> Option<Vec<u8>> {
    SYSTEM_BUNDLES.into_iter().find_map(|path| {
        let size = fs::metadata(path).ok()?.len();
        (size <= SYSTEM_BUNDLE_BYTES_MAX).then(|| fs::read(path).ok())?
    })
}

/// In the task's init: puts the files of `source` where every container looks
/// for them. The warnings say which of the system's own files stay without the CA.
///
/// # Errors
/// They cannot be mounted at the place that is the same for every task.
pub(crate) fn mount(source: &Path) -> io::Result<Vec<String>> {
    let directory = Path::new(DIRECTORY);
    // Without it the root itself would have to be rebuilt.
    if !directory.parent().is_some_and(Path::is_dir) {
        return Err(io::ErrorKind::NotFound.into());
    }
    make_place(directory, true)?;
    bind(source, directory)?;
    set_read_only(directory, true)?;
    let bundle = directory.join(BUNDLE_FILE);
    let mut warnings = Vec::new();
    for system in SYSTEM_BUNDLES.map(Path::new) {
        if !system.is_file() {
            continue;
        }
        if let Err(error) = bind(&bundle, system).and_then(|()| set_read_only(system, false)) {
            warnings.push(format!("{} is without the task's CA: {error}", system.display()));
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_have_the_ca_and_the_systems_roots_and_never_the_key() {
        let root = tempfile::tempdir().expect("a directory");
        let task: TaskId = "0123456789abcdef0123456789abcdef".parse().expect("an id");
        let directory = root.path().join("trust");
        let mut trust = Trust::make(&task, directory.clone()).expect("made");
        let read = |name: &str| fs::read_to_string(directory.join(name)).expect("reads");
        let certificate = &trust.authority().certificate_pem;
        assert_eq!(&read(CA_FILE), certificate);
        let bundle = read(BUNDLE_FILE);
        assert!(bundle.ends_with(certificate.as_str()));
        assert!(bundle.as_bytes().starts_with(&system_roots().unwrap_or_default()));
        assert!(!bundle.contains("PRIVATE KEY"));
        assert_eq!(fs::read_dir(&directory).expect("reads").count(), 2);
        assert!(!format!("{trust:?}").contains("PRIVATE KEY"));
        trust.mounted();
        let node = trust.variables().find(|(name, _)| *name == EXTRA_VARIABLE).expect("set").1;
        assert_eq!(node, Path::new("/run/bowline/ca.pem"));
        assert_eq!(trust.variables().count(), 6);
    }
}
