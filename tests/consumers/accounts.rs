//! sudo, pam_access and the name service demand files of root at fixed places: each question is asked in a mount
//! namespace of its own, in which what the installer wrote stands there. The daemon has no rights at all.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::story::{ROLE, Story, as_installed, has, is_root, is_roots, unprivileged};
use crate::support::daemon::Daemon;
use crate::support::installer::RootPlace;

/// Accounts that the machine of these tests knows.
fn passwd(dir: &Path) {
    let mut text =
        String::from("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n");
    for (n, name) in ["alice", "alicia", "bob", "nobody-at-all"].iter().enumerate() {
        text.push_str(&format!("{name}:x:{0}:{0}::/nonexistent:/bin/sh\n", 61_000 + n));
    }
    std::fs::write(dir.join("passwd"), text).unwrap();
}

/// Runs `script` with its arguments where `binds` stand in for the machine's own files.
fn inside(binds: &[(&Path, &str)], command: &[&str]) -> std::process::Output {
    let mut script = String::from("set -e\n");
    for (ours, theirs) in binds {
        script.push_str(&format!("mount --bind '{}' '{theirs}'\n", ours.display()));
    }
    script.push_str("exec \"$@\"\n");
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script, "inside"])
        .args(command)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A file as sudo demands it.
fn root_file(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();
}

fn shown(out: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// The example for sudo, with a command that every machine has.
fn with_sudo(place: &mut RootPlace) -> crate::support::daemon::Daemon {
    place.folder("sudoers.d");
    let changed = [
        ("/etc/sudoers.d/rosterd", "{place}/sudoers.d/rosterd"),
        ("/usr/bin/systemctl restart app", "/bin/true"),
    ];
    as_installed(place, "sudo", &changed)
}

fn ready(test: &str, programs: &[&str]) -> bool {
    has(test, programs) && has(test, &["unshare", "mount"]) && is_root(test) && {
        let out = inside(&[], &["true"]);
        assert!(out.status.success() || std::env::var_os("CI").is_none(), "{}", shown(&out));
        if !out.status.success() {
            println!("SKIP {test}: no mount namespaces here");
        }
        out.status.success()
    }
}

#[test]
fn sudo_lets_holders_run_the_rule_and_nobody_else() {
    if !ready("sudoers", &["sudo", "visudo"]) {
        return;
    }
    let mut place = RootPlace::new();
    let mut daemon = with_sudo(&mut place);
    passwd(&place.path(""));
    let include = format!("root ALL=(ALL:ALL) ALL\n@includedir {}\n", place.path("sudoers.d").display());
    root_file(&place.path("sudoers"), &include);
    daemon.run();
    let file = place.path("sudoers.d/rosterd");
    let story = Story::open(&daemon, file.to_str().unwrap(), "");
    let (passwd, sudoers) = (place.path("passwd"), place.path("sudoers"));
    let binds = [(passwd.as_path(), "/etc/passwd"), (sudoers.as_path(), "/etc/sudoers")];
    let out = inside(&binds, &["visudo", "-c", "-s", "-f", "/etc/sudoers"]);
    assert!(out.status.success(), "{}", shown(&out));
    story.play(&mut |who| {
        let out = inside(&binds, &["sudo", "-n", "-l", "-U", who, "/bin/true"]);
        let text = shown(&out);
        assert!(!text.contains("syntax error") && !text.contains("unknown user"), "{text}");
        Some(out.status.success())
    });
    is_roots(&file, 0o440);
    // Nobody is left: the file has no rule, and sudo still finds nothing to complain about.
    let out = inside(&binds, &["visudo", "-c", "-s", "-f", "/etc/sudoers"]);
    assert!(out.status.success(), "{}", shown(&out));
}

#[test]
fn sudo_takes_names_that_bite_for_the_one_user_of_that_name() {
    if !ready("sudoers", &["sudo", "visudo"]) {
        return;
    }
    let mut place = RootPlace::new();
    let mut daemon = with_sudo(&mut place);
    daemon.run();
    let file = place.path("sudoers.d/rosterd");
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let names =
        ["%sre", "!bob", "a b", "a\"b", "a\\b", "x@y", "é", "a,b", "defaults", "x41b", "a=b", "user_alias"];
    // sudo ignores case, so this one would be `carl`.
    let ids: Vec<String> = names.iter().chain(&["CARL"]).map(|name| scim.create_user(name)).collect();
    scim.create_group("Crew", &ids.iter().map(String::as_str).collect::<Vec<_>>());
    crate::support::wait_until("all are listed", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.matches(", ").count() == names.len() - 1)
    });
    is_roots(&file, 0o440);
    let mut text = std::fs::read_to_string("/etc/passwd").unwrap();
    let others = ["bob", "sre", "b", "a", "x", "y", "ab", "Ab", "wheel", "carl", "CARL"];
    for (n, name) in names.iter().chain(&others).enumerate() {
        text.push_str(&format!("{name}:x:{0}:{0}::/nonexistent:/bin/sh\n", 61_000 + n));
    }
    std::fs::write(place.path("passwd"), text).unwrap();
    std::fs::write(place.path("sudoers"), format!("@include {}\n", file.display())).unwrap();
    let (passwd, sudoers) = (place.path("passwd"), place.path("sudoers"));
    let binds = [(passwd.as_path(), "/etc/passwd"), (sudoers.as_path(), "/etc/sudoers")];
    for (names, expected) in [(&names[..], true), (&others[..], false)] {
        for name in names {
            let out = inside(&binds, &["sudo", "-n", "-l", "-U", name, "/bin/true"]);
            assert_eq!(out.status.success(), expected, "{name}: {}", shown(&out));
        }
    }
}

#[test]
fn pam_access_lets_holders_log_in_and_nobody_else() {
    if !ready("pam-access", &["pamtester"]) {
        return;
    }
    let mut place = RootPlace::new();
    place.folder("security");
    let mut daemon = as_installed(
        &mut place,
        "pam",
        &[("/etc/security/rosterd/access.conf", "{place}/security/access.conf")],
    );
    passwd(&place.path(""));
    place.folder("pam.d");
    let file = place.path("security/access.conf");
    let service = format!("account required pam_access.so accessfile={} nodefgroup\n", file.display());
    std::fs::write(place.path("pam.d/rosterd"), service).unwrap();
    daemon.run();
    let story = Story::open(&daemon, file.to_str().unwrap(), "");
    let (passwd, pam) = (place.path("passwd"), place.path("pam.d"));
    let binds = [(passwd.as_path(), "/etc/passwd"), (pam.as_path(), "/etc/pam.d")];
    let asks = |who: &str| {
        let out = inside(&binds, &["pamtester", "rosterd", who, "acct_mgmt"]);
        assert!(out.status.success() || shown(&out).contains("Permission denied"), "{}", shown(&out));
        Some(out.status.success())
    };
    story.play(&mut |who| asks(who));
    assert_eq!(asks("root"), Some(true), "who is always let in stays in");
    assert!(std::fs::read_to_string(&file).unwrap().ends_with("+:root:ALL\n-:ALL:ALL\n"));
    is_roots(&file, 0o644);
}

#[test]
fn the_name_service_shows_the_group_with_its_holders() {
    if !ready("extrausers", &["getent"]) || !has("extrausers", &["libnss_extrausers.so.2"]) {
        return;
    }
    let mut place = RootPlace::new();
    let folder = place.folder("extrausers");
    let file = folder.join("group");
    place.start(
        "[[target]]\nname = \"groups\"\ntype = \"file\"\npath = \"{place}/extrausers/group\"\nformat = \"extrausers\"\n\
         bounds = { ids = [60600, 60699], groups = [\"crew\"] }\n",
    );
    let target = format!(
        "[[role]]\nname = \"admin\"\ngroups = [\"Crew\"]\n[[target]]\nname = \"groups\"\ntype = \"file\"\n\
         format = \"extrausers\"\npath = \"{}\"\nvia = \"installer\"\n\
         options = {{ gids = [60601, 60699], names = {{ admin = \"crew\" }} }}\n",
        file.display()
    );
    let mut daemon = unprivileged(&place, &target);
    daemon.run();
    let story = Story::open(&daemon, file.to_str().unwrap(), "");
    let binds = [(folder.as_path(), "/var/lib/extrausers")];
    story.play(&mut |who| {
        let out = inside(&binds, &["getent", "-s", "extrausers", "group", "crew"]);
        assert!(out.status.success(), "{}", shown(&out));
        let text = String::from_utf8(out.stdout).unwrap();
        let members = text.trim().strip_prefix("crew:x:60601:").unwrap_or_else(|| panic!("{text}"));
        Some(members.split(',').any(|member| member == who))
    });
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "crew:x:60601:\n");
    is_roots(&file, 0o644);
}

#[test]
fn systemd_knows_the_accounts_and_the_group_of_holders() {
    if !ready("userdb", &["getent", "libnss_systemd.so.2"]) {
        return;
    }
    let target = "[[target]]\nname = \"accounts\"\ntype = \"tree\"\nformat = \"userdb\"\npath = \"{dir}/userdb\"\nmode = \"0644\"\n\
        options = { gids = [60000, 60499], uids = [60500, 64999] }\nmap = { \"role:admin\" = \"crew\" }\n";
    let mut daemon = Daemon::prepare(&format!("{ROLE}{target}"));
    std::fs::create_dir(daemon.path("userdb")).unwrap();
    daemon.run();
    let story = Story::open(&daemon, "userdb/crew.group", "");
    let place = daemon.path("userdb");
    let script = "mount -t tmpfs none /run && mkdir /run/userdb && mount --bind \"$1\" /run/userdb && getent -s systemd passwd \"$2\"; \
        exec getent -s systemd group crew";
    let asked = |who: &str| {
        let out = inside(&[], &["sh", "-c", script, "ask", place.to_str().unwrap(), who]);
        shown(&out).lines().map(str::to_owned).collect::<Vec<String>>()
    };
    let mut uids = std::collections::BTreeMap::new();
    story.play(&mut |who| {
        let lines = asked(who);
        let group = lines.iter().find_map(|line| line.strip_prefix("crew:x:60000:"))?;
        let is_member = group.split(',').any(|member| member == who);
        let account = lines.iter().find_map(|line| line.strip_prefix(&format!("{who}:x:")));
        if let Some(account) = account {
            let uid = account.split(':').next().unwrap().parse::<u32>().unwrap();
            // A uid that nobody was given is what systemd makes of a broken record.
            assert!((60_500..65_000).contains(&uid), "{account}");
            uids.insert(who.to_owned(), uid);
        }
        (account.is_some() == is_member).then_some(is_member)
    });
    assert_eq!(uids["alice"], uids["alicia"], "a new name is no new account");
    assert_ne!(uids["alice"], uids["bob"]);
    let log = std::fs::read_to_string(daemon.path("state/unix-ids.log"))
        .or_else(|_| std::fs::read_to_string(daemon.path("unix-ids.log")))
        .unwrap();
    assert!(log.contains(&format!("{} uid acme", uids["alice"])) && log.contains("60000 gid admin"), "{log}");
}

/// The same records in a folder of root: files, memberships and links, by the installer, within bounds.
#[test]
fn systemd_knows_the_accounts_that_the_installer_wrote() {
    if !ready("userdb installer", &["getent", "libnss_systemd.so.2"]) {
        return;
    }
    let mut place = RootPlace::new();
    let folder = place.folder("userdb");
    place.start(
        "[[target]]\nname = \"accounts\"\ntype = \"tree\"\npath = \"{place}/userdb\"\nformat = \"userdb\"\n\
         members = [\"*.user\", \"*.group\", \"*:crew.membership\"]\nbounds = { ids = [60000, 64999], groups = [\"crew\"], deny = [\"eve\"] }\n",
    );
    let config = format!(
        "[[role]]\nname = \"admin\"\ngroups = [\"Crew\"]\n[[target]]\nname = \"accounts\"\ntype = \"tree\"\nformat = \"userdb\"\n\
         path = \"{}\"\nvia = \"installer\"\noptions = {{ gids = [60000, 60499], uids = [60500, 64999] }}\n\
         map = {{ \"role:admin\" = \"crew\" }}\n",
        folder.display()
    );
    let mut daemon = unprivileged(&place, &config);
    daemon.run();
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let (alice, bob) = (scim.create_user("alice"), scim.create_user("bob"));
    let crew = scim.create_group("Crew", &[&alice]);
    let script = "mount --bind \"$1\" /mnt && mount -t tmpfs none /run && mkdir /run/userdb && mount --bind /mnt /run/userdb && getent -s systemd passwd \"$2\"; \
        exec getent -s systemd group crew";
    let at = folder.clone();
    let mut asks = |who: &str| {
        let out = inside(&[], &["sh", "-c", script, "ask", at.to_str().unwrap(), who]);
        let text = shown(&out);
        let is_member = text.lines().any(|line| {
            line.strip_prefix("crew:x:60000:").is_some_and(|names| names.split(',').any(|name| name == who))
        });
        let has_account = text.lines().any(|line| line.starts_with(&format!("{who}:x:60")));
        (is_member == has_account).then_some(is_member)
    };
    crate::story::becomes(&mut asks, "alice", true);
    crate::story::becomes(&mut asks, "bob", false);
    is_roots(&folder.join("alice.user"), 0o644);
    assert!(std::fs::symlink_metadata(folder.join("60000.group")).unwrap().is_symlink());
    scim.add_member(&crew, &bob);
    crate::story::becomes(&mut asks, "bob", true);
    // Root wants no eve: her record and the group with her in it are refused, and alice goes all the same.
    let eve = scim.create_user("eve");
    scim.add_member(&crew, &eve);
    crate::support::wait_until("the bounds refuse eve", || {
        daemon.target("accounts")["last_error"].as_str().is_some_and(|error| error.contains("deny"))
    });
    scim.remove_member(&crew, &alice);
    crate::story::becomes(&mut asks, "alice", false);
    crate::story::becomes(&mut asks, "bob", true);
    assert_eq!(asks("eve"), Some(false));
    scim.remove_member(&crew, &eve);
    scim.set_active(&bob, false);
    crate::story::becomes(&mut asks, "bob", false);
    crate::support::wait_until("no account is left", || !folder.join("bob.user").exists());
}
