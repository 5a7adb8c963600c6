//! `extrausers`: the group file of libnss-extrausers, `sre:x:60601:bob,carl` for each role.
//!
//! gids come from the operator's range and are a role's for ever. Names of groups and members are plain account names,
//! never a system's own: there is no escape for `:` and `,`. A group that nobody is in keeps its line and gid.
//! libnss-extrausers ignores gids below 500 and a last line without newline.

use serde_json::Value;

use crate::access::View;

use super::{Format, Options, RenderError, Rendered, json, people, unix};

pub(super) const FORMAT: Format = Format {
    name: "extrausers",
    summary: "the group file of libnss-extrausers: a Unix group for each role",
    content_type: "text/plain; charset=utf-8",
    options: &[unix::GIDS, unix::NAMES, people::ROLES],
    render: super::Render::One(render),
    check,
    example,
    has_local_power: true,
    unix_ids: unix::wanted_gids,
    ..super::PLAIN
};

fn example() -> Options {
    let names: serde_json::Map<String, Value> =
        [("admin".to_owned(), Value::from("sre"))].into_iter().collect();
    let gids = Value::from(vec![60_000, 60_499]);
    Options {
        values: [("gids".to_owned(), gids), ("names".to_owned(), names.into())].into_iter().collect(),
        ..json::placeholder_options()
    }
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    if options.range("gids").is_none() {
        return Err(people::missing(FORMAT.name, "gids"));
    }
    let mut left_out = Vec::new();
    let groups = unix::groups(view, options, &mut left_out);
    let people = unix::accounts(view, &groups, &mut left_out);
    let mut text = String::new();
    for (name, (gid, role)) in unix::numbered(&groups, options, &mut left_out) {
        let members = role.members.iter().filter_map(|name| people.get(name.as_str()));
        let members: Vec<&str> = members.map(|one| one.written.as_str()).collect();
        text.extend([name, ":x:", gid.to_string().as_str(), ":", members.join(",").as_str(), "\n"]);
    }
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let mut taken = std::collections::BTreeSet::new();
    for (n, line) in people::lines(bytes)? {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, "x", gid, members] = fields.as_slice() else {
            return Err(format!("line {n} is not `name:x:gid:members`"));
        };
        let members: Vec<&str> = members.split(',').filter(|_| !members.is_empty()).collect();
        let is_right = unix::is_group(name)
            && gid.parse().is_ok_and(unix::is_id)
            && members.iter().all(|one| unix::is_group(one));
        if !is_right {
            return Err(format!("line {n} names the system's own, or is not plain"));
        }
        if !taken.insert(*name) || !taken.insert(*gid) {
            return Err(format!("line {n}: the group's name or gid stands twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::testing::{named, options, outcome};
    use crate::model::{RoleName, UnixIdOwner};
    use proptest::prelude::*;

    /// The role is the group `sre`, with gid 60001 if it has one.
    fn sre(gid: Option<u32>) -> Options {
        let owner = UnixIdOwner::Role(RoleName::parse("admin").unwrap());
        let values = serde_json::json!({"gids": [60_000, 60_499], "names": {"admin": "sre"}});
        Options { ids: gid.map(|gid| (owner, gid)).into_iter().collect(), ..options(&values) }
    }

    #[test]
    fn groups_without_members_stay_and_the_systems_own_are_refused() {
        let mut view = named("bob");
        view.roles[0].members.clear();
        assert_eq!(outcome("extrausers", &view, &sre(Some(60_001))).0, "sre:x:60001:\n");
        for bad in [
            serde_json::json!({"gids": [0, 5000]}),
            serde_json::json!({"gids": [5001, 5000]}),
            serde_json::json!({"gids": {"a": 5000}}),
            serde_json::json!({"gids": [5000, 6000], "names": {"a": "sudo"}}),
            serde_json::json!({}),
        ] {
            assert_eq!(FORMAT.check_options(bad.as_object().unwrap()).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_role_asks_for_a_gid_and_without_one_it_waits() {
        let [wanted] = &FORMAT.unix_ids(&named("bob"), &sre(None))[..] else { panic!("one role") };
        assert_eq!((wanted.owner.to_string().as_str(), &wanted.range), ("gid admin", &(60_000..=60_499)));
        let (text, left_out) = outcome("extrausers", &named("bob"), &sre(None));
        assert_eq!((text.as_str(), left_out.len()), ("", 1));
        assert!(left_out[0].why.contains("`gids`"), "{left_out:?}");
    }

    proptest! {
        #[test]
        fn whatever_the_name_the_file_has_one_group_with_at_most_it(name in "\\PC{1,40}|[a-z:,# ]{1,12}|root") {
            let (text, left_out) = outcome("extrausers", &named(&name), &sre(Some(60_001)));
            let members = text.strip_prefix("sre:x:60001:").unwrap().strip_suffix('\n').unwrap();
            prop_assert!(members.is_empty() != (members == name));
            prop_assert!(name != "root" || members.is_empty());
            prop_assert_eq!(left_out.len(), usize::from(members.is_empty()));
        }
    }
}
