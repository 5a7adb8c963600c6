//! PostgreSQL reads `pg-ident` and `pg-hba-list` at a reload and runs `pg-roles` as a script; users come with TLS
//! certificates that carry their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::story::{ROLE, Server, Story, free_port, has, is_root, open_to_all, run};
use crate::support::daemon::Daemon;
use crate::support::wait_until;

/// A server program of the newest PostgreSQL that Debian has installed.
fn server(program: &str) -> String {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path().join("bin").join(program))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().map_or_else(|| program.to_owned(), |path| path.display().to_string())
}

/// The command as the server's own user.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", program]);
    command
}

struct Cluster {
    dir: PathBuf,
    port: u16,
    _server: Server,
    certificates: BTreeMap<String, PathBuf>,
}

impl Cluster {
    /// A fresh cluster with TLS; `hba` and `ident` are files or lines of the test.
    fn start(dir: &Path, hba: &str, ident: &Path) -> Self {
        let home = dir.join("pg");
        std::fs::create_dir(&home).unwrap();
        run(Command::new("chown").arg("postgres:postgres").arg(&home));
        let data = home.join("data");
        run(as_postgres(&server("initdb")).args(["-A", "trust", "-N", "-D"]).arg(&data));
        run(Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                "/CN=ca",
            ])
            .args(["-keyout", "ca.key", "-out", "ca.crt"])
            .current_dir(&home));
        run(Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-keyout", "server.key", "-out", "server.crt"])
            .current_dir(&home));
        run(Command::new("chown").arg("postgres:postgres").arg(home.join("server.key")));
        let port = free_port();
        std::fs::write(home.join("hba.conf"), format!("local all postgres trust\n{hba}")).unwrap();
        let conf = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{home}'\nfsync = off\nssl = on\n\
             ssl_ca_file = '{home}/ca.crt'\nssl_cert_file = '{home}/server.crt'\nssl_key_file = '{home}/server.key'\n\
             hba_file = '{home}/hba.conf'\nident_file = '{}'\nshared_buffers = '16MB'\nmax_connections = 20\n",
            ident.display(),
            home = home.display()
        );
        std::fs::write(home.join("postgresql.conf"), conf).unwrap();
        let server = Server::start(
            as_postgres(&server("postgres"))
                .arg("-D")
                .arg(&data)
                .arg("-c")
                .arg(format!("config_file={}", home.join("postgresql.conf").display())),
            &dir.join("postgres.out"),
        );
        let cluster = Self { dir: home, port, _server: server, certificates: BTreeMap::new() };
        wait_until("PostgreSQL answers", || cluster.admin("select 1").status.success());
        cluster
    }

    fn admin(&self, sql: &str) -> std::process::Output {
        as_postgres("psql")
            .args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", sql, "-h"])
            .arg(&self.dir)
            .args(["-p", &self.port.to_string()])
            .output()
            .unwrap()
    }

    fn sql(&self, sql: &str) -> String {
        let out = self.admin(sql);
        assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// A client certificate for this name, made once.
    fn certificate(&mut self, name: &str) -> PathBuf {
        if let Some(base) = self.certificates.get(name) {
            return base.clone();
        }
        let base = self.dir.join(format!("client{}", self.certificates.len()));
        let escaped = name.replace('\\', "\\\\").replace('/', "\\/").replace('+', "\\+").replace('=', "\\=");
        run(Command::new("openssl")
            .args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-utf8"])
            .arg("-subj")
            .arg(format!("/CN={escaped}"))
            .arg("-keyout")
            .arg(base.with_extension("key"))
            .arg("-out")
            .arg(base.with_extension("csr")));
        run(Command::new("openssl")
            .args(["x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-in"])
            .arg(base.with_extension("csr"))
            .arg("-out")
            .arg(base.with_extension("crt"))
            .current_dir(&self.dir));
        self.certificates.insert(name.to_owned(), base.clone());
        base
    }

    /// Whether that certificate may connect as that database user.
    fn connects(&mut self, certificate: &str, user: &str) -> bool {
        let base = self.certificate(certificate);
        let out = Command::new("psql")
            .args(["-X", "-At", "-w", "-c", "select 1", "-d"])
            .arg(format!(
                "host=127.0.0.1 port={} dbname=postgres sslmode=require sslcert='{crt}' sslkey='{key}'",
                self.port,
                crt = base.with_extension("crt").display(),
                key = base.with_extension("key").display()
            ))
            .args(["-U", user])
            .output()
            .unwrap();
        out.status.success()
    }
}

/// The daemon has the reload signal sent once the server has told its id.
const RELOAD: &str = "reload = [\"/bin/sh\", \"-c\", \"test ! -e {dir}/pg/data/postmaster.pid || kill -HUP $(head -n 1 {dir}/pg/data/postmaster.pid)\"]\n";

fn ready(test: &str) -> bool {
    has(test, &["psql", "openssl", "setpriv", &server("postgres")]) && is_root(test)
}

#[test]
fn postgresql_lets_in_whom_pg_ident_maps() {
    if !ready("pg-ident") {
        return;
    }
    let target = format!(
        "[[target]]\nname = \"ident\"\ntype = \"file\"\nformat = \"pg-ident\"\npath = \"{{dir}}/ident.conf\"\nmode = \"0644\"\n\
         options = {{ map = \"scim\", names = {{ admin = \"dba\" }} }}\n{RELOAD}"
    );
    let mut daemon = Daemon::prepare(&format!("{ROLE}{target}"));
    open_to_all(daemon.dir.path());
    daemon.run();
    let story = Story::open(&daemon, "ident.conf", "@example.com");
    let hba = "hostssl all all 127.0.0.1/32 cert map=scim\n";
    let mut cluster = Cluster::start(daemon.dir.path(), hba, &daemon.path("ident.conf"));
    cluster.sql("create role dba login");
    story.play(&mut |who| Some(cluster.connects(who, "dba")));
    assert_eq!(cluster.sql("select count(*) from pg_ident_file_mappings where error is not null"), "0");
}

#[test]
fn a_system_user_with_a_slash_in_front_is_itself_and_no_pattern() {
    if !ready("pg-ident") {
        return;
    }
    let target = format!(
        "[[target]]\nname = \"ident\"\ntype = \"file\"\nformat = \"pg-ident\"\npath = \"{{dir}}/ident.conf\"\nmode = \"0644\"\n{RELOAD}"
    );
    let daemon = Daemon::start(&format!("{ROLE}{target}"));
    open_to_all(daemon.dir.path());
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let names = ["/bob", "a\"b", "a b", "x,y", "#x", "@x", "%wheel", "b\\"];
    let ids: Vec<String> = names.iter().map(|name| scim.create_user(name)).collect();
    scim.create_group("Crew", &ids.iter().map(String::as_str).collect::<Vec<_>>());
    wait_until("all are mapped", || daemon.read("ident.conf").lines().count() == names.len());
    let hba = "hostssl all all 127.0.0.1/32 cert map=rosterd\n";
    let mut cluster = Cluster::start(daemon.dir.path(), hba, &daemon.path("ident.conf"));
    cluster.sql("create role admin login");
    for name in names {
        assert!(cluster.connects(name, "admin"), "{name}");
    }
    for other in ["bob", "x/bob", "/bobby", "a", "b", "x", "y", "x,y\"", "wheel", "root"] {
        assert!(!cluster.connects(other, "admin"), "{other}");
    }
}

#[test]
fn postgresql_lets_in_whom_the_hba_list_names() {
    if !ready("pg-hba-list") {
        return;
    }
    let target = format!(
        "[[target]]\nname = \"list\"\ntype = \"file\"\nformat = \"pg-hba-list\"\npath = \"{{dir}}/crew.list\"\nmode = \"0644\"\n\
         options = {{ roles = [\"admin\"] }}\n{RELOAD}"
    );
    let mut daemon = Daemon::prepare(&format!("{ROLE}{target}"));
    open_to_all(daemon.dir.path());
    daemon.run();
    let story = Story::open(&daemon, "crew.list", "@example.com");
    // Behind an empty list the fields would move up and this would be another rule, or none.
    let hba = format!("hostssl all @{} 127.0.0.1/32 cert\n", daemon.path("crew.list").display());
    std::fs::write(daemon.path("empty.conf"), "").unwrap();
    let mut cluster = Cluster::start(daemon.dir.path(), &hba, &daemon.path("empty.conf"));
    for name in ["alice@example.com", "alicia@example.com", "bob@example.com", "nobody-at-all"] {
        cluster.sql(&format!("create role \"{name}\" login"));
    }
    story.play(&mut |who| Some(cluster.connects(who, who)));
    assert_eq!(daemon.read("crew.list"), "\"\"\n");
    assert_eq!(cluster.sql("select count(*) from pg_hba_file_rules where error is not null"), "0");
}

#[test]
fn the_roles_script_grants_revokes_and_changes_nothing_the_second_time() {
    if !ready("pg-roles") {
        return;
    }
    let target = "[[target]]\nname = \"roles\"\ntype = \"file\"\nformat = \"pg-roles\"\npath = \"{dir}/roles.sql\"\nmode = \"0644\"\n\
        options = { create_users = true, names = { admin = \"dba\" } }\n\
        reload = [\"/bin/sh\", \"-c\", \"test ! -e {dir}/apply || {dir}/apply\"]\n";
    let mut daemon = Daemon::prepare(&format!("{ROLE}{target}"));
    open_to_all(daemon.dir.path());
    daemon.run();
    let story = Story::open(&daemon, "roles.sql", "@example.com");
    std::fs::write(daemon.path("empty.conf"), "").unwrap();
    let cluster = Cluster::start(daemon.dir.path(), "", &daemon.path("empty.conf"));
    cluster.sql(
        "create table secret (x int); create role readers nologin; create role \"bob@example.com\" login",
    );
    let dir = daemon.dir.path().display();
    let psql = format!(
        "exec setpriv --reuid=postgres --regid=postgres --init-groups psql -X -q -d postgres -h {dir}/pg -p {} -f {dir}/roles.sql",
        cluster.port
    );
    std::fs::write(daemon.path("apply.new"), format!("#!/bin/sh\n{psql}\n")).unwrap();
    run(Command::new("chmod").arg("755").arg(daemon.path("apply.new")));
    std::fs::rename(daemon.path("apply.new"), daemon.path("apply")).unwrap();
    run(&mut Command::new(daemon.path("apply")));
    cluster.sql("grant select on secret to dba");
    // Somebody's hand-made grant of an owned role goes with the next run; a role not owned keeps its members.
    cluster.sql("create role eve login; grant dba to eve; grant readers to eve");
    story.play(&mut |who| {
        let who = who.replace('\'', "''");
        let sql = format!("select coalesce((select has_table_privilege(oid, 'secret', 'select') from pg_roles where rolname = '{who}'), false)");
        Some(cluster.sql(&sql) == "t")
    });
    let members = "select string_agg(g.rolname || '<' || m.rolname, ' ' order by 1) from pg_auth_members a join pg_roles g on g.oid = a.roleid join pg_roles m on m.oid = a.member where g.rolname not like 'pg_%'";
    assert_eq!(cluster.sql(members), "readers<eve");
    let before = cluster.sql("select xmin::text from pg_authid order by oid");
    run(&mut Command::new(daemon.path("apply")));
    assert_eq!(cluster.sql("select xmin::text from pg_authid order by oid"), before);
    // A role dropped from the config loses its members too: it carries the target's mark.
    cluster.sql("grant dba to eve");
    let script = daemon.read("roles.sql").replace("INSERT INTO rosterd_role VALUES\n  ('dba');\n", "");
    std::fs::write(daemon.path("roles.sql"), script).unwrap();
    run(&mut Command::new(daemon.path("apply")));
    assert_eq!(cluster.sql(members), "readers<eve");
}
