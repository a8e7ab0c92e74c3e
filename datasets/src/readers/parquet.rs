use std::path::Path;

use super::{Fields, Sink};
use crate::Result;

pub(super) fn read(path: &Path, _fields: Fields<'_>, sink: &mut Sink) -> Result<()> {
    let _ = path;
    sink.bad(None, "pending")
}
