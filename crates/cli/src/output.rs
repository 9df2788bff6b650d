//! How commands print.

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// Tables, for people.
    Text,
    /// For programs.
    Json,
}
