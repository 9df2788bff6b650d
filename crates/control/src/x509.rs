//! X.509 beyond what the mesh's own leaves need: keys of the algorithms that AWS Private CA has,
//! certificates with any subject and extensions, requests, and chains from outside.
//!
//! What is signed here is read again by another encoder's parser, and verified by the verifier that
//! the proxies use, before anybody sees it. Bytes of strangers are bounded before they are parsed.

pub(crate) mod algorithm;
pub(crate) mod certificate;
pub(crate) mod chain;
pub(crate) mod csr;
pub(crate) mod der;
pub(crate) mod key;
pub(crate) mod name;
pub(crate) mod pem;
