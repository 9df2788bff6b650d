//! Real proxies over loopback: two of them, a test CA, real applications.

mod harness;
mod http;
