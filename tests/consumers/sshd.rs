//! sshd lets in by certificate whom the principals file of an account names; it reads the file at every login.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::story::{
    Server, Story, as_installed, free_port, has, is_root, is_roots, run, unprivileged, wait_port,
};
use crate::support::installer::RootPlace;

#[test]
fn sshd_lets_in_whom_the_principals_file_names() {
    if !has("sshd", &["sshd", "ssh", "ssh-keygen"]) || !is_root("sshd") {
        return;
    }
    // sshd refuses files below folders that others may write to, such as /tmp.
    let mut place = RootPlace::new();
    std::fs::create_dir_all("/run/sshd").unwrap();
    let principals = place.folder("principals").display().to_string();
    // The account that every machine has, for the example's `deploy`.
    let mut daemon = as_installed(
        &mut place,
        "sshd",
        &[
            ("/etc/ssh/principals/deploy", "{place}/principals/nobody"),
            // The names that bite are of no domain.
            ("[\"*@example.com\"]", "[\"*\"]"),
        ],
    );
    let place_path = place.path("").display().to_string();
    let place_path = place_path.trim_end_matches('/');
    let key = |name: &str| place.path(name);
    for name in ["ca", "host", "user"] {
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key(name)));
    }
    let port = free_port();
    let conf = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {place_path}/host\nPidFile none\nUsePAM no\nStrictModes yes\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile none\nMaxStartups 100\n\
         TrustedUserCAKeys {place_path}/ca.pub\nAuthorizedPrincipalsFile {principals}/%u\n"
    );
    std::fs::write(key("sshd.conf"), conf).unwrap();
    let _sshd = Server::start(
        Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(key("sshd.conf")),
        &daemon.path("sshd.log"),
    );
    wait_port(port);
    daemon.run();
    let story = Story::open(&daemon, &format!("{principals}/nobody"), "@example.com");
    let mut certificates: BTreeMap<String, PathBuf> = BTreeMap::new();
    story.play(&mut |who| {
        let n = certificates.len();
        let certificate = certificates.entry(who.to_owned()).or_insert_with(|| {
            let base = place.path(&format!("user{n}"));
            std::fs::copy(key("user.pub"), base.with_extension("pub")).unwrap();
            run(Command::new("ssh-keygen")
                .arg("-q")
                .arg("-s")
                .arg(key("ca"))
                .args(["-I", "x", "-n", who])
                .arg(base.with_extension("pub")));
            place.path(&format!("user{n}-cert.pub"))
        });
        let out = Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-p", &port.to_string()])
            .arg("-i")
            .arg(key("user"))
            .arg("-o")
            .arg(format!("CertificateFile={}", certificate.display()))
            .args(["nobody@127.0.0.1", "true"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        // 255 is ssh's own failure; anything else is the account's shell, which says that it is no login shell.
        match out.status.code() {
            Some(255) => {
                assert!(text.contains("Permission denied"), "{text}");
                Some(false)
            }
            _ => Some(true),
        }
    });
    is_roots(std::path::Path::new(&format!("{principals}/nobody")), 0o644);
}

/// sshd on a port of its own, with a certificate for whoever asks.
struct Sshd {
    folder: PathBuf,
    port: u16,
    certificates: BTreeMap<String, PathBuf>,
    _server: Server,
}

impl Sshd {
    fn start(folder: &std::path::Path, principals: &std::path::Path) -> Self {
        let folder = folder.to_owned();
        for name in ["ca", "host", "user"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(name)));
        }
        let (port, at) = (free_port(), folder.display());
        let conf = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile none\nUsePAM no\nStrictModes yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile none\nMaxStartups 100\n\
             TrustedUserCAKeys {at}/ca.pub\nAuthorizedPrincipalsFile {}/%u\n",
            principals.display()
        );
        std::fs::write(folder.join("sshd.conf"), conf).unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(folder.join("sshd.conf"));
        let server = Server::start(&mut command, &folder.join("sshd.log"));
        wait_port(port);
        Self { folder, port, certificates: BTreeMap::new(), _server: server }
    }

    /// A real login as `account` with a certificate for `who`.
    fn lets_in(&mut self, account: &str, who: &str) -> Option<bool> {
        let (n, folder) = (self.certificates.len(), &self.folder);
        let certificate = self.certificates.entry(who.to_owned()).or_insert_with(|| {
            let public = folder.join(format!("user{n}.pub"));
            std::fs::copy(folder.join("user.pub"), &public).unwrap();
            let mut sign = Command::new("ssh-keygen");
            run(sign.arg("-q").arg("-s").arg(folder.join("ca")).args(["-I", "x", "-n", who]).arg(public));
            folder.join(format!("user{n}-cert.pub"))
        });
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-p", &self.port.to_string()]);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg("-i").arg(self.folder.join("user")).arg("-o");
        ssh.arg(format!("CertificateFile={}", certificate.display()));
        let out = ssh.arg(format!("{account}@127.0.0.1")).arg("true").stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        // 255 is ssh's own failure; anything else is the account's shell, which says that it is no login shell.
        if out.status.code() != Some(255) {
            return Some(true);
        }
        assert!(text.contains("Permission denied"), "{text}");
        Some(false)
    }
}

/// One file for each role, named by the account it opens; the daemon has no rights, the installer writes.
#[test]
fn sshd_follows_a_tree_of_principals_through_the_installer() {
    if !has("sshd tree", &["sshd", "ssh", "ssh-keygen"]) || !is_root("sshd tree") {
        return;
    }
    std::fs::create_dir_all("/run/sshd").unwrap();
    let mut place = RootPlace::new();
    let principals = place.folder("principals");
    place.start(
        "[[target]]\nname = \"principals\"\ntype = \"tree\"\npath = \"{place}/principals\"\nformat = \"ssh-principals\"\n\
         members = [\"nobody\", \"games\"]\nbounds = { names = [\"*@example.com\"] }\n",
    );
    let config = |role: &str| {
        format!(
            "[[role]]\nname = \"{role}\"\ngroups = [\"Crew\"]\n[[target]]\nname = \"principals\"\ntype = \"tree\"\n\
             each = \"role\"\nformat = \"ssh-principals\"\npath = \"{}/{{name}}\"\nvia = \"installer\"\n",
            principals.display()
        )
    };
    let mut daemon = unprivileged(&place, &config("nobody"));
    let mut sshd = Sshd::start(&place.path(""), &principals);
    daemon.run();
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let (alice, bob) = (scim.create_user("alice@example.com"), scim.create_user("bob@example.com"));
    let crew = scim.create_group("Crew", &[&alice]);
    let mut becomes = |account: &str, who: &str, expected: bool| {
        crate::story::becomes(&mut |who| sshd.lets_in(account, who), who, expected);
    };
    becomes("nobody", "alice@example.com", true);
    becomes("nobody", "bob@example.com", false);
    becomes("games", "alice@example.com", false);
    is_roots(&principals.join("nobody"), 0o644);

    let renamed = serde_json::json!([{"op": "replace", "path": "userName", "value": "alicia@example.com"}]);
    assert!((200..300).contains(&scim.patch(&format!("/Users/{alice}"), renamed).status));
    becomes("nobody", "alicia@example.com", true);
    becomes("nobody", "alice@example.com", false);

    scim.add_member(&crew, &bob);
    becomes("nobody", "bob@example.com", true);
    // The installer refuses the file with this one in it: who is revoked goes all the same.
    let mallory = scim.create_user("mallory@evil.example");
    scim.add_member(&crew, &mallory);
    crate::support::wait_until("the bounds refuse the file", || {
        daemon.target("principals")["last_error"]
            .as_str()
            .is_some_and(|error| error.contains("may not be listed"))
    });
    scim.remove_member(&crew, &alice);
    becomes("nobody", "alicia@example.com", false);
    becomes("nobody", "bob@example.com", true);
    becomes("nobody", "mallory@evil.example", false);
    scim.remove_member(&crew, &mallory);

    let section = place.daemon_section();
    daemon.write_config(&format!("[guard]\nmin_removals = 1000\n{section}{}", config("games")));
    let reloaded = daemon.cli(&["reload"]);
    assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    becomes("games", "bob@example.com", true);
    becomes("nobody", "bob@example.com", false);
    assert!(!principals.join("nobody").exists(), "a role that is gone has no file");
    scim.set_active(&bob, false);
    becomes("games", "bob@example.com", false);
    assert_eq!(std::fs::read_to_string(principals.join("games")).unwrap(), "");
    is_roots(&principals.join("games"), 0o644);
}
