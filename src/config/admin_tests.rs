//! What `[admin]` may and may not say.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::http::admin_api::AdminRole;

/// A hash that argon2-cffi made of `correct horse battery`.
const PHC: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$3lJVgHw1CQadnrvrrI9WfQ$I0ypF6mUMwAxhBBxNG0Rwi8PAjVK18SqiS1GKgSDaK0";

/// Reads `text` where the file `pw` holds `password`.
fn with(password: &str, text: &str) -> Result<Loaded, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pw");
    std::fs::write(&path, password).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    read_in(folder.path(), text, Secrets::Required)
}

fn user(role: &str) -> String {
    format!("[[admin.user]]\nname = \"ops\"\npassword_file = \"pw\"\nrole = \"{role}\"\n")
}

fn refusal(password: &str, text: &str) -> String {
    let problems = with(password, text).expect_err("a config with a fault");
    let told = problems.iter().flat_map(|one| [one.message.as_str(), one.help.as_deref().unwrap_or("")]);
    told.collect::<Vec<_>>().join(" ")
}

#[test]
fn people_sign_in_where_admin_listens() {
    let text = format!("[admin]\nlisten = \"127.0.0.1:8081\"\n{}", user("operate"));
    for password in ["twelve-chars", PHC] {
        let web = with(password, &text).unwrap().config.admin.web.unwrap();
        assert_eq!((web.users[0].name.as_str(), web.users[0].role), ("ops", AdminRole::Operate));
        assert!(!format!("{web:?}").contains(password));
    }
    assert!(with("twelve-chars", &user("view")).unwrap().config.admin.web.is_none());
}

#[test]
fn weak_and_wrong_passwords_are_refused_without_being_shown() {
    let text = format!("[admin]\nlisten = \"127.0.0.1:8081\"\n{}", user("admin"));
    for (password, part) in [
        ("elevenchars", "fewer than 12"),
        ("one line is long\nand another", "more than one line"),
        ("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ", "no argon2id hash"),
        (
            "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$5bYJXsVkfsnuPcJLmx8KxnpDSm7uZNXaFBcAwEmzB4w",
            "no argon2id hash",
        ),
        ("$2y$12$abcdefghijklmnopqrstuv", "no argon2id hash"),
        (
            "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$5bYJXsVkfsnuPcJLmx8KxnpDSm7uZNXaFBcAwEmzB4w",
            "guessed too quickly",
        ),
        (
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$5bYJXsVkfsnuPcJLmx8KxnpDSm7uZNXaFBcAwEmzB4w",
            "more than 256 MiB",
        ),
    ] {
        let told = refusal(password, &text);
        assert!(told.contains(part) && !told.contains(password), "{password}: {told}");
    }
}

#[test]
fn a_listener_without_users_or_in_plain_beyond_this_machine_is_refused() {
    assert!(refusal("x", "[admin]\nlisten = \"127.0.0.1:8081\"\n").contains("nobody may sign in"));
    let open = |more: &str| format!("[admin]\nlisten = \"0.0.0.0:8081\"\n{more}{}", user("admin"));
    assert!(refusal("twelve-chars", &open("")).contains("insecure = true"));
    for more in ["insecure = true\n", "trusted_proxies = \"192.0.2.1\"\n"] {
        assert!(with("twelve-chars", &open(more)).is_ok(), "{more}");
    }
    let text = format!("[admin]\nlisten = \"127.0.0.1:8081\"\n{}{}", user("admin"), user("view"));
    assert!(refusal("twelve-chars", &text).contains("there twice"));
    assert!(refusal("twelve-chars", &user("root")).contains("view"));
}

#[test]
fn who_comes_or_may_do_more_only_adds() {
    let config = |password: &str, users: &str| {
        with(password, &format!("[admin]\nlisten = \"127.0.0.1:8081\"\n{users}")).unwrap().config
    };
    let view = config("twelve-chars", &user("view"));
    let admin = config("twelve-chars", &user("admin"));
    let two = config("twelve-chars", &format!("{}{}", user("view"), user("view").replace("ops", "dev")));
    let other = config("other-twelve-chars", &user("view"));
    let none = with("x", "").unwrap().config;
    assert!(change::between(&view, &view).is_empty());
    assert!(change::between(&view, &admin).only_adds() && change::between(&view, &two).only_adds());
    assert!(change::between(&none, &view).only_adds());
    for (old, new) in [(&admin, &view), (&two, &view), (&view, &other), (&view, &none)] {
        assert!(!change::between(old, new).only_adds());
    }
}
