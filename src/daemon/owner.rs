//! Whose files these are: a command run as root becomes the owner of the state directory before it touches it.
//!
//! Otherwise `sudo rosterd token new …` with no daemon running would leave files of root's behind that stop
//! `serve` later. The switch is made with the raw system calls, which act on the calling thread only; it is
//! therefore done while that thread is the only one, and every later thread inherits it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::process::{Gid, Uid};

/// The service's user, as `rosterd.sysusers` makes it.
const SERVICE_USER: &str = "rosterd";

/// Makes `state_dir` as the unit would (mode 0700, the service user's) where it is missing, and as root becomes
/// its owner. Says the new user's id, or `None` where nothing had to change.
///
/// INVARIANT: called before any other thread of the process exists.
/// # Errors
/// When the directory can neither be looked at nor made, or the system refuses the switch.
pub fn become_owner(state_dir: &Path) -> io::Result<Option<u32>> {
    let root = rustix::process::geteuid().is_root();
    let found = match std::fs::metadata(state_dir) {
        Ok(found) => found,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            create(state_dir, root)?;
            std::fs::metadata(state_dir)?
        }
        Err(other) => return Err(other),
    };
    if !root || found.uid() == 0 {
        return Ok(None);
    }
    let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    // Groups first: afterwards there is no right left to change them.
    rustix::thread::set_thread_groups(&[gid])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(Some(found.uid()))
}

fn create(state_dir: &Path, root: bool) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    match (root, service_ids(&std::fs::read_to_string("/etc/passwd").unwrap_or_default())) {
        (true, Some((uid, gid))) => std::os::unix::fs::chown(state_dir, Some(uid), Some(gid)),
        // No such user: a container or a trial, where root's own it stays.
        _ => Ok(()),
    }
}

/// User and group id of the service user in the text of `/etc/passwd`.
fn service_ids(passwd: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(SERVICE_USER))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_user_is_found_by_its_whole_name() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\nrosterd2:x:7:7::/:/x\nrosterd:x:998:997::/:/usr/sbin/nologin\n";
        assert_eq!(service_ids(passwd), Some((998, 997)));
        assert_eq!(service_ids("root:x:0:0::/root:/bin/sh\n"), None);
    }

    #[test]
    fn a_missing_state_directory_is_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/state");
        let before = std::fs::metadata(dir.path()).unwrap().uid();
        // As root with a `rosterd` user the directory would change hands; the build machine has none.
        if !rustix::process::geteuid().is_root() {
            assert_eq!(become_owner(&state).unwrap(), None);
            let made = std::fs::metadata(&state).unwrap();
            assert_eq!((made.uid(), made.mode() & 0o777), (before, 0o700));
        }
    }
}
