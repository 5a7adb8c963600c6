//! One target, seen from close by: what its bytes are (`format`, pure), how a file is put in place (`file`), how a
//! command is run (`command`), how one event is sent (`webhook`) or given to a program (`exec`).
//!
//! It does not know why something is written or when: no mirror, no SQL, no cron, no retry schedule. `reconcile`
//! decides, this module carries out and reports. INVARIANT: everything that touches a destination is in `file`.

pub mod command;
pub mod exec;
pub mod file;
pub mod format;
pub mod installer;
pub mod spool;
pub mod webhook;
