//! `map`: names at one reader.

use super::*;

fn target(format: &str, rest: &str) -> String {
    format!("[[target]]\nname = \"x\"\ntype = \"file\"\npath = \"/srv/x\"\nformat = \"{format}\"\n{rest}")
}

#[test]
fn a_set_cannot_go_through_the_installer() {
    let text = "[[target]]\nname = \"x\"\ntype = \"set\"\npath = \"/srv/x\"\nvia = \"installer\"\n[[target.file]]\nname = \"a\"\n\
        format = \"json\"\n";
    let told = wrong(text);
    assert!(
        told.iter().any(|one| one.starts_with("5: ") && one.contains("a set changes by a symlink")),
        "{told:?}"
    );
    assert!(read(&text.replace("via = \"installer\"\n", "")).is_ok());
}

#[test]
fn people_and_roles_are_called_what_the_operator_says() {
    let text =
        target("pg-roles", "map = { \"alice@example.com\" = \"alice\", \"role:db-admin\" = \"dba\" }\n");
    let config = read(&text).unwrap().config;
    let [target] = &config.targets[..] else { panic!("one target") };
    assert_eq!(target.map.get("alice@example.com").map(String::as_str), Some("alice"));
    assert_eq!(target.map.len(), 1);
    let crate::reconcile::TargetKind::File(file) = &target.kind else { panic!("a file") };
    assert_eq!(file.options.values["names"], serde_json::json!({"db-admin": "dba"}));
}

#[test]
fn a_name_that_the_reader_would_take_for_another_is_refused() {
    for (format, options, name, why) in [
        ("pam-access", "options = { roles = [\"ops\"] }\n", "root", "system account"),
        ("pam-access", "options = { roles = [\"ops\"] }\n", "a b", "account name"),
        ("sudoers", "options = { rules = { ops = \"ALL=(root) /bin/ls\" } }\n", "Alice", "capitals"),
        ("k8s-rbac", "", "system:masters", "system:"),
        ("nginx-map", "", "a\\nb", "control character"),
        ("json", "", "", "empty"),
    ] {
        let text = target(format, &format!("{options}map = {{ \"a@x\" = \"{name}\" }}\n"));
        let line = 6 + usize::from(!options.is_empty());
        only_wrong(&text, line, &["`target.x.map.a@x`", why]);
    }
}

#[test]
fn two_people_of_one_name_are_refused_as_the_reader_compares_them() {
    let both = "map = { \"a@x\" = \"ann\", \"b@x\" = \"ANN\" }\n";
    only_wrong(&target("nginx-map", both), 6, &["`ANN` is also the name of `a@x` here"]);
    assert!(read(&target("haproxy-map", both)).is_ok());
    let twice = "options = { names = { ops = \"a\" } }\nmap = { \"role:ops\" = \"b\" }\n";
    only_wrong(&target("pg-ident", twice), 7, &["`options.names` names this role too"]);
    only_wrong(&target("json", "map = { \"role:ops\" = \"b\" }\n"), 6, &["under their own names"]);
}

#[test]
fn a_display_name_gives_nobody_an_account() {
    only_wrong(&target("pg-roles", "subject = \"displayName\"\n"), 6, &["gives power to a name"]);
    assert!(read(&target("json", "subject = \"displayName\"\n")).is_ok());
}

#[test]
fn a_range_of_numbers_is_a_list_of_two() {
    let config = read(&target("extrausers", "options = { gids = [60000, 60499] }\n")).unwrap().config;
    let crate::reconcile::TargetKind::File(file) = &config.targets[0].kind else { panic!("a file") };
    assert_eq!(file.options.values["gids"], serde_json::json!([60000, 60499]));
    only_wrong(&target("extrausers", "options = { gids = [5, 60499] }\n"), 6, &["within 1000 and"]);
    only_wrong(&target("extrausers", "options = { gids = [60499, 60000] }\n"), 6, &["a range"]);
}
