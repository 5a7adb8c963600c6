//! What may stand in a file, whatever the daemon says: the bounds of root's own config on the people, groups, numbers
//! and rules in it.
//!
//! A format's own check says that bytes *are* a sudoers file; a compromised daemon could still write one that gives
//! everybody everything. Here root fixes all but the list of people, and bounds that list. Pure.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::member::{Names, Pattern};

/// The formats that bounds are known for, with the keys of each; the first of them must be set where it is `true`.
pub const KNOWN: [(&str, bool, &[&str]); 5] = [
    ("extrausers", true, &["ids", "groups", "names", "deny"]),
    ("pam-access", false, &["always", "origins", "names", "deny"]),
    ("ssh-principals", false, &["names", "deny"]),
    ("sudoers", true, &["rules", "names", "deny"]),
    ("userdb", true, &["ids", "groups", "shells", "homes", "names", "deny"]),
];

/// The bounds of one target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Who may be listed. Keys `names` and `deny`. Default everybody but accounts of the system.
    pub people: Names,
    /// `extrausers`, `userdb`: which numbers groups and accounts may have. Key `ids`.
    pub ids: Option<RangeInclusive<u64>>,
    /// `extrausers`, `userdb`: what groups may be called. Key `groups`. Default anything but groups of the system.
    pub groups: Vec<Pattern>,
    /// `sudoers`: the rule of each alias, to the byte. Key `rules`.
    pub rules: BTreeMap<String, String>,
    /// `userdb`: the shells that accounts may have, to the byte or with `*`. Key `shells`. Default none of their own.
    pub shells: Vec<Pattern>,
    /// `userdb`: the homes that accounts may have, such as `/home/*`. Key `homes`. Default systemd's own.
    pub homes: Vec<Pattern>,
    /// `pam-access`: accounts that must be let in by every file, from everywhere. Key `always`.
    pub always: Vec<String>,
    /// `pam-access`: where everybody else may come from, to the byte. Key `origins`, default `ALL`.
    pub origins: Option<String>,
}

/// The only comment that a file of ours has. In sudoers `#1000` would be a user, and `#include` a file.
const COMMENT: &str = "# Written by rosterd; changes here are undone.";

impl Bounds {
    /// Whether a file that its format's own check has passed keeps within the bounds. A format that is not in
    /// [`KNOWN`] has none.
    ///
    /// # Errors
    /// The line and the bound it breaks.
    pub fn judge(&self, format: &str, bytes: &[u8]) -> Result<(), String> {
        if !KNOWN.iter().any(|(name, ..)| *name == format) {
            return Ok(());
        }
        if format == "userdb" {
            return self.userdb(bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let lines = || text.lines().enumerate().filter(|(_, line)| *line != COMMENT);
        for (n, line) in lines() {
            let judged = match format {
                "sudoers" => self.sudoers(line),
                "pam-access" => self.pam_access(line),
                "extrausers" => self.extrausers(line),
                _ => self.person(line),
            };
            judged.map_err(|why| format!("line {}: {why}", n + 1))?;
        }
        if format == "pam-access" {
            let always = self.always.iter().map(|name| format!("+:{name}:ALL"));
            if let Some(missing) = always.into_iter().find(|row| !lines().any(|(_, line)| line == row)) {
                return Err(format!("the line `{missing}` is missing, which `bounds.always` demands"));
            }
        }
        Ok(())
    }

    fn person(&self, name: &str) -> Result<(), String> {
        self.people.permit(name).map_err(|why| format!("`{}` may not be listed: {why}", name.escape_debug()))
    }

    /// An alias that root knows, with its people; or the rule of one, to the byte.
    fn sudoers(&self, line: &str) -> Result<(), String> {
        if let Some((alias, users)) = line.strip_prefix("User_Alias ").and_then(|rest| rest.split_once(" = "))
        {
            if !self.rules.contains_key(alias) {
                return Err(format!("the alias `{}` is not in `bounds.rules`", alias.escape_debug()));
            }
            return users.split(", ").try_for_each(|user| self.person(&unescaped(user)?));
        }
        if self.rules.iter().any(|(alias, rule)| line == format!("{alias} {rule}")) {
            return Ok(());
        }
        Err("it is not a rule of `bounds.rules`, to the byte".to_owned())
    }

    fn pam_access(&self, line: &str) -> Result<(), String> {
        if line == "-:ALL:ALL" {
            return Ok(());
        }
        let row = line.strip_prefix("+:").and_then(|row| row.split_once(':'));
        let Some((name, origins)) = row else {
            return Err("it lets nobody in and is not the denial".to_owned());
        };
        if self.always.iter().any(|always| always == name) && origins == "ALL" {
            return Ok(());
        }
        if origins != self.origins.as_deref().unwrap_or("ALL") {
            return Err("it names other origins than `bounds.origins`".to_owned());
        }
        self.person(name)
    }

    fn extrausers(&self, line: &str) -> Result<(), String> {
        let mut fields = line.split(':');
        let (Some(group), Some(_), Some(gid), Some(members)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err("it is not a group".to_owned());
        };
        let is_in_range = |ids: &RangeInclusive<u64>| gid.parse().is_ok_and(|gid: u64| ids.contains(&gid));
        if !self.ids.as_ref().is_some_and(is_in_range) {
            return Err("its gid is outside `bounds.ids`".to_owned());
        }
        let groups = Names { allow: self.groups.clone(), ..Names::default() };
        groups.permit(group).map_err(|why| format!("the group `{}`: {why}", group.escape_debug()))?;
        members.split(',').filter(|_| !members.is_empty()).try_for_each(|member| self.person(member))
    }
}

/// What a record of ours may say; a compromised daemon could otherwise write `"privileged"`, a password or keys.
const USER: [&str; 6] = ["userName", "uid", "gid", "disposition", "homeDirectory", "shell"];
const GROUP: [&str; 4] = ["groupName", "gid", "disposition", "members"];

impl Bounds {
    /// Whether a file of that name may be there: a membership says in its name alone who is in what.
    ///
    /// # Errors
    /// The bound it breaks.
    pub fn judge_name(&self, format: &str, member: Option<&str>) -> Result<(), String> {
        let Some(name) = member.filter(|_| format == "userdb") else { return Ok(()) };
        if let Some(user) = name.strip_suffix(".user") {
            return self.person(user);
        }
        let Some(membership) = name.strip_suffix(".membership") else { return Ok(()) };
        let (user, group) =
            membership.split_once(':').ok_or("a membership is called `USER:GROUP.membership`")?;
        self.person(user)?;
        let groups = Names { allow: self.groups.clone(), ..Names::default() };
        groups.permit(group).map_err(|why| format!("the group `{}`: {why}", group.escape_debug()))
    }

    /// One record of systemd's; a membership is empty.
    fn userdb(&self, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        let record: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(bytes).map_err(|error| format!("it is not a record: {error}"))?;
        let text = |key: &str| record.get(key).and_then(serde_json::Value::as_str);
        let is_user = record.contains_key("userName");
        let keys: &[&str] = if is_user { &USER } else { &GROUP };
        if let Some(other) = record.keys().find(|key| !keys.contains(&key.as_str())) {
            return Err(format!("`{}` is no key of such a record of ours", other.escape_debug()));
        }
        if text("disposition") != Some("regular") {
            return Err("its `disposition` is not `regular`".to_owned());
        }
        for key in ["uid", "gid"].into_iter().filter(|key| is_user || *key == "gid") {
            let id = record.get(key).and_then(serde_json::Value::as_u64);
            if !id.is_some_and(|id| self.ids.as_ref().is_some_and(|ids| ids.contains(&id))) {
                return Err(format!("its `{key}` is outside `bounds.ids`"));
            }
        }
        if is_user {
            let plain = |key: &str, allowed: &[Pattern]| match text(key) {
                None if !record.contains_key(key) => Ok(()),
                Some(value) if allowed.iter().any(|pattern| pattern.fits(value)) => Ok(()),
                _ => Err(format!(
                    "its `{key}` is not in `bounds.{}`",
                    if key == "shell" { "shells" } else { "homes" }
                )),
            };
            plain("shell", &self.shells)?;
            plain("homeDirectory", &self.homes)?;
            return self.person(text("userName").unwrap_or_default());
        }
        let name = text("groupName").ok_or("it names neither an account nor a group")?;
        let members = record.get("members").and_then(serde_json::Value::as_array);
        for member in members.into_iter().flatten() {
            self.person(member.as_str().ok_or("a member is no name")?)?;
        }
        // An account's own group bears its name; any other is a group of a role.
        if members.is_none() {
            return self.person(name);
        }
        let groups = Names { allow: self.groups.clone(), ..Names::default() };
        groups.permit(name).map_err(|why| format!("the group `{}`: {why}", name.escape_debug()))
    }
}

/// The user that sudo reads: `\xHH` is that byte.
fn unescaped(user: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut parts = user.split("\\x");
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).ok_or("a user ends within an escape")?;
        bytes.push(u8::from_str_radix(hex, 16).map_err(|_| "a user has a broken escape")?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).map_err(|_| "a user is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format;

    fn patterns(list: &[&str]) -> Vec<Pattern> {
        list.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn of_sudoers_the_daemon_chooses_the_people_and_nothing_else() {
        let rule = "ALL=(root) NOPASSWD: /bin/true";
        let bounds = Bounds {
            rules: [("ROSTERD_OPS".to_owned(), rule.to_owned())].into(),
            people: Names { allow: patterns(&["al*"]), deny: ["alfred".to_owned()].into() },
            ..Bounds::default()
        };
        let judge = |text: &str| bounds.judge("sudoers", text.as_bytes());
        let good = format!("{COMMENT}\nUser_Alias ROSTERD_OPS = \\x61lice, \\x61lan\nROSTERD_OPS {rule}\n");
        judge(&good).unwrap();
        judge(&format!("{COMMENT}\n")).unwrap();
        format::find("sudoers")
            .unwrap()
            .check(good.as_bytes(), &format::Options::new("x".parse().unwrap()))
            .unwrap();
        for (from, to) in [
            ("/bin/true", "ALL"),
            ("/bin/true", "/bin/true, /bin/sh"),
            ("ROSTERD_OPS", "ROSTERD_EVERYTHING"),
            ("\\x61lice", "\\x65ve"),
            ("\\x61lice", "\\x61lfred"),
            ("\\x61lice", "\\x72oot"),
            (COMMENT, "#1000 ALL=(ALL) ALL"),
            (COMMENT, "@include /tmp/x"),
            (COMMENT, "#include /tmp/x"),
            (COMMENT, "# a comment \\"),
            (COMMENT, "Defaults !authenticate"),
        ] {
            assert!(good.contains(from));
            assert!(judge(&good.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn of_access_conf_those_always_in_stay_and_origins_are_fixed() {
        let bounds =
            Bounds { always: vec!["root".into()], origins: Some("LOCAL".into()), ..Bounds::default() };
        let judge = |text: &str| bounds.judge("pam-access", text.as_bytes());
        judge("+:root:ALL\n+:alice:LOCAL\n-:ALL:ALL\n").unwrap();
        for bad in [
            "+:alice:LOCAL\n-:ALL:ALL\n",
            "+:root:LOCAL\n-:ALL:ALL\n",
            "+:root:ALL\n+:alice:ALL\n-:ALL:ALL\n",
            "+:root:ALL\n+:postgres:LOCAL\n-:ALL:ALL\n",
            "+:root:ALL\n-:root:ALL\n-:ALL:ALL\n",
        ] {
            assert!(judge(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn groups_keep_to_their_numbers_and_names() {
        let bounds = Bounds { ids: Some(60_000..=60_999), groups: patterns(&["crew"]), ..Bounds::default() };
        let judge = |text: &str| bounds.judge("extrausers", text.as_bytes());
        judge("crew:x:60601:alice,bob\n").unwrap();
        judge("crew:x:60601:\n").unwrap();
        for bad in [
            "crew:x:27:alice\n",
            "crew:x:61000:alice\n",
            "shadow:x:60601:\n",
            "team:x:60601:\n",
            "crew:x:60601:root\n",
        ] {
            assert!(judge(bad).is_err(), "{bad}");
        }
        assert!(Bounds::default().judge("extrausers", b"crew:x:60601:\n").is_err(), "no numbers, no groups");
    }

    #[test]
    fn records_of_systemd_keep_to_names_numbers_and_their_few_keys() {
        let bounds = Bounds {
            ids: Some(60_000..=60_999),
            groups: patterns(&["crew"]),
            shells: patterns(&["/bin/bash"]),
            ..Bounds::default()
        };
        let judge = |text: &str| bounds.judge("userdb", text.as_bytes());
        let user =
            r#"{"disposition":"regular","gid":60500,"shell":"/bin/bash","uid":60500,"userName":"alice"}"#;
        let group = r#"{"disposition":"regular","gid":60000,"groupName":"crew","members":["alice"]}"#;
        let own = r#"{"disposition":"regular","gid":60500,"groupName":"alice"}"#;
        for good in ["", user, group, own] {
            judge(good).unwrap();
        }
        let name = |name| bounds.judge_name("userdb", Some(name));
        for good in ["alice.user", "alice:crew.membership", "crew.group", "60500.user"] {
            name(good).unwrap();
        }
        for bad in ["root.user", "root:crew.membership", "alice:sudo.membership", "alice.membership"] {
            assert!(name(bad).is_err(), "{bad}");
        }
        for (good, from, to) in [
            (user, "\"uid\":60500", "\"uid\":0"),
            (user, "\"gid\":60500", "\"gid\":27"),
            (user, "\"alice\"", "\"root\""),
            (user, "/bin/bash", "/tmp/x"),
            (user, "\"uid\"", "\"privileged\":{\"hashedPassword\":[\"x\"]},\"uid\""),
            (user, "\"uid\"", "\"homeDirectory\":\"/root\",\"uid\""),
            (user, "regular", "system"),
            (group, "60000", "27"),
            (group, "\"crew\"", "\"sudo\""),
            (group, "[\"alice\"]", "[\"root\"]"),
            (group, "[\"alice\"]", "[1]"),
            (own, "\"alice\"", "\"shadow\""),
        ] {
            assert!(good.contains(from));
            assert!(judge(&good.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn principals_keep_to_the_names() {
        let people = Names { allow: patterns(&["*@example.com"]), ..Names::default() };
        let bounds = Bounds { people, ..Bounds::default() };
        assert!(bounds.judge("ssh-principals", b"alice@example.com\n").is_ok());
        assert!(bounds.judge("ssh-principals", b"").is_ok());
        assert!(bounds.judge("ssh-principals", b"alice@example.com\nmallory@evil.example\n").is_err());
        assert!(bounds.judge("json", b"\xff").is_ok(), "a format without bounds has none");
    }
}
