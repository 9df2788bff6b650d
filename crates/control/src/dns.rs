//! The control plane's DNS server: answers for the private namespaces of Cloud
//! Map, and passes on or refuses all else.
mod answer;
mod limit;
mod message;
mod random;
pub mod zone;
