//! A daemon that somebody else has taken over asks for what it likes. Every test is one thing it must not get.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use serde_json::{Value, json};

use super::tests::{Place, RULE, sudoers};
use crate::downstream::file::Digest;
use crate::downstream::installer::wire::{Answer, Ask, Class, Expect, FRAME_BYTES_MAX, Found, VERSION};

fn apply(bytes: &[u8]) -> Ask {
    let length = u64::try_from(bytes.len()).unwrap();
    Ask::Apply { expect: Expect::Anything, length, sha256: Digest::of(bytes).to_string() }
}

/// Puts bytes in place as an honest daemon would, with the end of the swap.
fn put(place: &Place, bytes: &str) {
    let answer = place.ask("sudo", None, &apply(bytes.as_bytes()), bytes.as_bytes());
    assert!(matches!(answer, Answer::Swapped { .. }), "{answer:?}");
    let settle = Ask::Settle { sha256: Digest::of(bytes.as_bytes()).to_string(), replaced: None, label: 1 };
    assert_eq!(place.ask("sudo", None, &settle, b""), Answer::Settled);
}

const REMOVE: Ask = Ask::Remove { expect: Expect::Anything };

/// The refusal's message.
#[track_caller]
fn refused(answer: &Answer) -> String {
    match answer {
        Answer::Refused(refusal) => refusal.message.clone(),
        other => panic!("it was done: {other:?}"),
    }
}

#[test]
fn a_target_that_root_does_not_know() {
    let place = Place::new();
    for target in ["shadow", "", "../sudo", "sudo\0", "SUDO"] {
        let message = refused(&place.ask(target, None, &apply(b"x\n"), b"x\n"));
        assert!(message.contains("has no target"), "{message}");
    }
    place.nothing_written();
}

#[test]
fn a_path_an_owner_a_mode_or_a_command_of_its_own() {
    let place = Place::new();
    let bytes = sudoers("alice");
    for (key, value) in [
        ("path", json!("/etc/shadow")),
        ("owner", json!("rosterd")),
        ("mode", json!(0o4755)),
        ("check", json!(["/bin/true"])),
        ("reload", json!(["/bin/sh", "-c", "id"])),
        ("", json!(1)),
    ] {
        let message = refused(&place.raw(
            |request| {
                request.insert(key.into(), value.clone());
            },
            bytes.as_bytes(),
        ));
        assert!(
            message.contains("no request of version 1") && message.contains("unknown field"),
            "{message}"
        );
    }
    place.nothing_written();
}

#[test]
fn members_that_lead_out_of_the_tree_or_are_not_in_its_list() {
    let place = Place::new();
    let long = "a".repeat(300);
    for member in [
        "..",
        ".",
        "",
        "../sudoers",
        "a/../../x",
        "/etc/shadow",
        "deploy/x",
        "deploy\0",
        "deploy\n",
        ".rosterd-x",
        "-rf",
        "~root",
        "d\u{202e}eploy",
        "root",
        "Root",
        "postgres",
        "stranger",
        "app-evil",
        "app-1~",
        &long,
    ] {
        let bytes = b"alice@example.com\n";
        let message = refused(&place.ask("ssh", Some(member), &apply(bytes), bytes));
        assert!(message.contains("may have no file"), "{message}");
        refused(&place.ask("ssh", Some(member), &REMOVE, b""));
        refused(&place.ask("ssh", Some(member), &Ask::Inspect, b""));
    }
    refused(&place.ask("ssh", None, &apply(b"x\n"), b"x\n"));
    refused(&place.ask("sudo", Some("deploy"), &apply(b"x\n"), b"x\n"));
    place.nothing_written();
}

#[test]
fn another_users_connection() {
    let mut place = Place::new();
    place.settings.user.uid += 1;
    let greeting = place.greeting();
    let why = greeting.refused.unwrap();
    assert!(why.contains("may not ask") && greeting.session.is_empty(), "{why}");
}

#[test]
fn a_request_that_was_made_for_another_connection() {
    let place = Place::new();
    let bytes = sudoers("alice");
    let mut recorded = String::new();
    let first =
        place.raw(|request| recorded = request["session"].as_str().unwrap().to_owned(), bytes.as_bytes());
    assert!(matches!(first, Answer::Swapped { .. }), "{first:?}");
    for session in [recorded.as_str(), "", "0"] {
        let again =
            place.raw(|request| drop(request.insert("session".into(), json!(session))), bytes.as_bytes());
        assert!(refused(&again).contains("another connection"));
    }
}

#[test]
fn another_version_garbage_and_frames_without_end() {
    let place = Place::new();
    let bytes = sudoers("alice");
    for version in [0, VERSION + 1] {
        let answer =
            place.raw(|request| drop(request.insert("version".into(), json!(version))), bytes.as_bytes());
        assert!(refused(&answer).contains("version"), "{version}");
    }
    let most = u32::try_from(FRAME_BYTES_MAX).unwrap();
    for (length, frame) in [
        (2, b"{}".as_slice()),
        (4, b"null"),
        (3, b"\xff\xff\xff"),
        (0, b""),
        (u32::MAX, b"{}"),
        (most + 1, b"{}"),
        (9, b"{\"ask\":1}"),
    ] {
        let sent = [&length.to_be_bytes(), frame].concat();
        assert!(refused(&place.send(&sent).unwrap()).contains("no request"), "{frame:?}");
    }
    assert!(place.send(&[0, 0, 1]).is_none(), "half a length is no request and no answer");
    place.nothing_written();
}

#[test]
fn more_bytes_than_the_target_may_have_and_others_than_it_said() {
    let mut place = Place::new();
    place.target("sudo").bytes_max = 64;
    let huge = Ask::Apply { expect: Expect::Anything, length: u64::MAX, sha256: String::new() };
    assert!(refused(&place.ask("sudo", None, &huge, b"")).contains("which may have 64"));
    let long = sudoers("alice");
    assert!(
        refused(&place.ask("sudo", None, &apply(long.as_bytes()), long.as_bytes())).contains("max_bytes")
    );
    place.target("sudo").bytes_max = 1 << 20;
    let bytes = sudoers("alice");
    let other = sudoers("mallory");
    let message =
        refused(&place.ask("sudo", None, &apply(bytes.as_bytes()), &other.as_bytes()[..bytes.len()]));
    assert!(message.contains("not those that were sent"), "{message}");
    assert!(refused(&place.ask("sudo", None, &apply(bytes.as_bytes()), b"short")).contains("did not arrive"));
    place.nothing_written();
}

#[test]
fn rules_aliases_and_people_beyond_the_bounds_leave_the_file_as_it_was() {
    let place = Place::new();
    let good = sudoers("alice");
    put(&place, &good);
    for bad in [
        good.replace("/bin/true", "ALL"),
        good.replace(RULE, "ALL=(ALL) NOPASSWD: ALL"),
        good.replace("ROSTERD_OPS", "ROSTERD_ALL"),
        good.replace("\\x61lice", "\\x6dallory"),
        good.replace("\\x61lice", "ALL"),
        good.replace("\\x61lice", "%wheel"),
        format!("{good}#1000 ALL=(ALL) ALL\n"),
        format!("{good}#includedir /tmp\n"),
        format!("{good}@include /tmp/x\n"),
        format!("{good}Defaults env_keep += LD_PRELOAD\n"),
        good.trim_end().to_owned(),
        "\0".to_owned(),
    ] {
        let answer = place.ask("sudo", None, &apply(bad.as_bytes()), bad.as_bytes());
        let Answer::Refused(refusal) = &answer else { panic!("{bad:?} was written") };
        assert_eq!(refusal.class, Class::Bytes, "{}", refusal.message);
        assert_eq!(place.read("sudoers.d/rosterd"), good);
    }
    assert_eq!(place.names("sudoers.d"), ["rosterd"]);
    let bad = "mallory@evil.example\n";
    let answer = place.ask("ssh", Some("deploy"), &apply(bad.as_bytes()), bad.as_bytes());
    assert!(refused(&answer).contains("may not be listed"));
    assert_eq!(place.names("principals"), ["stranger"]);
}

#[test]
fn bytes_that_the_check_refuses_with_no_more_of_its_words_than_a_little() {
    let mut place = Place::new();
    let good = sudoers("alice");
    put(&place, &good);
    let script = "head -c 100000 /dev/zero | tr '\\0' x; exit 3";
    place.target("sudo").check = Some(Place::argv(&["/bin/sh", "-c", script, "sh", "{file}"]));
    let more = sudoers("alicia");
    let Answer::Refused(refusal) = place.ask("sudo", None, &apply(more.as_bytes()), more.as_bytes()) else {
        panic!("it was written")
    };
    let ran = refusal.ran.unwrap();
    assert!(ran.is_cut && ran.output.len() == 4096 && refusal.message.len() < 1000, "{}", refusal.message);
    assert_eq!(place.read("sudoers.d/rosterd"), good);
}

#[test]
fn a_symlink_in_the_place_of_the_file_or_of_its_folder() {
    let place = Place::new();
    let victim = place.dir.path().join("victim");
    std::fs::write(&victim, "keep\n").unwrap();
    let file = place.dir.path().join("sudoers.d/rosterd");
    symlink(&victim, &file).unwrap();
    let bytes = sudoers("alice");
    refused(&place.ask("sudo", None, &apply(bytes.as_bytes()), bytes.as_bytes()));
    assert!(file.is_symlink());
    std::fs::remove_file(&file).unwrap();

    let folder = place.dir.path().join("sudoers.d");
    let elsewhere = place.dir.path().join("elsewhere");
    std::fs::rename(&folder, &elsewhere).unwrap();
    symlink(&elsewhere, &folder).unwrap();
    assert!(
        refused(&place.ask("sudo", None, &apply(bytes.as_bytes()), bytes.as_bytes()))
            .contains("is a symlink")
    );
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "keep\n");
    assert_eq!(place.names("elsewhere"), Vec::<String>::new());
}

#[test]
fn a_folder_that_others_can_write_to() {
    let place = Place::new();
    let folder = place.dir.path().join("sudoers.d");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let bytes = sudoers("alice");
    let message = refused(&place.ask("sudo", None, &apply(bytes.as_bytes()), bytes.as_bytes()));
    assert!(message.contains("can be written by everybody"), "{message}");
}

#[test]
fn files_of_strangers_are_neither_replaced_nor_removed_nor_read() {
    let mut place = Place::new();
    place.write("principals/deploy", "operator@example.com\n");
    place.write("sudoers.d/rosterd", "root ALL=(ALL) ALL\n");
    place.target("sudo").remove = true;
    let principals = b"alice@example.com\n";
    assert!(
        refused(&place.ask("ssh", Some("deploy"), &apply(principals), principals))
            .contains("did not write it")
    );
    assert!(refused(&place.ask("ssh", Some("deploy"), &REMOVE, b"")).contains("by hand"));
    let bytes = sudoers("alice");
    assert!(
        refused(&place.ask("sudo", None, &apply(bytes.as_bytes()), bytes.as_bytes()))
            .contains("`adopt = true`")
    );
    refused(&place.ask("sudo", None, &REMOVE, b""));
    let settle = Ask::Settle { sha256: Digest::of(b"x").to_string(), replaced: None, label: 1 };
    refused(&place.ask("sudo", None, &settle, b""));
    let Answer::Found { what: Found::File { sha256, .. }, .. } = place.ask("sudo", None, &Ask::Inspect, b"")
    else {
        panic!("a file")
    };
    assert_eq!(sha256, None, "its digest would let its content be guessed");
    assert_eq!(place.read("principals/deploy"), "operator@example.com\n");
    assert_eq!(place.read("sudoers.d/rosterd"), "root ALL=(ALL) ALL\n");
    assert_eq!(place.read("principals/stranger"), "keep\n");
}

#[test]
fn a_claim_to_own_what_another_path_or_member_held() {
    let mut place = Place::new();
    let principals = b"alice@example.com\n";
    assert!(matches!(
        place.ask("ssh", Some("deploy"), &apply(principals), principals),
        Answer::Swapped { .. }
    ));
    // Root moves the target to another folder, in which the operator has a file of that name.
    std::fs::create_dir(place.dir.path().join("others")).unwrap();
    place.write("others/deploy", "operator@example.com\n");
    place.move_tree("others");
    refused(&place.ask("ssh", Some("deploy"), &REMOVE, b""));
    refused(&place.ask("ssh", Some("deploy"), &apply(principals), principals));
    assert_eq!(place.read("others/deploy"), "operator@example.com\n");
}

#[test]
fn a_hard_link_to_a_strangers_file_is_not_written_through() {
    let mut place = Place::new();
    place.write("victim", "keep\n");
    let (victim, file) = (place.dir.path().join("victim"), place.dir.path().join("sudoers.d/rosterd"));
    std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::hard_link(&victim, &file).unwrap();
    let bytes = sudoers("alice");
    refused(&place.ask("sudo", None, &apply(bytes.as_bytes()), bytes.as_bytes()));
    // And even where root lets strangers' files be replaced, it is the name that changes hands, not the file.
    place.target("sudo").adopt = true;
    assert!(matches!(
        place.ask("sudo", None, &apply(bytes.as_bytes()), bytes.as_bytes()),
        Answer::Swapped { .. }
    ));
    let facts = std::fs::metadata(&victim).unwrap();
    assert_eq!((place.read("victim").as_str(), facts.mode() & 0o777), ("keep\n", 0o600));
    assert_eq!(place.read("sudoers.d/rosterd"), bytes);
}

#[test]
fn a_removal_where_root_allows_none() {
    let place = Place::new();
    let bytes = sudoers("alice");
    place.ask("sudo", None, &apply(bytes.as_bytes()), bytes.as_bytes());
    assert!(refused(&place.ask("sudo", None, &REMOVE, b"")).contains("are not removed"));
    assert_eq!(place.read("sudoers.d/rosterd"), bytes);
}

#[test]
fn reloads_that_nothing_is_owed() {
    let mut place = Place::new();
    let count = place.dir.path().join("reloads");
    let script = format!("echo once >> {}", count.display());
    place.target("sudo").reload = Some(Place::argv(&["/bin/sh", "-c", &script]));
    let reload = |place: &Place| match place.ask("sudo", None, &Ask::Reload, b"") {
        Answer::Reloaded { ran } => ran.is_some(),
        other => panic!("{other:?}"),
    };
    assert!(!reload(&place), "nothing was ever written");
    let bytes = sudoers("alice");
    put(&place, &bytes);
    assert!(reload(&place) && !reload(&place) && !reload(&place));
    let same = place.ask("sudo", None, &apply(bytes.as_bytes()), bytes.as_bytes());
    assert!(matches!(same, Answer::Unchanged { .. }) && !reload(&place), "the same bytes change nothing");
    refused(&place.ask("sudo", None, &apply(b"bad"), b"bad"));
    assert!(!reload(&place), "what was refused changes nothing");
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "once\n");
}

#[test]
fn all_connections_at_once() {
    let place = Place::new();
    let held: Vec<_> = (0..super::CONNECTIONS_MAX).map(|_| place.connect()).collect();
    let greeting = place.greeting();
    assert!(greeting.refused.unwrap().contains("too many connections"));
    drop(held);
    crate::daemon::installer::tests::soon("a place is free again", || place.greeting().refused.is_none());
}

#[test]
fn a_value_of_the_wrong_kind_anywhere_in_the_request() {
    let place = Place::new();
    let bytes = sudoers("alice");
    for key in ["version", "session", "target", "member", "ask"] {
        for value in [json!([]), json!({}), json!(-1), json!(true), json!(1e300), Value::Null] {
            if key == "member" && value.is_null() {
                continue;
            }
            let answer =
                place.raw(|request| drop(request.insert(key.into(), value.clone())), bytes.as_bytes());
            refused(&answer);
        }
    }
    place.nothing_written();
}
