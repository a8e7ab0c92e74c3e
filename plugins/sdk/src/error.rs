//! The one error type of plugins, and how it crosses the border.

use ablate_abi::{status, Status};

/// What can go wrong in a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used; name the key.
    #[error("{0}")]
    Config(String),
    /// The host refused a call, in its words.
    #[error("{message}")]
    Host {
        /// The ABI's status code.
        status: Status,
        /// The host's message.
        message: String,
    },
    /// The host is older than this plugin and lacks a function.
    #[error(
        "this host has no `{0}`: it is older than the plugin; update it or use an older plugin"
    )]
    Unsupported(&'static str),
    /// Saved state that cannot be read back.
    #[error("{0}")]
    State(String),
    /// A metric, feature or model tensor that is not there.
    #[error("{0}")]
    UnknownName(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Shorthand with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn status(&self) -> Status {
        match self {
            Error::Config(_) => status::CONFIG,
            Error::Host { status, .. } => *status,
            Error::Unsupported(_) => status::UNSUPPORTED,
            Error::State(_) => status::STATE,
            Error::UnknownName(_) => status::UNKNOWN_NAME,
            Error::Other(_) => status::INTERNAL,
        }
    }
}
