//! What a config file may and may not say, seen from outside.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::downstream::command::Argv;
use crate::reconcile::guard::{AfterHold, Guard, Limit, Waits};

/// Reads `text` as `rosterd.toml` in an empty folder.
pub(super) fn read(text: &str) -> Result<Loaded, Problems> {
    let folder = tempfile::tempdir().unwrap();
    read_in(folder.path(), text, Secrets::Optional)
}

pub(super) fn read_in(folder: &Path, text: &str, secrets: Secrets) -> Result<Loaded, Problems> {
    let source = Source { file: "rosterd.toml".to_owned(), text: text.to_owned() };
    document::read(&source, files(folder, secrets))
}

pub(super) fn files(folder: &Path, secrets: Secrets) -> Files {
    let groups = vec![rustix::process::getegid().as_raw()];
    Files {
        base: folder.to_owned(),
        credentials: None,
        groups,
        secrets,
        templates: std::cell::RefCell::default(),
        installer: via::socket_default(),
        daemon: None,
        state: PathBuf::from("/var/lib/rosterd"),
    }
}

/// Every problem as `line: message; help`.
fn wrong(text: &str) -> Vec<String> {
    let problems = read(text).expect_err("a config with a fault");
    problems
        .iter()
        .map(|problem| {
            let line = problem.place.as_ref().map_or(0, |place| place.line);
            format!("{line}: {}; {}", problem.message, problem.help.as_deref().unwrap_or(""))
        })
        .collect()
}

/// Holds if exactly one problem is reported, in `line`, and its text has every part.
#[track_caller]
fn only_wrong(text: &str, line: usize, parts: &[&str]) {
    let found = wrong(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("{line}: ")), "{found:#?}");
    for part in parts {
        assert!(found[0].contains(part), "`{part}` not in {found:#?}");
    }
}

const FILE: &str =
    "[[target]]\nname = \"opa\"\ntype = \"file\"\nformat = \"json\"\npath = \"/srv/rosterd/access.json\"\n";
const HOOK: &str = "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"https://app.example.com/\"\nsecret_file = \"absent\"\n";

#[path = "map_tests.rs"]
mod map;

#[test]
fn an_empty_config_is_the_defaults() {
    let config = read("").unwrap().config;
    assert_eq!(config.server.listener.addresses, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.server.limits, crate::http::limits::Settings::default());
    assert_eq!(config.admin.socket.addresses, ["unix:/run/rosterd/admin.sock".parse().unwrap()]);
    assert_eq!(config.mirror.path, Path::new("/var/lib/rosterd/mirror.db"));
    assert!(config.directories.is_empty() && config.roles.is_empty() && config.targets.is_empty());
}

#[test]
fn a_misspelt_key_is_named_with_its_place_and_the_nearest_right_one() {
    let shown = read("[server]\nlisen = [\"127.0.0.1:8080\"]\n").unwrap_err().to_string();
    assert_eq!(
        shown.lines().next(),
        Some("rosterd.toml:2:1: unknown key `lisen` in `server`; did you mean `listen`?")
    );
    only_wrong("[sever]\n", 1, &["unknown key `sever`", "did you mean `server`?"]);
    only_wrong(&format!("{FILE}paht = \"x\"\n"), 6, &["`paht` in `target.opa`", "did you mean `path`?"]);
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_the_file() {
    let found = wrong(
        "[server]\nlisen = []\nlisten = 8080\n[mirror]\npath = \"\"\n[[role]]\nname = \"a b\"\n\
         groups = [\"A\"]\n[log]\nlevel = \"loud\"\nformat = \"xml\"\n[admin]\nsocket = \"rel\"\n",
    );
    let lines: Vec<_> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["2", "3", "5", "7", "10", "11", "13"], "{found:#?}");
}

#[test]
fn faults_of_the_language_itself_have_a_place_too() {
    let found = wrong("[server\nlisten = \n");
    assert!(found[0].starts_with("1: not TOML"), "{found:#?}");
    only_wrong("[mirror]\npath = \"a\"\npath = \"b\"\n", 3, &["not TOML", "duplicate"]);
}

#[test]
fn keys_that_are_not_built_yet_are_refused_and_never_ignored() {
    for (text, line, key) in [
        ("[mirror]\nurl_file = \"pg\"\n", 2, "mirror.url_file"),
        ("[mirror]\nfollow_file = \"nats\"\n", 2, "mirror.follow_file"),
    ] {
        only_wrong(text, line, &[&format!("`{key}` is not supported by this version")]);
    }
    only_wrong(
        "[[target]]\nname = \"x\"\ntype = \"nats\"\n",
        3,
        &["`target.x.type` = `nats` is not supported by this version"],
    );
}

#[path = "admin_tests.rs"]
mod admin;

#[test]
fn a_guard_of_a_target_changes_what_it_names() {
    let text = format!(
        "{FILE}[target.guard]\nmin_removals = 1\nnotify = [\"/bin/true\"]\n[guard]\nurgent = 9\nmax_removals = \"20%\"\n\
         window = \"2h\"\nhold = \"all\"\nmax_hold = \"2d\"\nmax_hold_then = \"apply\"\n"
    );
    let config = read(&text).unwrap().config;
    let expected = Guard {
        max_removals: vec![Limit::Percent(20)],
        min_removals: 1,
        window: Duration::from_hours(2),
        urgent: 9,
        hold: Waits::All,
        max_hold: Duration::from_hours(48),
        max_hold_then: AfterHold::Apply,
        notify: Some(crate::reconcile::guard::Notify::Command(
            Argv::parse(vec!["/bin/true".to_owned()]).unwrap(),
        )),
    };
    assert_eq!(config.targets[0].guard, expected);
    assert_eq!(read(FILE).unwrap().config.targets[0].guard, Guard::default());
    only_wrong("[guard]\nmax_removals = []\n", 2, &["let everything through"]);
    only_wrong("[guard]\nmax_removals = \"200%\"\n", 2, &["whole percentage"]);
    only_wrong("[guard]\nhold = \"additions\"\n", 2, &["removals, all"]);
    only_wrong("[guard]\nwindow = \"1s\"\n", 2, &["guard.window"]);
    only_wrong("[guard]\nnotify = \"mail root\"\n", 2, &["there is no shell"]);
    only_wrong("[guard]\nnotify = { url = \"https://example.com/x\" }\n", 2, &["secret_file"]);
}

#[test]
fn a_role_follows_renames_or_lets_go() {
    let role = "[[role]]\nname = \"a\"\ngroups = [\"A\"]\n";
    let on_rename = |text: &str| read(text).unwrap().config.roles[0].on_rename;
    assert_eq!(on_rename(role), crate::access::OnRename::Follow);
    assert_eq!(on_rename(&format!("{role}on_rename = \"release\"\n")), crate::access::OnRename::Release);
    only_wrong(&format!("{role}on_rename = \"drop\"\n"), 4, &["on_rename", "release"]);
}

#[test]
fn a_role_may_be_protected() {
    let config = read("[[role]]\nname = \"a\"\ngroups = [\"A\"]\nprotected = true\n").unwrap().config;
    assert!(config.roles[0].protected);
}

#[test]
fn a_target_needs_what_its_type_needs_and_nothing_of_the_other() {
    only_wrong(
        "[[target]]\nname = \"a\"\ntype = \"webhook\"\nsecret_file = \"s\"\n",
        1,
        &["`target.a.url` is missing"],
    );
    only_wrong(
        "[[target]]\nname = \"a\"\ntype = \"webhook\"\nurl = \"https://a.example\"\n",
        1,
        &["`target.a.secret_file` is missing"],
    );
    only_wrong(
        "[[target]]\nname = \"a\"\ntype = \"file\"\nformat = \"json\"\n",
        1,
        &["`target.a.path` is missing"],
    );
    only_wrong(
        "[[target]]\nname = \"a\"\ntype = \"file\"\npath = \"/a\"\n",
        1,
        &["neither `format` nor `template`"],
    );
    only_wrong(&format!("{FILE}template = \"x.j2\"\n"), 6, &["both `format` and `template`"]);
    only_wrong(&FILE.replace("\"json\"", "\"jsno\""), 4, &["`target.opa.format` cannot be `jsno`", "`json`"]);
    only_wrong(
        &format!("{FILE}url = \"https://a.example\"\n"),
        6,
        &["belongs to a target of `type = \"webhook\"`"],
    );
    only_wrong(&format!("{HOOK}path = \"/a\"\n"), 6, &["belongs to a target of `type = \"file\"`"]);
    only_wrong(&FILE.replace("\"file\"", "\"fiel\""), 3, &["did you mean `file`?"]);
}

#[test]
fn names_and_destinations_are_there_once() {
    only_wrong(
        &format!("{FILE}{}", FILE.replace("access.json", "b.json")),
        7,
        &["`opa` is there twice", "line 2"],
    );
    only_wrong(
        &format!("{FILE}{}", FILE.replace("\"opa\"", "\"b\"")),
        10,
        &["access.json` is there twice", "line 5"],
    );
    let role = "[[role]]\nname = \"a\"\ngroups = [\"A\"]\n";
    only_wrong(&format!("{role}{role}"), 5, &["`a` is there twice"]);
}

#[test]
fn a_role_says_which_directories_as_soon_as_there_are_two() {
    let two = "[[directory]]\nid = \"acme-okta\"\nkind = \"okta\"\n[[directory]]\nid = \"acme-entra\"\nkind = \"entra\"\n";
    let role = "[[role]]\nname = \"a\"\ngroups = [\"A\"]\n";
    only_wrong(
        &format!("{two}{role}"),
        7,
        &["`role.a.directories` is missing", "\"acme-okta\", \"acme-entra\""],
    );
    assert!(read(&format!("{two}{role}directories = [\"acme-okta\"]\n")).is_ok());
    only_wrong(
        &format!("{two}{role}directories = [\"acme-otka\"]\n"),
        10,
        &["no directory `acme-otka`", "did you mean `acme-okta`?"],
    );
    let elsewhere = read(&format!("{two}{role}directories = [\"subsidiary\"]\n")).unwrap();
    assert!(elsewhere.warnings[0].message.contains("no directory `subsidiary`"));
}

#[test]
fn filters_that_grant_by_absence_are_warned_about() {
    let warnings =
        |filter: &str| read(&format!("[[role]]\nname = \"a\"\nusers = '{filter}'\n")).unwrap().warnings.len();
    assert_eq!(warnings("userType eq \"Contractor\" and active eq true"), 0);
    assert_eq!(warnings("not (userType eq \"Contractor\")"), 1);
    assert_eq!(warnings("userType ne \"Contractor\""), 1);
    only_wrong("[[role]]\nname = \"a\"\n", 1, &["nobody holds it"]);
}

#[test]
fn plain_http_stays_on_this_machine_unless_somebody_says_otherwise() {
    for address in ["0.0.0.0:8080", "[::]:80", "192.0.2.1:80", "scim.example.com:80"] {
        only_wrong(&format!("[server]\nlisten = [\"{address}\"]\n"), 2, &["plain HTTP", "insecure = true"]);
        assert!(read(&format!("[server]\nlisten = [\"{address}\"]\ninsecure = true\n")).is_ok());
        assert!(
            read(&format!("[server]\nlisten = \"{address}\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n")).is_ok()
        );
    }
    for address in [
        "127.0.0.1:8080",
        "[::1]:8080",
        "localhost:8080",
        "unix:/run/rosterd/scim.sock",
        "[::ffff:127.0.0.1]:80",
    ] {
        assert!(read(&format!("[server]\nlisten = [\"{address}\"]\n")).is_ok(), "{address}");
    }
    only_wrong("[server]\nlisten = [\"8080\"]\n", 2, &["not an address"]);
    only_wrong("[server]\nlisten = []\n", 2, &["is empty"]);
}

#[test]
fn webhook_urls_follow_the_rules() {
    for good in
        ["https://app.example.com/x", "http://127.0.0.1:9/x", "http://localhost/x", "https://10.1.2.3/x"]
    {
        assert!(read(&HOOK.replace("https://app.example.com/", good)).is_ok(), "{good}");
    }
    for (bad, part) in [
        ("http://app.example.com/", "insecure = true"),
        ("https://user:pass@app.example.com/", "leave it out"),
        ("https://169.254.169.254/latest", "metadata"),
        ("https://[::ffff:169.254.169.254]/", "metadata"),
        ("ftp://app.example.com/", "https://"),
        ("/just/a/path", "no host"),
    ] {
        only_wrong(&HOOK.replace("https://app.example.com/", bad), 4, &[part]);
    }
    assert!(read(&format!("{HOOK}insecure = true\n").replace("https://", "http://")).is_ok());
}

#[test]
fn public_urls_and_base_paths_are_checked() {
    let url = |text: &str| read(&format!("[server]\npublic_url = \"{text}\"\n"));
    assert_eq!(
        url("https://scim.example.com/").unwrap().config.server.scim.public_url.as_deref(),
        Some("https://scim.example.com")
    );
    for bad in [
        "scim.example.com",
        "https://scim.example.com/scim/v2",
        "https://a@b",
        "https://b?x",
        "https://b#x",
        "ftp://b",
    ] {
        assert!(url(bad).is_err(), "{bad}");
    }
    let path = |text: &str| read(&format!("[server]\nbase_path = \"{text}\"\n")).is_ok();
    assert!(path("/scim/v2") && path("/a"));
    for bad in ["", "/", "scim", "/scim/", "/a//b", "/../b", "/a?b", "/a%20b"] {
        assert!(!path(bad), "{bad}");
    }
}

#[test]
fn commands_are_lists_and_never_a_shell_line() {
    only_wrong(
        &format!("{FILE}reload = \"systemctl reload nginx\"\n"),
        6,
        &["list of arguments", "no shell"],
    );
    only_wrong(&format!("{FILE}verify = [\"\"]\n"), 6, &["program name is empty"]);
    let here = FILE.replace("/srv/rosterd/", "");
    let loaded = read(&format!("{here}check = [\"opa\", \"check\"]\nverify = []\n")).unwrap();
    assert!(loaded.warnings[0].help.as_deref().unwrap().contains("{file}"));
}

#[test]
fn a_folder_that_is_not_there_is_worth_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let text = FILE.replace("/srv/rosterd/", "out/");
    let warned = || read_in(folder.path(), &text, Secrets::Optional).unwrap().warnings;
    let warnings = warned();
    let [one] = warnings.as_slice() else { panic!("{warnings:?}") };
    let out = folder.path().join("out").display().to_string();
    assert!(one.message.contains(&out) && one.help.as_deref().unwrap().contains(&out), "{one}");
    std::fs::create_dir(folder.path().join("out")).unwrap();
    assert_eq!(warned(), []);
}

#[test]
fn a_published_target_may_do_without_a_path_and_readers_list_only_such() {
    use crate::reconcile::{Publish, TargetKind};
    let file = |text: &str| {
        let loaded = read(text).unwrap_or_else(|problems| panic!("{problems}"));
        match loaded.config.targets.into_iter().next().unwrap().kind {
            TargetKind::File(file) => file,
            TargetKind::Webhook(_) => unreachable!(),
        }
    };
    let only = FILE.replace("path = \"/srv/rosterd/access.json\"", "publish = true");
    assert_eq!(file(FILE).publish, Publish::Off);
    assert_eq!(file(&format!("{FILE}publish = true\n")).publish, Publish::Beside);
    let served = file(&only);
    assert_eq!(served.publish, Publish::Only);
    assert_eq!(served.spec.path, Path::new("/var/lib/rosterd/published/opa"));
    only_wrong(&only.replace("true", "false"), 1, &["`target.opa.path` is missing"]);
    only_wrong(&format!("{HOOK}publish = true\n"), 6, &["`target.app.publish` belongs to", "file"]);

    let reader = "[[reader]]\nname = \"fleet\"\ntargets = [\"opa\"]\nmetrics = true\n";
    let loaded = read(&format!("{only}{reader}[publish]\nlisten = \"[::1]:8082\"\n")).unwrap().config;
    let fleet = &loaded.readers[0];
    assert_eq!((fleet.name.as_str(), fleet.events, fleet.metrics), ("fleet", false, true));
    assert_eq!(fleet.targets.len(), 1);
    assert_eq!(loaded.publish.unwrap().listener.addresses, ["[::1]:8082".parse().unwrap()]);
    assert!(read("[publish]\ninsecure = true\n").unwrap().config.publish.is_none(), "off unless it listens");
    only_wrong(&format!("{FILE}{reader}"), 8, &["target `opa` is not published", "publish = true"]);
    only_wrong(reader, 3, &["there is no target `opa`"]);
    only_wrong(&format!("{only}{reader}{reader}"), 11, &["`reader.fleet.name` = `fleet` is there twice"]);
    only_wrong("[publish]\nlisten = \"0.0.0.0:8082\"\n", 2, &["plain HTTP", "insecure = true"]);
    only_wrong("[publish]\nlisten = []\n", 2, &["name at least one address"]);
}

#[test]
fn a_reader_that_may_read_more_only_adds() {
    let with = |reader: &str| {
        format!(
            "[[target]]\nname = \"a\"\ntype = \"file\"\nformat = \"json\"\npublish = true\n\
             [[target]]\nname = \"b\"\ntype = \"file\"\nformat = \"json\"\npublish = true\n{reader}"
        )
    };
    let one = with("[[reader]]\nname = \"r\"\ntargets = [\"a\"]\n");
    let two = with("[[reader]]\nname = \"r\"\ntargets = [\"b\", \"a\"]\nevents = true\n");
    let difference =
        |old: &str, new: &str| change::between(&read(old).unwrap().config, &read(new).unwrap().config);
    assert!(difference(&one, &one).is_empty());
    assert!(difference(&one, &two).only_adds() && difference(&with(""), &one).only_adds());
    assert!(!difference(&two, &one).only_adds() && !difference(&one, &with("")).only_adds());
    let off = one.replace("format = \"json\"\npublish = true", "format = \"json\"\npath = \"/srv/x\"");
    let off = off.split("[[target]]\nname = \"b\"").next().unwrap();
    let on = format!("{off}publish = true\n");
    assert!(difference(off, &on).only_adds() && !difference(&on, off).only_adds());
}

#[test]
fn waits_fit_into_each_other() {
    assert!(read(&format!("{FILE}wait = {{ min = \"1s\" }}\n")).is_ok());
    only_wrong(&format!("{FILE}wait = {{ min = \"10s\" }}\n"), 6, &["must not be longer than `max`"]);
    only_wrong(&format!("{FILE}wait = {{ mix = \"10s\" }}\n"), 6, &["did you mean `"]);
}

#[test]
fn inline_secrets_are_refused_without_being_repeated() {
    let shown =
        read("[[directory]]\nid = \"a\"\nkind = \"okta\"\ntoken = \"hunter2-hunter2-hunter2-hunter2\"\n")
            .unwrap_err()
            .to_string();
    assert!(shown.contains("use `token_file`"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_missing_secret_stops_serve_and_not_check() {
    let folder = tempfile::tempdir().unwrap();
    let checked = read_in(folder.path(), HOOK, Secrets::Optional).unwrap();
    assert_eq!(checked.warnings.len(), 1);
    let problems = read_in(folder.path(), HOOK, Secrets::Required).unwrap_err();
    assert_eq!(problems.kind(), Kind::MissingFile);
}

#[test]
fn secrets_are_judged_without_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    let put = |text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.path().join("absent");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    put("not-a-webhook-secret");
    let shown = read_in(folder.path(), HOOK, Secrets::Required).unwrap_err().to_string();
    assert!(shown.contains("whsec_") && !shown.contains("not-a-webhook-secret"), "{shown}");
    put("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    assert!(read_in(folder.path(), HOOK, Secrets::Required).unwrap().warnings.is_empty());
    let directory = "[[directory]]\nid = \"a\"\nkind = \"okta\"\ntoken_file = \"absent\"\n";
    put("too-short");
    let shown = read_in(folder.path(), directory, Secrets::Required).unwrap_err().to_string();
    assert!(shown.contains("at least 32") && !shown.contains("too-short"), "{shown}");
}

#[test]
fn templates_are_found_beside_the_config_and_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let text = FILE.replace("format = \"json\"", "template = \"policy.j2\"").replace("/srv/rosterd/", "");
    let missing = read_in(folder.path(), &text, Secrets::Optional).unwrap_err();
    assert_eq!(missing.kind(), Kind::MissingFile);
    let with = |template: &str| {
        std::fs::write(folder.path().join("policy.j2"), template).unwrap();
        read_in(folder.path(), &text, Secrets::Optional)
    };
    let shown = with("{% for user in users %}\n{{ user.name }\n{% endfor %}").unwrap_err().to_string();
    assert!(shown.contains("rosterd.toml:4:12") && shown.contains("line 2"), "{shown}");
    let shown = with("{{ users | no_such_filter }}").unwrap_err().to_string();
    assert!(shown.contains("no_such_filter"), "{shown}");
    assert_eq!(with("{{ users[0].nmae }}").unwrap().warnings.len(), 1);
    assert!(with("{% for user in users %}{{ user.name | json }}\n{% endfor %}").unwrap().warnings.is_empty());
}

#[test]
fn a_config_that_is_not_there_names_its_path() {
    let problems = load(Path::new("/nonexistent/rosterd.toml"), Secrets::Optional).unwrap_err();
    assert_eq!(problems.kind(), Kind::MissingFile);
    assert!(problems.to_string().starts_with("/nonexistent/rosterd.toml: cannot read the config"));
}

/// The files that are shipped.
pub(super) mod shipped {
    use super::*;

    pub(in super::super) fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
    }

    pub(in super::super) fn default_text() -> String {
        std::fs::read_to_string(folder().join("rosterd.toml")).unwrap()
    }

    /// The default with each commented key (not the prose) uncommented that `wanted` takes.
    pub(in super::super) fn uncommented(wanted: impl Fn(&str) -> bool) -> String {
        let is_key = |line: &str| {
            let key = line.strip_prefix('#').unwrap_or_default();
            let word = key.split(' ').next().unwrap_or_default();
            let is_word = !word.is_empty()
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            key.starts_with('[') || (is_word && key.strip_prefix(word).unwrap().starts_with(" = "))
        };
        let lines = default_text();
        let line = |line: &str| match line.strip_prefix('#') {
            Some(key) if is_key(line) && wanted(line) => key.to_owned(),
            _ => line.to_owned(),
        };
        lines.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    fn said(text: &str) -> String {
        format!(
            "{:#?}",
            read_in(&folder(), text, Secrets::Optional)
                .unwrap_or_else(|problems| panic!("{problems}"))
                .config
        )
    }

    #[test]
    fn the_default_loads_as_it_stands_and_is_the_defaults() {
        assert_eq!(said(&default_text()), said(""));
    }

    #[test]
    fn every_commented_key_holds_its_default_unless_it_is_marked_as_an_example() {
        let is_example = |line: &str| line.ends_with("# example") || line.starts_with("#[");
        assert_eq!(said(&uncommented(|_| true)), said(&uncommented(is_example)));
    }

    #[test]
    fn the_default_shows_every_key_there_is() {
        let source = Source { file: "rosterd.toml".to_owned(), text: uncommented(|_| true) };
        let known = document::known_keys(&source, files(&folder(), Secrets::Optional));
        assert!(known.len() > 60, "{known:?}");
        let is_shown = |key: &str| {
            let line = |line: &str| {
                line.trim_start_matches('[').starts_with(key)
                    || line.contains(&format!(" {key} ="))
                    || line.ends_with(&format!(".{key}]"))
            };
            source.text.lines().any(line)
        };
        let hidden: Vec<_> = known.iter().filter(|key| !is_shown(key)).collect();
        assert!(hidden.is_empty(), "not in config/rosterd.toml: {hidden:?}");
    }

    #[test]
    fn every_example_is_a_config_that_check_accepts() {
        let examples = folder().join("examples");
        let mut count = 0;
        for entry in std::fs::read_dir(&examples).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let loaded = load(&path, Secrets::Optional).unwrap_or_else(|problems| panic!("{problems}"));
                assert!(!loaded.config.targets.is_empty() && !loaded.config.roles.is_empty());
                // Only what an install must bring itself may be missing.
                for warning in loaded.warnings {
                    assert!(warning.message.contains("is not there"), "{warning}");
                }
                count += 1;
            }
        }
        assert!(count >= 3);
    }
}

mod schemas {
    use super::*;
    use crate::model::ResourceType;

    const BADGE: &str = include_str!("../../config/examples/badge.json");

    fn load_with(schema: &str, text: &str) -> Result<Loaded, Problems> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("badge.json"), schema).unwrap();
        read_in(folder.path(), text, Secrets::Required)
    }

    #[test]
    fn an_operators_schema_is_known_to_filters_of_roles() {
        let role = "[[role]]\nname = \"blue\"\nusers = 'urn:example:params:scim:schemas:Badge:1.0:User:colour eq \"Blue\"'\n";
        let loaded = load_with(BADGE, &format!("[[schema]]\nfile = \"badge.json\"\n{role}")).unwrap();
        let users = loaded.config.registry.resource(ResourceType::User);
        assert_eq!((users.extensions.len(), loaded.config.roles.len()), (2, 1));
        assert!(!users.is_required(&users.extensions[1].urn));
        let found = load_with(BADGE, role).unwrap_err().to_string();
        assert!(found.contains("not a SCIM filter over users"), "{found}");
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_named_with_its_place() {
        let twice = "[[schema]]\nfile = \"badge.json\"\n[[schema]]\nfile = \"badge.json\"\nrequired = true\n";
        for (schema, text, line, part) in [
            (BADGE, twice, 4, "is defined twice"),
            ("{}", "[[schema]]\nfile = \"badge.json\"\n", 2, "not a schema as in RFC 7643"),
            (BADGE, "[[schema]]\nfile = \"other.json\"\n", 2, "cannot read the schema"),
            (BADGE, "[[schema]]\nfile = \"badge.json\"\nresource = \"Robot\"\n", 3, "cannot be `Robot`"),
            (BADGE, "[[schema]]\nresource = \"User\"\n", 1, "is missing"),
        ] {
            let problems = load_with(schema, text).unwrap_err();
            let found = problems.iter().next().unwrap();
            assert_eq!(found.place.as_ref().unwrap().line, line, "{found}");
            assert!(found.to_string().contains(part), "{found}");
        }
        let both =
            "[[schema]]\nfile = \"badge.json\"\n[[schema]]\nfile = \"badge.json\"\nresource = \"Group\"\n";
        assert_eq!(load_with(BADGE, both).unwrap().config.schemas.len(), 2);
    }

    #[test]
    fn only_a_schema_that_comes_and_asks_for_nothing_adds() {
        let none = load_with(BADGE, "").unwrap().config;
        let with = load_with(BADGE, "[[schema]]\nfile = \"badge.json\"\n").unwrap().config;
        let required =
            load_with(BADGE, "[[schema]]\nfile = \"badge.json\"\nrequired = true\n").unwrap().config;
        assert!(change::between(&none, &with).only_adds());
        assert!(change::between(&with, &with).is_empty());
        for (old, new) in [(&with, &none), (&none, &required), (&with, &required), (&required, &with)] {
            assert!(!change::between(old, new).only_adds());
        }
    }
}

mod total {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[\\[\\]a-z_=\"'{}. \n0-9,é]{0,200}") {
            if let Err(problems) = super::read(&text) {
                prop_assert!(!problems.to_string().is_empty());
            }
        }
    }
}
