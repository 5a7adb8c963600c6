//! `userdb`: systemd's user and group records, a folder of small JSON files as `/etc/userdb` has them.
//!
//! Each role is a group, each holder an account with a group of its own, all with numbers that are theirs for ever.
//! A record is a file under its name and a link under its number; the name inside always equals the file's. A record
//! without a valid uid would still resolve, as uid 4294967295, so whoever has no number has no record. Who holds nothing
//! any more has none either: the account is gone.

use serde_json::{Value, json};

use crate::access::View;
use crate::model::{UnixIdOwner, UnixIdWanted};

use super::people;
use super::{
    Format, OptionDoc, OptionKind, Options, RelativeName, Render, RenderError, RenderedTree, json as whole,
    unix,
};

const NAME: &str = "userdb";

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "systemd's user and group records: an account for each holder, a group for each role",
    content_type: "application/json",
    options: &[
        unix::GIDS,
        OptionDoc {
            name: "home",
            kind: OptionKind::Shaped("an absolute folder", is_path),
            default: "systemd's own, `/home`",
            description: "The folder in which each account's home is, under its name.",
        },
        unix::NAMES,
        people::ROLES,
        OptionDoc {
            name: "shell",
            kind: OptionKind::Shaped("an absolute path", is_path),
            default: "systemd's own",
            description: "The login shell of each account, such as `/bin/bash` or `/usr/sbin/nologin`.",
        },
        unix::UIDS,
    ],
    render: Render::Tree(render),
    check,
    example,
    has_local_power: true,
    unix_ids: wanted,
    ..super::PLAIN
};

fn example() -> Options {
    let values = json!({"gids": [60_000, 60_499], "uids": [60_500, 64_999], "names": {"admin": "sre"}});
    let Value::Object(values) = values else { return whole::placeholder_options() };
    Options { values, ..whole::placeholder_options() }
}

fn is_path(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    text.starts_with('/') && !text.ends_with('/') && text.chars().all(is_plain) && !text.contains("..")
}

fn wanted(view: &View, options: &Options) -> Vec<UnixIdWanted> {
    let mut all = unix::wanted_gids(view, options);
    let Some(range) = options.range("uids") else { return all };
    let groups = unix::groups(view, options, &mut Vec::new());
    for person in unix::accounts(view, &groups, &mut Vec::new()).values() {
        let owner = UnixIdOwner::User(person.user.subject());
        all.push(UnixIdWanted { owner, range: range.clone() });
    }
    all
}

fn render(view: &View, options: &Options) -> Result<RenderedTree, RenderError> {
    for option in ["gids", "uids"] {
        if options.range(option).is_none() {
            return Err(people::missing(NAME, option));
        }
    }
    let mut left_out = Vec::new();
    let groups = unix::groups(view, options, &mut left_out);
    let people = unix::accounts(view, &groups, &mut left_out);
    let mut done = RenderedTree::default();
    let mut numbers = std::collections::BTreeMap::new();
    for (name, person) in &people {
        let account = person.written.as_str();
        let id = options.ids.get(&UnixIdOwner::User(person.user.subject()));
        match id {
            _ if groups.contains_key(account) => {
                left_out.push(people::refused(person.user, "the name is that of a group here".into()));
            }
            None => left_out.push(people::refused(person.user, unix::used_up("uids"))),
            Some(uid) => {
                numbers.insert(*name, *uid);
                record(&mut done, "user", account, *uid, &user(account, *uid, options))?;
                let own = json!({"groupName": account, "gid": uid, "disposition": "regular"});
                record(&mut done, "group", account, *uid, &own)?;
            }
        }
    }
    for (name, (gid, role)) in unix::numbered(&groups, options, &mut left_out) {
        let members: Vec<&str> =
            role.members.iter().map(String::as_str).filter(|name| numbers.contains_key(name)).collect();
        for member in &members {
            done.files.insert(relative(&format!("{member}:{name}.membership"))?, Vec::new());
        }
        let group = json!({"groupName": name, "gid": gid, "disposition": "regular", "members": members});
        record(&mut done, "group", name, gid, &group)?;
    }
    done.left_out = left_out;
    Ok(done)
}

fn user(name: &str, uid: u32, options: &Options) -> Value {
    let mut user = json!({"userName": name, "uid": uid, "gid": uid, "disposition": "regular"});
    if let (Some(home), Some(user)) =
        (options.values.get("home").and_then(Value::as_str), user.as_object_mut())
    {
        user.insert("homeDirectory".into(), format!("{home}/{name}").into());
    }
    if let (Some(shell), Some(user)) = (options.values.get("shell"), user.as_object_mut()) {
        user.insert("shell".into(), shell.clone());
    }
    user
}

/// A record under its name, and a link under its number.
fn record(
    done: &mut RenderedTree,
    kind: &str,
    name: &str,
    id: u32,
    record: &Value,
) -> Result<(), RenderError> {
    let file = relative(&format!("{name}.{kind}"))?;
    done.links.insert(relative(&format!("{id}.{kind}"))?, file.clone());
    done.files.insert(file, super::lines::json_pretty(NAME, record)?);
    Ok(())
}

/// Account names are plain, so this is always a name.
fn relative(name: &str) -> Result<RelativeName, RenderError> {
    RelativeName::parse(name).map_err(|error| RenderError {
        name: NAME.into(),
        line: None,
        what: format!("`{name}` cannot name a file: {error}"),
        hint: "",
    })
}

/// One file: a record with a name and a number that may be, or a membership, which is empty.
fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let record = super::lines::json(bytes)?;
    let number = |key: &str| record.get(key).and_then(Value::as_u64).filter(|id| unix::is_id(*id));
    let name = |key: &str| record.get(key).and_then(Value::as_str).filter(|name| unix::is_group(name));
    let is_user = name("userName").is_some() && number("uid").is_some() && number("gid") == number("uid");
    let is_group = name("groupName").is_some() && number("gid").is_some();
    if is_user == is_group { Err("not a record of an account or a group of ours".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::testing::named;
    use crate::model::RoleName;
    use proptest::prelude::*;

    /// Everybody who asks has a number, but for those of the option `without`.
    fn numbered(view: &View, without: &str) -> Options {
        let mut options = example();
        let mut next = (60_000, 60_500);
        for wanted in FORMAT.unix_ids(view, &options) {
            let next = match &wanted.owner {
                UnixIdOwner::Role(_) => &mut next.0,
                UnixIdOwner::User(_) => &mut next.1,
            };
            assert_eq!(*wanted.range.start() == 60_000, matches!(wanted.owner, UnixIdOwner::Role(_)));
            if !wanted.owner.to_string().starts_with(without) {
                options.ids.insert(wanted.owner, *next);
            }
            *next += 1;
        }
        options
    }

    fn shown(view: &View, options: &Options) -> (String, usize) {
        let done = FORMAT.render_tree(view, options).unwrap();
        done.files.values().for_each(|bytes| FORMAT.check(bytes, options).unwrap());
        (done.listing(), done.left_out.len())
    }

    #[test]
    fn an_account_is_a_record_a_number_a_group_of_its_own_and_its_memberships() {
        let view = named("bob");
        let done = FORMAT.render_tree(&view, &numbered(&view, "none")).unwrap();
        let files: Vec<&str> = done.files.keys().map(RelativeName::as_str).collect();
        assert_eq!(files, ["bob.group", "bob.user", "bob:sre.membership", "sre.group"]);
        let links: Vec<String> = done.links.iter().map(|(name, file)| format!("{name} {file}")).collect();
        assert_eq!(links, ["60000.group sre.group", "60500.group bob.group", "60500.user bob.user"]);
        assert_eq!(done.left_out, []);
        let user: Value = serde_json::from_slice(&done.files[&relative("bob.user").unwrap()]).unwrap();
        assert_eq!(user, json!({"userName": "bob", "uid": 60500, "gid": 60500, "disposition": "regular"}));
        let group: Value = serde_json::from_slice(&done.files[&relative("sre.group").unwrap()]).unwrap();
        assert_eq!(group["members"], json!(["bob"]));
    }

    #[test]
    fn who_has_no_number_has_no_record() {
        let view = named("bob");
        let (text, left_out) = shown(&view, &numbered(&view, "uid"));
        assert!(text.contains("sre.group") && !text.contains("bob") && left_out == 1, "{text}");
        let (text, left_out) = shown(&view, &numbered(&view, "gid"));
        assert!(text.contains("bob.user") && !text.contains("sre") && left_out == 1, "{text}");
    }

    #[test]
    fn nobody_leaves_an_empty_group_and_a_group_s_name_is_no_account() {
        let mut view = named("sre");
        let (text, left_out) = shown(&view, &numbered(&view, "none"));
        assert!(!text.contains(".user") && left_out == 1, "{text}");
        view.roles[0].members.clear();
        assert!(shown(&view, &numbered(&view, "none")).0.contains("\"members\": []"));
        assert!(RoleName::parse("admin").is_ok());
    }

    proptest! {
        #[test]
        fn whatever_the_name_there_are_only_records_of_it_and_of_the_group(
            name in "\\PC{1,40}|[a-z:./ ]{1,12}|root|\\.\\.|[0-9]{1,6}"
        ) {
            let view = named(&name);
            let done = FORMAT.render_tree(&view, &numbered(&view, "none")).unwrap();
            let files: Vec<&str> = done.files.keys().map(RelativeName::as_str).collect();
            if done.left_out.is_empty() {
                let own = [format!("{name}.group"), format!("{name}.user"), format!("{name}:sre.membership")];
                prop_assert!(own.iter().all(|file| files.contains(&file.as_str())) && files.len() == 4);
            } else {
                prop_assert_eq!(files, ["sre.group"]);
            }
        }
    }
}
