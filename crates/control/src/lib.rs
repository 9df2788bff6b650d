//! The control plane: registry, store, CA, reconcilers, publishing, and the
//! servers of the stream.

pub mod ca;
pub mod state_lock;
pub mod master_key;
pub mod store;
pub mod stream;
pub mod tokens;
