//! Apache reads `apache-groups` at every request; nothing is reloaded.

use std::process::Command;

use base64::Engine as _;

use crate::names;
use crate::story::{ROLE, Server, Story, free_port, has, http_status, open_to_all, run, wait_port};
use crate::support::daemon::Daemon;

#[test]
fn apache_lets_in_whom_the_group_names() {
    if !has("apache", &["apache2", "htpasswd"]) {
        return;
    }
    let target = "[[target]]\nname = \"apache\"\ntype = \"file\"\nformat = \"apache-groups\"\npath = \"{dir}/groups\"\nmode = \"0644\"\n";
    let mut daemon = Daemon::prepare(&format!("{ROLE}{target}"));
    open_to_all(daemon.dir.path());
    let port = free_port();
    let dir = daemon.dir.path().display().to_string();
    let hash =
        run(Command::new("htpasswd").args(["-nbs", "x", "pw"])).trim().trim_start_matches("x:").to_owned();
    let known = ["alice@example.com", "alicia@example.com", "bob@example.com"].into_iter();
    let known =
        known.chain(names::DANGEROUS.iter().copied().filter(|name| !name.contains(['\n', '\r', ':'])));
    std::fs::write(daemon.path("users"), known.map(|name| format!("{name}:{hash}\n")).collect::<String>())
        .unwrap();
    std::fs::create_dir(daemon.path("www")).unwrap();
    std::fs::write(daemon.path("www/index.html"), "in\n").unwrap();
    let modules = [
        "mpm_event",
        "authn_core",
        "authz_core",
        "authn_file",
        "auth_basic",
        "authz_groupfile",
        "authz_user",
        "dir",
    ];
    let load = |name: &&str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    let user = if rustix::process::geteuid().is_root() { "User nobody\nGroup nogroup\n" } else { "" };
    let conf = format!(
        "ServerRoot {dir}\nDefaultRuntimeDir {dir}\nPidFile {dir}/apache.pid\nListen 127.0.0.1:{port}\nServerName localhost\n\
         ErrorLog {dir}/apache.log\n{user}{}DocumentRoot {dir}/www\nDirectoryIndex index.html\n\
         <Directory {dir}/www>\nAuthType Basic\nAuthName x\nAuthUserFile {dir}/users\nAuthGroupFile {dir}/groups\n\
         Require group admin\n</Directory>\n",
        modules.iter().map(load).collect::<String>()
    );
    std::fs::write(daemon.path("apache.conf"), conf).unwrap();
    let _apache = Server::start(
        Command::new("/usr/sbin/apache2").args(["-DFOREGROUND", "-f"]).arg(daemon.path("apache.conf")),
        &daemon.path("apache.out"),
    );
    wait_port(port);
    daemon.run();
    let story = Story::open(&daemon, "groups", "@example.com");
    story.play(&mut |who| {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{who}:pw"));
        match http_status(port, &[("Authorization", &format!("Basic {basic}"))])? {
            200 => Some(true),
            401 => Some(false),
            other => panic!("apache answered {other} for {who}"),
        }
    });
}
