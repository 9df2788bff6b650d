//! How many certificates an authority issues on one core, beside what the crypto library's own
//! primitives cost. `bench/issue` runs it optimised and keeps its figures.

use std::{error::Error, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use bowline_control::ca::{Authority, CheckedCsr, LeafRequest, RootParams, Usage};
use bowline_model::{clock::Timestamp, identity::SpiffeId};
use rcgen::{CertificateParams, KeyPair};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Rounds, the two kinds taking turns, so that a slow moment of the machine meets both.
const ROUNDS: usize = 20;
const CERTIFICATES: u32 = 500;

fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::create_root(&RootParams::default(), NOW)?;
    let key = KeyPair::generate()?;
    let csr = CertificateParams::default().serialize_request(&key)?;
    let (mut issued, mut primitives) = (Vec::new(), Vec::new());
    let primitive = Primitives::new()?;
    for _ in 0..ROUNDS {
        issued.push(cpu_of(|| issue(&authority, csr.der()))?);
        primitives.push(cpu_of(|| primitive.run())?);
    }
    let (issued, primitives) = (median(issued), median(primitives));
    println!(
        "certificate {:.1} us, primitives {:.1} us, {:.0} certificates/s, {:.2}",
        issued * 1e6,
        primitives * 1e6,
        1.0 / issued,
        issued / primitives
    );
    Ok(())
}

/// All that is done for a request: its signature is checked, the certificate is signed and verified.
fn issue(authority: &Authority, csr: &[u8]) -> Result<(), Box<dyn Error>> {
    let csr = CheckedCsr::parse(csr)?;
    let request = LeafRequest {
        public_key: &csr,
        spiffe_id: Some(SpiffeId::of_service("bowline.local", "shop", "default", "orders")),
        dns_names: vec!["orders.shop.internal".to_owned()],
        addresses: Vec::new(),
        crl_url: None,
        usage: Usage::Both,
        ttl: Duration::from_secs(3_600),
    };
    authority.issue(&request, NOW)?;
    Ok(())
}

/// What no implementation can leave out: a request's signature is verified, a certificate is signed,
/// its signature is verified.
struct Primitives {
    key: EcdsaKeyPair,
    public: Vec<u8>,
    text: Vec<u8>,
    signature: Vec<u8>,
    random: SystemRandom,
}

impl Primitives {
    fn new() -> Result<Self, Box<dyn Error>> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let random = SystemRandom::new();
        // As long as what is signed of a certificate.
        let text = vec![7; 400];
        let signature = key.sign(&random, &text)?.as_ref().to_vec();
        Ok(Self { public: key.public_key().as_ref().to_vec(), key, text, signature, random })
    }

    fn run(&self) -> Result<(), Box<dyn Error>> {
        let verify = |signature: &[u8]| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.public).verify(&self.text, signature)
        };
        verify(&self.signature)?;
        let signed = self.key.sign(&self.random, &self.text)?;
        verify(signed.as_ref())?;
        Ok(())
    }
}

/// CPU seconds of one of them.
fn cpu_of(mut one: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let begun = cpu()?;
    for _ in 0..CERTIFICATES {
        one()?;
    }
    Ok((cpu()? - begun) / f64::from(CERTIFICATES))
}

/// CPU seconds of this thread. Source: proc(5), `schedstat`.
fn cpu() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
