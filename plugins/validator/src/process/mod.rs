//! Work in a process of its own: starting it, talking to it, and telling how it ended.
//!
//! Owns: the second copy of the running program ([`Program`]), the channel between the two, limits on
//! memory and time, and the words for an end that nobody asked for. Must not know what the work is.
//!
//! A message is one line of JSON. Lines of the child begin with the record separator (U+001E), so that
//! nothing that a plugin prints can be taken for one; the child also gives up its standard output
//! ([`Channel::open`]), which then goes to standard error.

mod channel;
mod ending;
mod exhaustion;
mod limits;
mod worker;

pub use channel::{Channel, Inbox, Outbox};
pub use ending::{Death, Ending};
pub use limits::{grant_processor, Limits};
pub use worker::{Errors, Program, Worker};

/// Begins every line that the child writes to the channel.
const SEPARATOR: char = '\u{1e}';

/// What the child writes in its last moments when no memory is left. Fixed bytes, because nothing can
/// be formatted then.
const EXHAUSTED: &str = "\u{1e}\"exhausted\"\n";
