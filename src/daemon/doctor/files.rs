//! What can be seen in the file system.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use crate::config::Config;
use crate::downstream::file::Via;
use crate::http::acme::renew::Validity;
use crate::http::tls;
use crate::mirror::sqlite::backup;
use crate::reconcile::{Publish, Shape, TargetKind};

use super::Finding;

/// Free space that is too little whatever the disk's size.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// Longest write-ahead log that is no sign of a reader that hangs.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// A certificate that ends sooner than this should have been renewed.
const CERTIFICATE_LEFT: i64 = 14;
/// No clock is right that says less: 2026-01-01.
const NOT_BEFORE: u64 = 1_767_225_600;

/// The files behind keys that end in `_file`: who may read them.
pub(super) fn secrets(path: &Path, config: &Config) -> Vec<Finding> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let Ok(table) = text.parse::<toml::Table>() else { return Vec::new() };
    let mut names = Vec::new();
    named(&toml::Value::Table(table), &mut names);
    let base = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = base.parent().unwrap_or(Path::new("/"));
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let owner = std::fs::metadata(config.state_dir()).ok().map(|meta| (meta.uid(), meta.gid()));
    let mut bad = Vec::new();
    for name in &names {
        let passed = credentials.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists());
        if passed.is_none() {
            bad.extend(secret(&base.join(name), owner));
        }
    }
    if bad.is_empty() {
        bad.push(Finding::ok("D003", format!("{} secret files are private", names.len())));
    }
    bad
}

fn secret(path: &Path, owner: Option<(u32, u32)>) -> Option<Finding> {
    let shown = path.display();
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => {
            let hint = "make it with mode 0600 for the daemon's user, or pass it by `LoadCredential=`";
            return Some(Finding::fail("D003", format!("{shown}: {error}"), hint));
        }
    };
    let mode = meta.mode() & 0o777;
    let is_ours = owner.is_none_or(|(uid, _)| meta.uid() == uid || meta.uid() == 0);
    let group_is_ours = owner.is_none_or(|(_, gid)| meta.gid() == gid);
    if mode & 0o007 != 0 || (mode & 0o070 != 0 && !group_is_ours) {
        let hint = format!("chmod 0600 {shown}; replace the secret if it was seen");
        return Some(Finding::fail("D003", format!("{shown} has mode {mode:04o}"), hint));
    }
    if !is_ours {
        let what = format!("{shown} belongs to user {}, who can change it", meta.uid());
        return Some(Finding::warn("D003", what, "give it to the daemon's user or to root"));
    }
    None
}

fn named(value: &toml::Value, names: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                match value {
                    toml::Value::String(name) if is_secret(key) => names.push(name.clone()),
                    toml::Value::Array(list) if is_secret(key) => {
                        names.extend(list.iter().filter_map(toml::Value::as_str).map(str::to_owned));
                    }
                    other => named(other, names),
                }
            }
        }
        toml::Value::Array(list) => list.iter().for_each(|one| named(one, names)),
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    ["token_file", "secret_file", "password_file", "url_file", "headers_file", "key_file"].contains(&key)
}

/// The state directory and the mirror in it.
pub(super) fn mirror(config: &Config, deep: bool) -> Vec<Finding> {
    let (folder, path) = (config.state_dir(), &config.mirror.path);
    let mut found = Vec::new();
    match std::fs::metadata(folder) {
        Ok(meta) if meta.mode() & 0o077 != 0 => found.push(Finding::warn(
            "D004",
            format!("{} has mode {:04o}", folder.display(), meta.mode() & 0o777),
            format!("chmod 0700 {}", folder.display()),
        )),
        Ok(_) => found.push(Finding::ok("D004", format!("{} is private", folder.display()))),
        Err(error) => {
            let hint = "systemd makes it (`StateDirectory=`); or: install -d -m 0700 -o rosterd";
            found.push(Finding::fail("D004", format!("{}: {error}", folder.display()), hint));
            return found;
        }
    }
    if path.exists() {
        found.extend(opened(path, deep));
    } else {
        let what = format!("{} is not there yet", path.display());
        found.push(Finding::warn(
            "D005",
            what,
            "the first `rosterd serve` makes it; after a loss: `rosterd restore FILE`",
        ));
    }
    found.extend(disk(folder));
    let log = PathBuf::from(format!("{}-wal", path.display()));
    let length = std::fs::metadata(&log).map_or(0, |meta| meta.len());
    found.push(if length > LOG_BYTES_MAX {
        let hint = "a program that holds the mirror open for reading is the usual reason: `fuser` on it";
        Finding::warn("D008", format!("{} has {} MiB", log.display(), length >> 20), hint)
    } else {
        Finding::ok("D008", format!("the write-ahead log has {} KiB", length >> 10))
    });
    found
}

fn opened(path: &Path, deep: bool) -> Vec<Finding> {
    let shown = path.display();
    let epoch = match backup::epoch(path) {
        Ok(epoch) => epoch,
        Err(error) => return vec![Finding::fail("D005", format!("{shown}: {error}"), error.hint())],
    };
    let mut found = vec![Finding::ok("D005", format!("{shown} can be read; epoch {epoch}"))];
    if deep {
        found.push(match backup::quick_check(path) {
            Ok(()) => Finding::ok("D006", "every page of the mirror is whole"),
            Err(error) => {
                Finding::fail("D006", error.to_string(), "`rosterd restore FILE` with the newest backup")
            }
        });
    }
    found
}

fn disk(folder: &Path) -> Option<Finding> {
    let facts = statvfs(folder).ok()?;
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    let total = facts.f_blocks.saturating_mul(facts.f_frsize).max(1);
    let percent = free.saturating_mul(100) / total;
    let what = format!("{} MiB free ({percent} %) on the disk of {}", free >> 20, folder.display());
    let hint = "free some: without room no change is accepted, leavers stay in";
    Some(match free {
        ..=16_777_216 => Finding::fail("D007", what, hint),
        _ if free < FREE_BYTES_MIN || percent < 10 => Finding::warn("D007", what, hint),
        _ => Finding::ok("D007", what),
    })
}

/// The clock: grants end by it, tokens expire by it, signatures carry it.
pub(super) fn clock(config: &Config) -> Vec<Finding> {
    let now = SystemTime::now();
    let hint = "set it, and keep it so: timedatectl set-ntp true";
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    if since < NOT_BEFORE {
        return vec![Finding::fail("D009", "the clock is years behind", hint)];
    }
    let written = std::fs::metadata(&config.mirror.path).and_then(|meta| meta.modified());
    if let Ok(ahead) = written.map_err(|_| ()).and_then(|at| at.duration_since(now).map_err(|_| ()))
        && ahead > Duration::from_mins(1)
    {
        let what = format!("the mirror was written {} s in the future: the clock went back", ahead.as_secs());
        return vec![Finding::warn("D009", what, hint)];
    }
    vec![Finding::ok("D009", "the clock is not behind what was written last")]
}

/// Certificates of the listeners.
pub(super) fn certificates(config: &Config) -> Vec<Finding> {
    let all: Vec<&tls::Settings> = config.certificates().collect();
    let authorities = all.iter().filter_map(|tls| tls.clients.as_ref()).map(authority);
    all.iter().map(|settings| certificate(settings)).chain(authorities).collect()
}

/// The authority that signs the certificates of clients: with it they all run out.
fn authority(clients: &tls::Clients) -> Finding {
    let shown = clients.ca.display();
    match days_left(&clients.ca) {
        None => Finding::fail("D010", format!("client_ca: {shown} is no certificate"), "name a PEM file"),
        Some(days) if days < CERTIFICATE_LEFT => Finding::warn(
            "D010",
            format!("client_ca: {shown} runs out in {days} days, and with it every client's certificate"),
            "put the new authority beside the old one in the same file, then `rosterd reload`",
        ),
        Some(days) => Finding::ok("D010", format!("client_ca: {shown} is valid for {days} days")),
    }
}

/// Whole days until the first certificate in a PEM file runs out; negative afterwards.
fn days_left(path: &Path) -> Option<i64> {
    let ends = Validity::of(path)?.ends;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Some(ends.saturating_sub(i64::try_from(now.as_secs()).unwrap_or(i64::MAX)).div_euclid(86_400))
}

fn certificate(settings: &tls::Settings) -> Finding {
    let path = settings.cert();
    let shown = path.display();
    if let Err(error) = tls::Tls::load(settings.clone()) {
        return Finding::fail("D010", error.to_string(), "renew it, then `rosterd reload`");
    }
    if settings.acme().is_some() && !path.exists() {
        let what = "no certificate has come from the ACME server yet; nobody gets past the TLS handshake";
        return Finding::fail("D010", what, "the daemon's log says why: journalctl -u rosterd -g ACME");
    }
    let days = days_left(&path);
    let hint = if settings.acme().is_some() {
        "renewals fail; the log says why: journalctl -u rosterd -g certificate"
    } else {
        "look why it was not renewed; a renewed one is taken up by itself"
    };
    match days {
        None => {
            Finding::fail("D010", format!("{shown} is no certificate"), "renew it, then `rosterd reload`")
        }
        Some(days) if days < 0 => Finding::fail(
            "D010",
            format!("{shown} ran out {} days ago", -days),
            "renew it, then `rosterd reload`",
        ),
        Some(days) if days < CERTIFICATE_LEFT => {
            Finding::warn("D010", format!("{shown} runs out in {days} days"), hint)
        }
        Some(days) => Finding::ok("D010", format!("{shown} is valid for {days} days")),
    }
}

/// Where targets write.
pub(super) fn outputs(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for target in &config.targets {
        let TargetKind::File(file) = &target.kind else { continue };
        if file.publish == Publish::Only {
            continue;
        }
        let target = target.name.as_str();
        if let Via::Installer { socket } = &file.spec.via {
            found.push(installer(target, socket));
            continue;
        }
        let folder = match file.shape {
            Shape::Tree(_) => file.spec.path.clone(),
            Shape::File | Shape::Set(_) => backup::folder(&file.spec.path),
        };
        found.push(output(target, &folder, file.spec.group_may_write));
    }
    found
}

/// Its folder is root's to answer for; that somebody listens for us is all that can be asked here.
fn installer(target: &str, socket: &Path) -> Finding {
    let shown = socket.display();
    match UnixStream::connect(socket) {
        Ok(_) => {
            Finding::ok("D011", format!("target `{target}`: the installer at {shown} takes connections"))
        }
        Err(error) => Finding::fail(
            "D011",
            format!("target `{target}`: the installer at {shown}: {error}"),
            "systemctl enable --now rosterd-install.socket, and let the daemon's group connect",
        ),
    }
}

fn output(target: &str, folder: &Path, group_may_write: bool) -> Finding {
    let shown = folder.display();
    let meta = match std::fs::metadata(folder) {
        Ok(meta) => meta,
        Err(error) => {
            let hint = format!("make it for the daemon's user: install -d -m 2750 -o rosterd {shown}");
            return Finding::fail("D011", format!("target `{target}`: {shown}: {error}"), hint);
        }
    };
    if accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        let hint = format!(
            "give it to the daemon's user; under systemd also `ReadWritePaths=-{shown}` in a drop-in"
        );
        return Finding::fail("D011", format!("target `{target}`: {shown} cannot be written"), hint);
    }
    let others = if group_may_write { 0o002 } else { 0o022 };
    if meta.mode() & others != 0 && meta.mode() & 0o1000 == 0 {
        let what =
            format!("target `{target}`: others may write to {shown} (mode {:04o})", meta.mode() & 0o7777);
        return Finding::fail("D011", what, format!("chmod go-w {shown}"));
    }
    Finding::ok("D011", format!("target `{target}`: {shown} can be written"))
}
