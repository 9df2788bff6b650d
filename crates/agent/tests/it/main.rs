//! Tasks in real namespaces.

mod machine;
mod tasks;
