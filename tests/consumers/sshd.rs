//! sshd lets in by certificate whom the principals file of an account names; it reads the file at every login.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::story::{Server, Story, as_installed, free_port, has, is_root, is_roots, run, wait_port};
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
