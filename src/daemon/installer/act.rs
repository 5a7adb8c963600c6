//! What was asked, done. Everything but the member, the bytes and what is expected comes from root's config.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::downstream::command::{Limits, Output, Status};
use crate::downstream::file::{
    self, Applied, ApplyError, Cause, Digest, Expect, FileSpec, Kind, OnDisk, Owner, Removed, Swapped,
};
use crate::downstream::installer::settings::{Place, Settings, Target};
use crate::downstream::installer::wire::{
    self, Answer, Ask, Class, Ended, Found, OUTPUT_BYTES_MAX, Ran, Refusal,
};

use crate::downstream::installer::member::check_member;
use crate::telemetry::escape;

use super::owned::{Owned, Record};

/// One request for one destination.
pub(super) struct Act<'a> {
    target: &'a Target,
    member: Option<&'a str>,
    spec: FileSpec,
    folder: PathBuf,
}

/// Why nothing was done.
enum Stopped {
    Refused(Refusal),
    Apply(ApplyError),
    Record(io::Error),
}

impl From<ApplyError> for Stopped {
    fn from(error: ApplyError) -> Self {
        Self::Apply(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Record(error)
    }
}

impl<'a> Act<'a> {
    /// `member` has been judged.
    pub(super) fn new(settings: &Settings, target: &'a Target, member: Option<&'a str>) -> Self {
        let folder = settings.state.join(target.name.as_str());
        let (path, state) = match (&target.place, member) {
            (Place::Tree { folder: tree, .. }, Some(member)) => {
                (tree.join(member), folder.join("files").join(member))
            }
            (place, _) => (place.path().to_owned(), folder.join("file")),
        };
        let mut spec = FileSpec::new(target.name.clone(), path, state);
        spec.member = member.map(str::to_owned);
        spec.mode = target.mode;
        spec.owner = Some(Owner { uid: target.uid, gid: target.gid });
        spec.check.clone_from(&target.check);
        spec.verify.clone_from(&target.verify);
        spec.limits = Limits { timeout: target.timeout };
        spec.keep = target.keep;
        Self { target, member, spec, folder }
    }

    pub(super) fn run(&self, ask: &Ask, bytes: &[u8]) -> Answer {
        let done = match ask {
            Ask::Inspect => self.inspect(),
            Ask::Apply { expect, .. } => self.apply(expect, bytes),
            Ask::Settle { sha256, replaced, label } => self.settle(sha256, replaced.as_deref(), *label),
            Ask::Remove { expect } => self.remove(expect, file::remove),
            Ask::SetAside { expect } => self.remove(expect, file::set_aside),
            Ask::DropAside => self.drop_aside(),
            Ask::Revert => self.revert(),
            Ask::PutLink { to } => self.put_link(to),
            Ask::ReadLink => self.read_link(),
            Ask::RemoveLink => self.remove_link(),
            Ask::Reload => self.reload(),
        };
        done.unwrap_or_else(|stopped| Answer::Refused(refusal(stopped)))
    }

    fn owned(&self) -> Owned<'_> {
        Owned::new(&self.folder)
    }

    fn path(&self) -> String {
        self.spec.path.display().to_string()
    }

    /// What is there, and what is known of it.
    fn look(&self) -> Result<(OnDisk, Option<Digest>, Record), Stopped> {
        let record = self.owned().load(self.member, &self.spec.path)?;
        let disk = file::inspect(&self.spec)?;
        let digest = match &disk {
            OnDisk::File(facts) => facts.digest,
            OnDisk::Absent | OnDisk::Other(_) => None,
        };
        Ok((disk, digest, record))
    }

    fn inspect(&self) -> Result<Answer, Stopped> {
        let (disk, digest, record) = self.look()?;
        let what = match disk {
            OnDisk::Absent => Found::Absent,
            OnDisk::Other(word) => Found::Other(word.to_owned()),
            OnDisk::File(facts) => Found::File {
                // Of a stranger's file only its presence is told: a digest lets short contents be guessed.
                sha256: digest.filter(|_| record.is_ours(digest)).map(|digest| digest.to_string()),
                bytes: facts.bytes,
                mode: facts.mode,
                is_as_set: facts.mode == self.spec.mode
                    && self.spec.owner == Some(Owner { uid: facts.uid, gid: facts.gid }),
                uid: facts.uid,
                gid: facts.gid,
                modified_us: since_1970_us(facts.modified),
            },
        };
        Ok(Answer::Found { path: self.path(), what })
    }

    fn apply(&self, expect: &wire::Expect, bytes: &[u8]) -> Result<Answer, Stopped> {
        let expect = expected(expect)?;
        let wanted = Digest::of(bytes);
        let (disk, found, mut record) = self.look()?;
        let is_foreign = disk != OnDisk::Absent && !record.is_ours(found) && found != Some(wanted);
        if is_foreign && !self.target.adopt {
            return Err(
                self.stranger("set `adopt = true` for the target in installer.toml, or move the file away")
            );
        }
        let check = |bytes: &[u8]| {
            self.target.format.check(bytes, &self.target.options)?;
            self.target.bounds.judge_name(self.target.format.name, self.member)?;
            self.target.bounds.judge(self.target.format.name, bytes)
        };
        let before = record.clone();
        record.intend(wanted);
        self.owned().save(self.member, &record)?;
        // Before the swap, so that a crash behind it loses no reload.
        let owes = self.owe_reload()?;
        let applied = match file::apply(&self.spec, bytes, expect, &check) {
            Ok(applied) => applied,
            Err(error) => {
                // Where the new file stayed in place all the same, the intention is what says whose it is.
                if !matches!(error.cause, Cause::NotRestored(..)) {
                    self.owned().save(self.member, &before)?;
                    self.took_back(owes)?;
                }
                return Err(error.into());
            }
        };
        record.written(wanted);
        self.owned().save(self.member, &record)?;
        Ok(match applied {
            Applied::Unchanged => {
                self.took_back(owes)?;
                Answer::Unchanged { path: self.path() }
            }
            Applied::Swapped(Swapped { replaced, check, verify, .. }) => Answer::Swapped {
                path: self.path(),
                replaced: replaced.map(|digest| digest.to_string()),
                check: check.map(|output| ran(&output)),
                verify: verify.map(|output| ran(&output)),
            },
        })
    }

    fn settle(&self, sha256: &str, replaced: Option<&str>, label: u64) -> Result<Answer, Stopped> {
        let (_, found, record) = self.look()?;
        if !record.is_ours(found) {
            return Err(self.stranger("nothing of it is settled"));
        }
        let swapped = Swapped {
            digest: digest(sha256)?,
            replaced: replaced.map(digest).transpose()?,
            check: None,
            verify: None,
            way_back: None,
        };
        file::settle(&self.spec, &swapped, label)?;
        Ok(Answer::Settled)
    }

    fn may_remove(&self) -> Result<(), Stopped> {
        if !self.target.remove {
            let what = format!(
                "files of target `{}` are not removed; see `remove` in installer.toml",
                self.target.name
            );
            return Err(Stopped::Refused(Refusal { class: Class::Operator, message: what, ran: None }));
        }
        Ok(())
    }

    /// Takes the file away by `how`: for good, or with a way back.
    fn remove(
        &self,
        expect: &wire::Expect,
        how: fn(&FileSpec, Expect) -> Result<Removed, ApplyError>,
    ) -> Result<Answer, Stopped> {
        let expect = expected(expect)?;
        self.may_remove()?;
        let (disk, found, record) = self.look()?;
        if disk == OnDisk::Absent {
            self.owned().forget(self.member)?;
            return Ok(Answer::Unchanged { path: self.path() });
        }
        if !record.is_ours(found) {
            return Err(self.stranger("remove it by hand if it is to go"));
        }
        if !record.is_as_written(found) {
            // Somebody edited it. It goes, since a revocation must land, and what they wrote is kept.
            file::keep_found(&self.spec, since_1970_us(SystemTime::now()))?;
        }
        self.owe_reload()?;
        let removed = how(&self.spec, expect)?;
        // What comes back by `revert`, or is put here again, is ours by its content.
        let mut gone = record;
        gone.gone();
        self.owned().save(self.member, &gone)?;
        Ok(match removed {
            Removed::Absent => Answer::Unchanged { path: self.path() },
            Removed::Gone => {
                Answer::Removed { path: self.path(), replaced: found.map(|digest| digest.to_string()) }
            }
        })
    }

    fn drop_aside(&self) -> Result<Answer, Stopped> {
        let (disk, _, record) = self.look()?;
        if record.is_known() {
            file::drop_aside(&self.spec)?;
            if disk == OnDisk::Absent {
                self.owned().forget(self.member)?;
            }
        }
        Ok(Answer::Settled)
    }

    fn revert(&self) -> Result<Answer, Stopped> {
        let (_, _, mut record) = self.look()?;
        if !record.is_known() {
            return Err(self.stranger("nothing of it is taken back"));
        }
        self.owe_reload()?;
        file::revert(&self.spec)?;
        let (disk, found, _) = self.look()?;
        match found {
            Some(digest) => {
                record.written(digest);
                self.owned().save(self.member, &record)?;
            }
            None if disk == OnDisk::Absent => self.owned().forget(self.member)?,
            None => {}
        }
        Ok(Answer::Settled)
    }

    /// A symlink leads from one member to another one, both such as root's config lets through.
    fn put_link(&self, to: &str) -> Result<Answer, Stopped> {
        let Place::Tree { members, .. } = &self.target.place else {
            return Err(self.refuse("a single file is no symlink"));
        };
        check_member(to)
            .and_then(|()| members.permit_file(to))
            .map_err(|why| self.refuse(&format!("no symlink may lead to `{}`: {why}", escape(to))))?;
        let (disk, _, mut record) = self.look()?;
        if disk != OnDisk::Absent && !record.is_known() {
            return Err(self.stranger("move it away"));
        }
        record.linked();
        self.owned().save(self.member, &record)?;
        self.owe_reload()?;
        let is_new = file::put_link(&self.spec, to)?;
        Ok(Answer::Linked { path: self.path(), is_new })
    }

    fn read_link(&self) -> Result<Answer, Stopped> {
        let to = file::read_link(&self.spec)?;
        Ok(Answer::Link { to: to.map(|to| to.to_string_lossy().into_owned()) })
    }

    fn remove_link(&self) -> Result<Answer, Stopped> {
        self.may_remove()?;
        let (disk, _, record) = self.look()?;
        if disk != OnDisk::Absent && !record.is_known() {
            return Err(self.stranger("remove it by hand if it is to go"));
        }
        self.owe_reload()?;
        let removed = file::remove_link(&self.spec)?;
        self.owned().forget(self.member)?;
        Ok(match removed {
            Removed::Absent => Answer::Unchanged { path: self.path() },
            Removed::Gone => Answer::Removed { path: self.path(), replaced: None },
        })
    }

    fn reload(&self) -> Result<Answer, Stopped> {
        let Some(argv) = &self.target.reload else { return Ok(Answer::Reloaded { ran: None }) };
        // Only what was written or removed is owed one: a daemon cannot make root run commands as often as it likes.
        if !self.owned().owes_reload()? {
            return Ok(Answer::Reloaded { ran: None });
        }
        let output = file::reload(&self.spec, Some(argv))?;
        if output.as_ref().is_some_and(Output::is_success) {
            self.owned().reloaded()?;
        }
        Ok(Answer::Reloaded { ran: output.map(|output| ran(&output)) })
    }

    /// Notes that a reload is owed; whether it was not before.
    fn owe_reload(&self) -> io::Result<bool> {
        let is_new = self.target.reload.is_some() && !self.owned().owes_reload()?;
        if is_new {
            self.owned().owe_reload()?;
        }
        Ok(is_new)
    }

    /// Nothing was swapped after all.
    fn took_back(&self, is_new: bool) -> io::Result<()> {
        if is_new { self.owned().reloaded() } else { Ok(()) }
    }

    fn refuse(&self, why: &str) -> Stopped {
        let message = format!("target `{}`: {why}", self.target.name);
        Stopped::Refused(Refusal { class: Class::Operator, message, ran: None })
    }

    fn stranger(&self, what_to_do: &str) -> Stopped {
        let message = format!("`{}` exists and the installer did not write it; {what_to_do}", self.path());
        Stopped::Refused(Refusal { class: Class::Operator, message, ran: None })
    }
}

fn refusal(stopped: Stopped) -> Refusal {
    match stopped {
        Stopped::Refused(refusal) => refusal,
        Stopped::Record(error) => {
            let message = format!("the installer's own record cannot be used: {error}");
            Refusal { class: Class::Operator, message, ran: None }
        }
        Stopped::Apply(error) => {
            let class = match (error.kind(), &error.cause) {
                (_, Cause::Changed) => Class::Changed,
                (Kind::Transient, _) => Class::Transient,
                (Kind::Refused, _) => Class::Bytes,
                (Kind::NeedsOperator, _) => Class::Operator,
            };
            Refusal { class, message: error.to_string(), ran: error.output().map(ran) }
        }
    }
}

fn expected(expect: &wire::Expect) -> Result<Expect, Stopped> {
    Ok(match expect {
        wire::Expect::Anything => Expect::Anything,
        wire::Expect::Absent => Expect::Absent,
        wire::Expect::Content(hex) => Expect::Content(digest(hex)?),
    })
}

fn digest(hex: &str) -> Result<Digest, Stopped> {
    hex.parse().map_err(|why: &str| {
        Stopped::Refused(Refusal {
            class: Class::Operator,
            message: format!("this is no request: {why}"),
            ran: None,
        })
    })
}

fn ran(output: &Output) -> Ran {
    let kept = output.output.get(..OUTPUT_BYTES_MAX).unwrap_or(&output.output);
    Ran {
        ended: match output.status {
            Status::Exited(code) => Ended::Exited(code),
            Status::Signalled(signal) => Ended::Signalled(signal),
            Status::TimedOut => Ended::TimedOut,
        },
        output: String::from_utf8_lossy(kept).into_owned(),
        is_cut: output.is_cut || kept.len() < output.output.len(),
        took_ms: u64::try_from(output.took.as_millis()).unwrap_or(u64::MAX),
    }
}

fn since_1970_us(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
