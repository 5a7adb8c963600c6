//! HAProxy reads `haproxy-map` by `map_str`; a reload replaces the worker.

use std::process::Command;

use crate::story::{ROLE, Server, Story, free_port, has, http_status, open_to_all, wait_port};
use crate::support::daemon::Daemon;

#[test]
fn haproxy_lets_in_whom_the_map_names() {
    if !has("haproxy", &["haproxy"]) {
        return;
    }
    let target = "[[target]]\nname = \"haproxy\"\ntype = \"file\"\nformat = \"haproxy-map\"\npath = \"{dir}/access.map\"\nmode = \"0644\"\n\
        verify = [\"/usr/sbin/haproxy\", \"-q\", \"-c\", \"-f\", \"{dir}/haproxy.cfg\"]\n\
        reload = [\"/bin/sh\", \"-c\", \"test ! -e {dir}/haproxy.id || kill -USR2 $(cat {dir}/haproxy.id)\"]\n";
    let mut daemon = Daemon::prepare(&format!("{ROLE}{target}"));
    open_to_all(daemon.dir.path());
    let port = free_port();
    let dir = daemon.dir.path().display().to_string();
    let conf = format!(
        "global\n  maxconn 100\n\
         defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n\
         frontend f\n  bind 127.0.0.1:{port}\n  \
         http-request deny unless {{ req.fhdr(x-user),map_str({dir}/access.map) -m found }}\n  \
         http-request return status 200\n"
    );
    std::fs::write(daemon.path("haproxy.cfg"), conf).unwrap();
    daemon.run();
    let story = Story::open(&daemon, "access.map", "@example.com").exactly();
    let haproxy = Server::start(
        Command::new("/usr/sbin/haproxy").args(["-W", "-f"]).arg(daemon.path("haproxy.cfg")),
        &daemon.path("haproxy.out"),
    );
    wait_port(port);
    std::fs::write(daemon.path("haproxy.id"), haproxy.id().to_string()).unwrap();
    story.play(&mut |who| http_status(port, &[("X-User", who)]).map(|status| status == 200));
}
