//! The dashboard as a client sees it.
