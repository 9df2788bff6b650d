//! The engine on a ground that is not there, and its relays on sockets that are.

mod engine;
mod ground;
mod relay;
