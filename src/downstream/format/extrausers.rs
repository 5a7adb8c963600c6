//! `extrausers`: the group file of libnss-extrausers, `sre:x:60601:bob,carl` for each role that has a gid.
//!
//! gids come from the operator, by role. Names of groups and members are plain account names, never a system's own:
//! there is no escape for `:` and `,`. A group that nobody is in keeps its line and gid. libnss-extrausers ignores gids
//! below 500 and a last line without newline.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::access::View;

use super::people::{self, Notation};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, account, json};

pub(super) const FORMAT: Format = Format {
    name: "extrausers",
    summary: "the group file of libnss-extrausers: a Unix group per role that has a gid",
    content_type: "text/plain; charset=utf-8",
    options: &[
        OptionDoc {
            name: "gids",
            kind: OptionKind::Numbers(GID_MIN, GID_MAX),
            default: super::REQUIRED,
            description: "The gid of each role that is to be a group, such as `{ sre = 60601 }`; never give one to another.",
        },
        OptionDoc {
            name: "names",
            kind: OptionKind::Map("the name of a Unix group that is not the system's", is_group),
            default: "the role's own name",
            description: "What the Unix group of a role is called, such as `{ \"Site-Reliability\" = \"sre\" }`.",
        },
    ],
    render: super::Render::One(render),
    check,
    example,
};

/// Below are the system's own groups; `nogroup`, 65534, is refused at its place.
const GID_MIN: u64 = 1_000;
/// The two above mean "none" to the kernel and to programs with signed numbers.
const GID_MAX: u64 = 2_147_483_646;

fn example() -> Options {
    let gids: serde_json::Map<String, Value> =
        [("admin".to_owned(), Value::from(60_601))].into_iter().collect();
    let names: serde_json::Map<String, Value> =
        [("admin".to_owned(), Value::from("sre"))].into_iter().collect();
    Options {
        values: [("gids".to_owned(), gids.into()), ("names".to_owned(), names.into())].into_iter().collect(),
        ..json::placeholder_options()
    }
}

fn is_group(name: &str) -> bool {
    account::is_plain(name) && account::not_taken(name).is_ok()
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    if !options.values.contains_key("gids") {
        return Err(people::missing(FORMAT.name, "gids"));
    }
    let (gids, names) = (options.numbers("gids"), options.map("names"));
    let mut left_out = Vec::new();
    let roles: Vec<_> = view.roles.iter().filter(|role| gids.contains_key(role.name.as_str())).collect();
    let listed = people::holders(&roles);
    let notation = Notation { write: &|name| account::account(name).map_err(str::to_owned), fold: None };
    let people = people::written(view, &|user| listed.contains(user.name.as_str()), &notation, &mut left_out);
    let mut rows: BTreeMap<&str, (u64, Vec<&str>)> = BTreeMap::new();
    for role in roles {
        let name = names.get(role.name.as_str()).copied().unwrap_or(role.name.as_str());
        let gid = gids.get(role.name.as_str()).copied().filter(|gid| is_gid(*gid));
        let why = match gid {
            None => Some("its gid is that of `nogroup` or of nobody"),
            Some(_) if !is_group(name) => {
                Some("it has no name of its own that a Unix group may have; set one in `names`")
            }
            Some(_) if rows.contains_key(name) => {
                Some("another role is the Unix group of that name; set one in `names`")
            }
            Some(gid) => {
                let members = role.members.iter().filter_map(|name| people.get(name.as_str()));
                rows.insert(name, (gid, members.map(|one| one.written.as_str()).collect()));
                None
            }
        };
        left_out.extend(why.map(|why| people::refused_role(&role.name, why.into())));
    }
    let lines = rows.iter().map(|(name, (gid, members))| format!("{name}:x:{gid}:{}\n", members.join(",")));
    Ok(Rendered { bytes: lines.collect::<String>().into_bytes(), left_out })
}

fn is_gid(gid: u64) -> bool {
    (GID_MIN..=GID_MAX).contains(&gid) && !matches!(gid, 65_534 | 65_535)
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let mut taken = std::collections::BTreeSet::new();
    for (n, line) in people::lines(bytes)? {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, "x", gid, members] = fields.as_slice() else {
            return Err(format!("line {n} is not `name:x:gid:members`"));
        };
        let members: Vec<&str> = members.split(',').filter(|_| !members.is_empty()).collect();
        let is_right =
            is_group(name) && gid.parse().is_ok_and(is_gid) && members.iter().all(|one| is_group(one));
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
    use crate::downstream::format::find;
    use crate::downstream::format::testing::{named, options, outcome};
    use proptest::prelude::*;

    #[test]
    fn groups_without_members_stay_and_the_systems_own_are_refused() {
        let mut view = named("bob");
        view.roles[0].members.clear();
        let (text, _) = outcome(
            "extrausers",
            &view,
            &options(&serde_json::json!({"gids": {"admin": 60601}, "names": {"admin": "sre"}})),
        );
        assert_eq!(text, "sre:x:60601:\n");
        let format = find("extrausers").unwrap();
        for bad in [
            serde_json::json!({"gids": {"a": 0}}),
            serde_json::json!({"gids": {"a": 5000, "b": 5000}}),
            serde_json::json!({"gids": {"a": 5000}, "names": {"a": "sudo"}}),
            serde_json::json!({}),
        ] {
            assert_eq!(format.check_options(bad.as_object().unwrap()).len(), 1, "{bad}");
        }
        let nobody = options(&serde_json::json!({"gids": {"admin": 65534}, "names": {"admin": "sre"}}));
        assert_eq!(format.render(&view, &nobody).unwrap().left_out.len(), 1);
    }

    proptest! {
        #[test]
        fn whatever_the_name_the_file_has_one_group_with_at_most_it(name in "\\PC{1,40}|[a-z:,# ]{1,12}|root") {
            let sre = options(&serde_json::json!({"gids": {"admin": 60601}, "names": {"admin": "sre"}}));
            let (text, left_out) = outcome("extrausers", &named(&name), &sre);
            let members = text.strip_prefix("sre:x:60601:").unwrap().strip_suffix('\n').unwrap();
            prop_assert!(members.is_empty() != (members == name));
            prop_assert!(name != "root" || members.is_empty());
            prop_assert_eq!(left_out.len(), usize::from(members.is_empty()));
        }
    }
}
