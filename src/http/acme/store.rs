//! Account and certificate in the state directory: mode 0600, replaced whole.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{AcmeError, Settings};

/// The file with key and chain of these settings. Other domains or another server are another file.
pub fn certificate(settings: &Settings) -> PathBuf {
    let mut key = settings.directory_url.clone();
    for domain in &settings.domains {
        key.push('\n');
        key.push_str(domain);
    }
    let first = settings.domains.first().map_or("none", String::as_str);
    settings.folder.join(format!("{first}-{}.pem", mark(&key)))
}

/// The account's file: one for each server.
pub(super) fn account(settings: &Settings) -> PathBuf {
    settings.folder.join(format!("account-{}.json", mark(&settings.directory_url)))
}

/// A short name for a long one.
fn mark(text: &str) -> String {
    use std::fmt::Write as _;
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    digest.iter().take(6).fold(String::new(), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is kept at `path`, if anything is.
pub(super) fn read(path: &Path) -> Result<Option<String>, AcmeError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AcmeError::Store { path: path.to_owned(), source }),
    }
}

/// Keeps `text` at `path`: a new file beside it, durable, then renamed.
pub(super) fn write(path: &Path, text: &str) -> Result<(), AcmeError> {
    let failed = |source| AcmeError::Store { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let staged = path.with_extension("new");
    match fs::remove_file(&staged) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&staged, path).map_err(failed)?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_ours_alone_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme/a.pem");
        assert_eq!(read(&path).unwrap(), None);
        write(&path, "one").unwrap();
        // Left behind by a process that was killed.
        fs::write(path.with_extension("new"), "half").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
