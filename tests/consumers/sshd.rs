//! sshd lets in by certificate whom the principals file of an account names; it reads the file at every login.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::story::{ROLE, Server, Story, free_port, has, is_root, run, wait_port};
use crate::support::daemon::Daemon;

#[test]
fn sshd_lets_in_whom_the_principals_file_names() {
    if !has("sshd", &["sshd", "ssh", "ssh-keygen"]) || !is_root("sshd") {
        return;
    }
    // sshd refuses files below folders that others may write to, such as /tmp.
    let place = tempfile::Builder::new().prefix("rosterd-test-").tempdir_in("/run").unwrap();
    let place_path = place.path().display().to_string();
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir_all("/run/sshd").unwrap();
    let target = format!(
        "[[target]]\nname = \"ssh\"\ntype = \"file\"\nformat = \"ssh-principals\"\npath = \"{place_path}/nobody\"\nmode = \"0644\"\n\
         options = {{ roles = [\"admin\"] }}\n"
    );
    let mut daemon = Daemon::prepare(&format!("{ROLE}{target}"));
    let key = |name: &str| place.path().join(name);
    for name in ["ca", "host", "user"] {
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key(name)));
    }
    let port = free_port();
    let conf = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {place_path}/host\nPidFile none\nUsePAM no\nStrictModes yes\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile none\nMaxStartups 100\n\
         TrustedUserCAKeys {place_path}/ca.pub\nAuthorizedPrincipalsFile {place_path}/%u\n"
    );
    std::fs::write(key("sshd.conf"), conf).unwrap();
    let _sshd = Server::start(
        Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(key("sshd.conf")),
        &daemon.path("sshd.log"),
    );
    wait_port(port);
    daemon.run();
    let story = Story::open(&daemon, &format!("{place_path}/nobody"), "@example.com");
    let mut certificates: BTreeMap<String, PathBuf> = BTreeMap::new();
    story.play(&mut |who| {
        let n = certificates.len();
        let certificate = certificates.entry(who.to_owned()).or_insert_with(|| {
            let base = place.path().join(format!("user{n}"));
            std::fs::copy(key("user.pub"), base.with_extension("pub")).unwrap();
            run(Command::new("ssh-keygen")
                .arg("-q")
                .arg("-s")
                .arg(key("ca"))
                .args(["-I", "x", "-n", who])
                .arg(base.with_extension("pub")));
            place.path().join(format!("user{n}-cert.pub"))
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
}
