//! One target, seen from close by: what its bytes are (`format`, pure), how a file is put in place (`file`), how a
//! command is run (`command`) and how one webhook request is sent (`webhook`).
//!
//! It does not know why something is written or when: no mirror, no SQL, no cron, no retry schedule. `reconcile`
//! decides, this module carries out and reports. INVARIANT: everything that touches a destination is in `file`.

pub mod command;
pub mod file;
pub mod format;
pub mod installer;
pub mod webhook;
