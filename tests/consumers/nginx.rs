//! nginx reads `nginx-map` through `include`; the target's `verify` and `reload` are nginx's own.

use std::process::Command;

use crate::story::{ROLE, Server, Story, free_port, has, http_status, open_to_all, wait_port};
use crate::support::daemon::Daemon;

#[test]
fn nginx_lets_in_whom_the_map_names() {
    if !has("nginx", &["nginx"]) {
        return;
    }
    let target = "[[target]]\nname = \"nginx\"\ntype = \"file\"\nformat = \"nginx-map\"\npath = \"{dir}/access.map\"\nmode = \"0644\"\n\
        options = { bucket_size = \"128\" }\n\
        verify = [\"/usr/sbin/nginx\", \"-t\", \"-q\", \"-p\", \"{dir}\", \"-c\", \"{dir}/nginx.conf\"]\n\
        reload = [\"/usr/sbin/nginx\", \"-q\", \"-p\", \"{dir}\", \"-c\", \"{dir}/nginx.conf\", \"-s\", \"reload\"]\n";
    let daemon = Daemon::prepare(&format!("{ROLE}{target}"));
    let mut daemon = daemon;
    open_to_all(daemon.dir.path());
    let port = free_port();
    let dir = daemon.dir.path().display().to_string();
    let user = if rustix::process::geteuid().is_root() { "user nobody nogroup;" } else { "" };
    // The glob lets nginx start before the file is there.
    let conf = format!(
        "{user} worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.log;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {dir}/n1; proxy_temp_path {dir}/n2; fastcgi_temp_path {dir}/n3; \
         uwsgi_temp_path {dir}/n4; scgi_temp_path {dir}/n5;\n\
         map_hash_bucket_size 128;\n\
         map $http_x_user $access {{ default \"\"; include {dir}/access.ma[p]; }}\n\
         server {{ listen 127.0.0.1:{port}; location / {{ if ($access !~ \"(^|,)admin(,|$)\") {{ return 403; }} return 204; }} }} }}\n"
    );
    std::fs::write(daemon.path("nginx.conf"), conf).unwrap();
    let _nginx = Server::start(
        Command::new("/usr/sbin/nginx").args(["-p", &dir, "-c"]).arg(daemon.path("nginx.conf")),
        &daemon.path("nginx.out"),
    );
    wait_port(port);
    daemon.run();
    let story = Story::open(&daemon, "access.map", "@example.com").exactly();
    story.play(&mut |who| http_status(port, &[("X-User", who)]).map(|status| status == 204));
    // Keys that nginx would take as one, or as words of its own, got in under their own name only.
    let log = std::fs::read_to_string(daemon.path("nginx.log")).unwrap_or_default();
    assert!(!log.contains("[emerg]"), "{log}");
}
