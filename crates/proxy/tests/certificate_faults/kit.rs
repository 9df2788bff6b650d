//! Certificates with one fault each.

use std::{path::Path, process::Command};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::harness::id;

/// The serial number that the resources refuse.
pub(crate) const REVOKED_SERIAL: u64 = 0xbad;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Expired,
    NotYetValid,
    WrongName,
    WrongSpiffeId,
    UntrustedCa,
    InvalidChain,
    MissingIntermediate,
    CaFlagMissing,
    KeyUsageMissing,
    NameConstraintBreach,
    Revoked,
    KeyMismatch,
    WeakSignature,
    SelfSigned,
    Plaintext,
    OldTls,
}

impl Fault {
    /// All of them, in the page's order, and what they are in these tests.
    pub(crate) const ALL: &[(Self, &'static str, &'static str)] = &[
        (Self::None, "none", "the twin of all others: the same calls with nothing wrong"),
        (Self::Expired, "expired", "`notAfter` is past"),
        (Self::NotYetValid, "not yet valid", "`notBefore` is to come"),
        (Self::WrongName, "wrong name", "a DNS name, and no SPIFFE id"),
        (Self::WrongSpiffeId, "wrong SPIFFE id", "of another service than is allowed or expected"),
        (Self::UntrustedCa, "untrusted CA", "signed by a root that is not believed"),
        (Self::InvalidChain, "invalid chain", "longer than the path length of its authority"),
        (Self::MissingIntermediate, "missing intermediate", "the leaf alone is shown"),
        (Self::CaFlagMissing, "CA flag missing", "signed by a certificate that is no authority's"),
        (Self::KeyUsageMissing, "key usage missing", "`extKeyUsage` without this use"),
        (Self::NameConstraintBreach, "name-constraint breach", "a DNS name that its authority may not give"),
        (Self::Revoked, "revoked", "its serial number is refused"),
        (Self::KeyMismatch, "key mismatch", "shown by somebody with another key"),
        (Self::WeakSignature, "weak signature", "RSA with SHA-1"),
        (Self::SelfSigned, "self-signed leaf", "signed by its own key"),
        (Self::Plaintext, "plaintext", "no TLS at all"),
        (Self::OldTls, "TLS 1.2", "nothing newer is offered"),
    ];
}

/// A chain and the key that it is shown with.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl Material {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let all = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes());
        all.map(|certificate| certificate.expect("PEM")).collect()
    }
}

/// The roots that are believed.
pub(crate) struct Kit {
    root: Issuer<'static, KeyPair>,
    other: Issuer<'static, KeyPair>,
    /// An RSA root of openssl's: rcgen signs nothing weak.
    rsa: (String, String),
    pub(crate) roots_pem: String,
}

fn authority(name: &str, path_length: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca =
        IsCa::Ca(path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn root(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let (params, key) = (authority(name, None), KeyPair::generate().expect("a key"));
    let pem = params.self_signed(&key).expect("a root").pem();
    (Issuer::new(params, key), pem)
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is there");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Kit {
    pub(crate) fn new(directory: &Path) -> Self {
        let ((root, root_pem), (other, _)) = (self::root("root"), self::root("root"));
        let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let (key, certificate) = (path("rsa.key"), path("rsa.pem"));
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-subj",
            "/CN=rsa root",
            "-days",
            "3650",
        ]);
        let rsa_pem = std::fs::read_to_string(&certificate).expect("written");
        Self { root, other, rsa: (certificate, key), roots_pem: root_pem + &rsa_pem }
    }

    /// What `name` shows with this fault.
    pub(crate) fn make(&self, fault: Fault, name: &str, directory: &Path) -> Material {
        let key = KeyPair::generate().expect("a key");
        let mut leaf = CertificateParams::new(vec![]).expect("parameters");
        leaf.distinguished_name.push(DnType::CommonName, "leaf");
        leaf.subject_alt_names = vec![SanType::URI(id(name).as_str().try_into().expect("ASCII"))];
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let (mut shown_key, mut between) = (key.serialize_pem(), String::new());
        // Signs `params` by the root, and becomes an authority between.
        let mut step = |params: CertificateParams, by: &Issuer<'static, KeyPair>| {
            let key = KeyPair::generate().expect("a key");
            between.insert_str(0, &params.signed_by(&key, by).expect("signed").pem());
            Issuer::new(params, key)
        };
        let mut issuer = None;
        match fault {
            Fault::Expired => {
                leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
                leaf.not_after = rcgen::date_time_ymd(2021, 1, 1);
            }
            Fault::NotYetValid => {
                leaf.not_before = rcgen::date_time_ymd(2090, 1, 1);
                leaf.not_after = rcgen::date_time_ymd(2091, 1, 1);
            }
            Fault::WrongName => {
                leaf.subject_alt_names = vec![SanType::DnsName("service".try_into().expect("ASCII"))];
            }
            Fault::WrongSpiffeId => {
                leaf.subject_alt_names =
                    vec![SanType::URI(id("stranger").as_str().try_into().expect("ASCII"))];
            }
            Fault::InvalidChain => {
                let short = step(authority("between", Some(0)), &self.root);
                issuer = Some(step(authority("too deep", None), &short));
            }
            Fault::MissingIntermediate => {
                issuer = Some(step(authority("between", None), &self.root));
            }
            Fault::CaFlagMissing => {
                let mut params = authority("no authority", None);
                params.is_ca = IsCa::ExplicitNoCa;
                issuer = Some(step(params, &self.root));
            }
            Fault::KeyUsageMissing => {
                let other_use = if name == "a" {
                    ExtendedKeyUsagePurpose::ServerAuth
                } else {
                    ExtendedKeyUsagePurpose::ClientAuth
                };
                leaf.extended_key_usages = vec![other_use];
            }
            Fault::NameConstraintBreach => {
                let mut params = authority("constrained", None);
                params.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName("allowed.test".into())],
                    excluded_subtrees: Vec::new(),
                });
                issuer = Some(step(params, &self.root));
                leaf.subject_alt_names.push(SanType::DnsName("other.test".try_into().expect("ASCII")));
            }
            Fault::Revoked => leaf.serial_number = Some(SerialNumber::from(REVOKED_SERIAL)),
            Fault::KeyMismatch => shown_key = KeyPair::generate().expect("a key").serialize_pem(),
            Fault::None
            | Fault::UntrustedCa
            | Fault::WeakSignature
            | Fault::SelfSigned
            | Fault::Plaintext
            | Fault::OldTls => {}
        }
        let certificate = match fault {
            Fault::SelfSigned => leaf.self_signed(&key).expect("signed").pem(),
            Fault::UntrustedCa => leaf.signed_by(&key, &self.other).expect("signed").pem(),
            Fault::WeakSignature => self.weak(name, &key, directory),
            _ => leaf.signed_by(&key, issuer.as_ref().unwrap_or(&self.root)).expect("signed").pem(),
        };
        if fault == Fault::MissingIntermediate {
            between.clear();
        }
        Material { chain_pem: certificate + &between, key_pem: shown_key }
    }

    fn weak(&self, name: &str, key: &KeyPair, directory: &Path) -> String {
        let path = |file: &str| directory.join(format!("weak-{name}-{file}")).to_string_lossy().into_owned();
        let (key_file, request, extensions, out) = (path("key"), path("csr"), path("ext"), path("pem"));
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        let text = format!("subjectAltName=URI:{}\nextendedKeyUsage=serverAuth,clientAuth\n", id(name));
        std::fs::write(&extensions, text).expect("written");
        openssl(&["req", "-new", "-key", &key_file, "-subj", "/CN=leaf", "-out", &request]);
        openssl(&[
            "x509",
            "-req",
            "-sha1",
            "-in",
            &request,
            "-CA",
            &self.rsa.0,
            "-CAkey",
            &self.rsa.1,
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &extensions,
            "-out",
            &out,
        ]);
        std::fs::read_to_string(out).expect("a certificate")
    }
}
