//! Real files in temporary folders. A crash is shown by stopping between `apply` and `settle`, or by laying out what
//! an earlier life would have left.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::*;
use crate::downstream::command::Argv;

struct Place {
    _folder: tempfile::TempDir,
    spec: FileSpec,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::set_permissions(&out, fs::Permissions::from_mode(0o750)).unwrap();
        let spec = FileSpec::new(
            TargetName::parse("opa").unwrap(),
            out.join("access.json"),
            folder.path().join("state"),
        );
        Self { _folder: folder, spec }
    }

    fn out(&self) -> &Path {
        self.spec.path.parent().unwrap()
    }

    fn put(&self, bytes: &str) -> Result<Applied, ApplyError> {
        apply(&self.spec, bytes.as_bytes(), Expect::Anything, &|_| Ok(()))
    }

    fn put_and_settle(&self, bytes: &str, label: u64) -> Swapped {
        match self.put(bytes).unwrap() {
            Applied::Swapped(swapped) => {
                settle(&self.spec, &swapped, label).unwrap();
                swapped
            }
            Applied::Unchanged => panic!("unchanged"),
        }
    }

    fn content(&self) -> String {
        fs::read_to_string(&self.spec.path).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.out())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn argv(words: &[&str]) -> Argv {
    Argv::parse(words.iter().map(|&word| word.to_owned()).collect()).unwrap()
}

fn refused(result: Result<Applied, ApplyError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error.cause, Cause::Refused(_)), "{error}");
    assert_eq!(error.kind(), Kind::NeedsOperator);
    error.to_string()
}

#[test]
fn a_new_file_is_whole_with_its_mode_and_nothing_stays_beside_it() {
    let place = Place::new();
    let swapped = place.put_and_settle("one\n", 1);
    assert_eq!((place.content().as_str(), swapped.replaced), ("one\n", None));
    assert_eq!(fs::metadata(&place.spec.path).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(place.names(), ["access.json"]);
}

#[test]
fn equal_bytes_touch_nothing() {
    let place = Place::new();
    place.put_and_settle("one\n", 1);
    let before = fs::metadata(&place.spec.path).unwrap();
    assert_eq!(place.put("one\n").unwrap(), Applied::Unchanged);
    let after = fs::metadata(&place.spec.path).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec(), before.ctime_nsec()),
        (after.ino(), after.mtime_nsec(), after.ctime_nsec())
    );
}

#[test]
fn a_wrong_mode_is_repaired_by_a_new_file() {
    let place = Place::new();
    place.put_and_settle("one\n", 1);
    fs::set_permissions(&place.spec.path, fs::Permissions::from_mode(0o666)).unwrap();
    place.put_and_settle("one\n", 1);
    assert_eq!(fs::metadata(&place.spec.path).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn a_failing_check_leaves_the_old_file_no_temp_and_the_rejected_bytes_in_the_state_folder() {
    let mut place = Place::new();
    place.put_and_settle("old\n", 1);
    place.spec.check = Some(argv(&["sh", "-c", "echo line 7 is bad >&2; exit 1", "sh", "{file}"]));
    let error = place.put("new\n").unwrap_err();
    assert_eq!((error.step, error.kind()), (Step::Check, Kind::Refused));
    assert!(error.to_string().contains("`check`: exit code 1: line 7 is bad; the old file stays"), "{error}");
    assert_eq!((place.content().as_str(), place.names()), ("old\n", vec!["access.json".to_owned()]));
    assert_eq!(fs::read_to_string(place.spec.state.join("access.json.rejected")).unwrap(), "new\n");
}

#[test]
fn the_check_sees_the_whole_staged_file_beside_the_destination() {
    let mut place = Place::new();
    let script = "test \"$(dirname \"$1\")\" = \"$2\" && test \"$(cat \"$1\")\" = new";
    place.spec.check = Some(argv(&["sh", "-c", script, "sh", "{file}", place.out().to_str().unwrap()]));
    place.put_and_settle("new\n", 1);
}

#[test]
fn the_built_in_parse_comes_first() {
    let mut place = Place::new();
    place.spec.check = Some(argv(&["/no/such/program"]));
    let error = apply(&place.spec, b"x", Expect::Anything, &|_| Err("line 1: no".into())).unwrap_err();
    assert_eq!((error.step, error.kind()), (Step::Parse, Kind::Refused));
    assert!(place.names().is_empty());
}

#[test]
fn a_check_that_cannot_be_started_needs_the_operator() {
    let mut place = Place::new();
    place.spec.check = Some(argv(&["/no/such/program", "{file}"]));
    let error = place.put("x\n").unwrap_err();
    assert_eq!((error.step, error.kind()), (Step::Check, Kind::NeedsOperator));
    assert!(place.names().is_empty());
}

#[test]
fn a_failing_verify_puts_the_very_old_file_back() {
    let mut place = Place::new();
    place.put_and_settle("old\n", 1);
    let old = fs::metadata(&place.spec.path).unwrap().ino();
    place.spec.verify = Some(argv(&["sh", "-c", "grep -q old \"$1\"", "sh", "{file}"]));
    let error = place.put("new\n").unwrap_err();
    assert_eq!((error.step, error.kind()), (Step::Verify, Kind::Refused));
    assert_eq!((place.content().as_str(), place.names()), ("old\n", vec!["access.json".to_owned()]));
    assert_eq!(fs::metadata(&place.spec.path).unwrap().ino(), old);
}

#[test]
fn a_failing_verify_of_the_first_file_leaves_none() {
    let mut place = Place::new();
    place.spec.verify = Some(argv(&["false"]));
    assert!(place.put("new\n").is_err());
    assert!(place.names().is_empty());
}

#[test]
fn a_swap_that_was_never_settled_is_verified_and_reported_again() {
    for old in [None, Some("old\n")] {
        let mut place = Place::new();
        if let Some(old) = old {
            place.put_and_settle(old, 1);
        }
        assert!(matches!(place.put("new\n").unwrap(), Applied::Swapped(_)));
        // The process dies here: nobody recorded it.
        place.spec.verify = Some(argv(&["true"]));
        let Applied::Swapped(again) = place.put("new\n").unwrap() else { panic!("its reload would be lost") };
        assert_eq!(again.replaced, old.map(|old| Digest::of(old.as_bytes())));
        assert!(again.verify.is_some());
        settle(&place.spec, &again, 2).unwrap();
        assert_eq!(place.put("new\n").unwrap(), Applied::Unchanged);
        assert_eq!(place.names(), ["access.json"]);
    }
}

#[test]
fn after_an_unsettled_swap_a_failing_verify_goes_back_to_the_last_verified_file() {
    let mut place = Place::new();
    place.put_and_settle("old\n", 1);
    assert!(matches!(place.put("unverified\n").unwrap(), Applied::Swapped(_)));
    place.spec.verify = Some(argv(&["false"]));
    assert!(place.put("newer\n").is_err());
    assert_eq!((place.content().as_str(), place.names()), ("old\n", vec!["access.json".to_owned()]));
}

#[test]
fn a_link_that_was_never_followed_by_its_rename_is_no_swap() {
    let place = Place::new();
    place.put_and_settle("one\n", 1);
    let name = staging::name("access.json".as_ref(), staging::PREVIOUS).unwrap();
    fs::hard_link(&place.spec.path, place.out().join(name)).unwrap();
    assert_eq!(place.put("one\n").unwrap(), Applied::Unchanged);
    assert_eq!(place.names(), ["access.json"]);
}

#[test]
fn stale_staged_files_go_by_exact_pattern_and_only_those_of_this_destination() {
    let place = Place::new();
    let mine = staging::name("access.json".as_ref(), staging::TEMP).unwrap().into_string().unwrap();
    let others = staging::name("other.json".as_ref(), staging::TEMP).unwrap().into_string().unwrap();
    let look_alikes = [
        others,
        format!("{mine}.bak"),
        mine.replace(".tmp", "0.tmp"),
        ".rosterd-x.tmp".into(),
        "a.tmp".into(),
    ];
    for name in look_alikes.iter().chain([&mine]) {
        fs::write(place.out().join(name), "x").unwrap();
    }
    assert_eq!(clean_stale(&place.spec).unwrap(), 1);
    let mut expected = look_alikes.to_vec();
    expected.sort();
    assert_eq!(place.names(), expected);
}

#[test]
fn a_destination_that_is_a_symlink_a_folder_or_a_fifo_is_refused_and_left() {
    let place = Place::new();
    let victim = place.out().join("victim");
    fs::write(&victim, "keep").unwrap();
    symlink(&victim, &place.spec.path).unwrap();
    assert!(refused(place.put("new\n")).contains("it is a symlink"));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "keep");
    assert!(fs::symlink_metadata(&place.spec.path).unwrap().is_symlink());
    assert_eq!(inspect(&place.spec).unwrap(), OnDisk::Other("symlink"));
    fs::remove_file(&place.spec.path).unwrap();

    fs::create_dir(&place.spec.path).unwrap();
    assert!(refused(place.put("new\n")).contains("it is a folder"));
    fs::remove_dir(&place.spec.path).unwrap();

    assert!(std::process::Command::new("mkfifo").arg(&place.spec.path).status().unwrap().success());
    assert!(refused(place.put("new\n")).contains("it is a FIFO"));
}

#[test]
fn a_symlink_anywhere_in_the_folder_is_refused_with_the_real_path() {
    let mut place = Place::new();
    let link = place.out().with_file_name("link");
    symlink(place.out(), &link).unwrap();
    let real = place.out().display().to_string();
    place.spec.path = link.join("access.json");
    let message = refused(place.put("new\n"));
    assert!(message.contains("is a symlink; name `") && message.contains(&real), "{message}");
}

#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    let place = Place::new();
    for (mode, word) in [(0o777, "everybody"), (0o1777, "everybody")] {
        fs::set_permissions(place.out(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(place.put("new\n")).contains(word));
        assert!(inspect(&place.spec).is_err());
    }
    fs::set_permissions(place.out(), fs::Permissions::from_mode(0o770)).unwrap();
    assert!(place.put("new\n").is_ok());
}

#[test]
fn a_foreign_group_or_owner_of_the_folder_is_refused_unless_trusted() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can give a folder away
    }
    let mut place = Place::new();
    std::os::unix::fs::chown(place.out(), None, Some(54321)).unwrap();
    fs::set_permissions(place.out(), fs::Permissions::from_mode(0o770)).unwrap();
    assert!(refused(place.put("new\n")).contains("not the daemon's own"));
    place.spec.group_may_write = true;
    place.put_and_settle("new\n", 1);
    std::os::unix::fs::chown(place.out(), Some(54321), None).unwrap();
    assert!(refused(place.put("newer\n")).contains("belongs to user 54321"));
    assert_eq!(place.content(), "new\n");
}

#[test]
fn odd_paths_are_refused() {
    let mut place = Place::new();
    let out = place.out().to_path_buf();
    for odd in ["../x", "./x", "x/", "a//x", "..", ".rosterd-x", &"n".repeat(300)] {
        place.spec.path = format!("{}/{odd}", out.display()).into();
        refused(place.put("new\n"));
    }
    for path in ["relative/x", "", "/"] {
        place.spec.path = path.into();
        refused(place.put("new\n"));
    }
    assert!(fs::read_dir(&out).unwrap().next().is_none());
}

#[test]
fn a_missing_folder_is_named_and_not_made() {
    let mut place = Place::new();
    place.spec.path = place.out().join("missing/access.json");
    let error = place.put("x\n").unwrap_err();
    assert_eq!((error.step, error.kind()), (Step::Folder, Kind::NeedsOperator));
    let message = error.to_string();
    assert!(message.contains("/missing`") && message.contains("create the folder first"), "{message}");
}

#[test]
fn a_full_device_is_transient_and_leaves_nothing() {
    // /dev/full is no regular file; a file size limit would end the whole process. The classes are shown instead.
    let error = |kind: std::io::ErrorKind, step| ApplyError {
        path: "/x".into(),
        step,
        cause: Cause::Io(kind.into()),
    };
    let full = error(std::io::ErrorKind::StorageFull, Step::Stage);
    assert_eq!(full.kind(), Kind::Transient);
    assert!(full.to_string().contains("free some space"));
    let read_only = error(std::io::ErrorKind::ReadOnlyFilesystem, Step::Stage);
    assert_eq!(read_only.kind(), Kind::NeedsOperator);
    assert!(read_only.to_string().contains("ReadWritePaths="));
    assert!(error(std::io::ErrorKind::ResourceBusy, Step::Swap).to_string().contains("mount its folder"));
}

#[test]
fn an_edit_since_the_plan_stops_the_swap() {
    let place = Place::new();
    place.put_and_settle("one\n", 1);
    fs::write(&place.spec.path, "edited\n").unwrap();
    for expect in [Expect::Absent, Expect::Content(Digest::of(b"one\n"))] {
        let error = apply(&place.spec, b"two\n", expect, &|_| Ok(())).unwrap_err();
        assert!(matches!(error.cause, Cause::Changed), "{error}");
    }
    assert_eq!((place.content().as_str(), place.names()), ("edited\n", vec!["access.json".to_owned()]));
    let expect = Expect::Content(Digest::of(b"edited\n"));
    assert!(matches!(apply(&place.spec, b"two\n", expect, &|_| Ok(())).unwrap(), Applied::Swapped(_)));
}

#[test]
fn an_edit_while_the_check_runs_stops_the_swap_and_leaves_no_trace() {
    let mut place = Place::new();
    place.put_and_settle("one\n", 1);
    let script = format!("echo edited > {}", place.spec.path.display());
    place.spec.check = Some(argv(&["sh", "-c", &script, "sh", "{file}"]));
    let expect = Expect::Content(Digest::of(b"one\n"));
    let error = apply(&place.spec, b"two\n", expect, &|_| Ok(())).unwrap_err();
    assert_eq!((error.step, error.kind()), (Step::Swap, Kind::Transient));
    assert_eq!((place.content().as_str(), place.names()), ("edited\n", vec!["access.json".to_owned()]));
}

#[test]
fn versions_are_kept_by_label_pruned_and_a_strangers_file_is_kept_too() {
    let mut place = Place::new();
    place.spec.keep = 3;
    fs::write(&place.spec.path, "theirs\n").unwrap();
    for (label, text) in [(7, "seven\n"), (8, "eight\n"), (12, "twelve\n")] {
        place.put_and_settle(text, label);
        let labels: Vec<(u64, bool)> =
            kept(&place.spec).unwrap().iter().map(|kept| (kept.label, kept.is_ours)).collect();
        match label {
            7 => assert_eq!(labels, [(7, false), (7, true)]),
            8 => assert_eq!(labels, [(7, false), (7, true), (8, true)]),
            _ => assert_eq!(labels, [(7, true), (8, true), (12, true)]),
        }
    }
    assert_eq!(fs::read_to_string(&kept(&place.spec).unwrap()[0].path).unwrap(), "seven\n");
    assert_eq!(place.names(), ["access.json"]);
}

#[test]
fn inspect_tells_who_wrote_what_and_when() {
    let place = Place::new();
    assert_eq!(inspect(&place.spec).unwrap(), OnDisk::Absent);
    place.put_and_settle("one\n", 1);
    let OnDisk::File(facts) = inspect(&place.spec).unwrap() else { panic!("a file") };
    assert_eq!(facts.digest, Some(Digest::of(b"one\n")));
    assert_eq!((facts.bytes, facts.mode, facts.uid), (4, 0o640, rustix::process::geteuid().as_raw()));
    assert_eq!(facts.modified, fs::metadata(&place.spec.path).unwrap().modified().unwrap());
}

#[test]
fn a_reader_beside_the_writer_never_sees_half_a_file() {
    let place = Place::new();
    let texts = ["a".repeat(300_000), "b".repeat(200_000)];
    place.put_and_settle(&texts[0], 0);
    let path = place.spec.path.clone();
    let whole = texts.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut reads = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let seen = fs::read_to_string(&path).unwrap();
            assert!(whole.contains(&seen), "{} bytes", seen.len());
            reads += 1;
        }
        reads
    });
    for n in 1..30u64 {
        place.put_and_settle(&texts[usize::from(n % 2 == 1)], n);
    }
    drop(stop);
    assert!(reader.join().unwrap() > 0);
}
