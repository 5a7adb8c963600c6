//! `border0-policy`: the holders of a role as the `policy_data` of a Border0 policy (version v2).
//!
//! An empty `who` is not "nobody" by Border0's contract, so it is never written. Where nobody is left, the policy
//! grants no permission, and names an address that cannot exist.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::access::View;

use super::escape::Refused;
use super::fit::{self, Kind};
use super::{Format, OptionDoc, OptionKind, Options, REQUIRED, RenderError, Rendered, json as whole, lines};

const NAME: &str = "border0-policy";

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "Border0: the `policy_data` (v2) that lets the holders of a role in, by e-mail address",
    content_type: "application/json",
    options: &[
        OptionDoc {
            name: "allowed_ip",
            kind: OptionKind::Texts("an address range such as 10.0.0.0/8", is_range),
            default: "[\"0.0.0.0/0\", \"::/0\"]",
            description: "Where people may come from.",
        },
        OptionDoc {
            name: "permissions",
            kind: OptionKind::Words(PERMISSIONS),
            default: REQUIRED,
            description: "What the policy permits.",
        },
        OptionDoc {
            name: "role",
            kind: OptionKind::Shaped("a role's name", |text| crate::model::RoleName::parse(text).is_ok()),
            default: "every role",
            description: "Whose holders the policy lets in.",
        },
    ],
    render: super::Render::One(render),
    check,
    example,
    ..super::PLAIN
};

/// What can be permitted without further settings.
const PERMISSIONS: &[&str] = &[
    "database",
    "http",
    "network",
    "rdp",
    "ssh.docker_exec",
    "ssh.exec",
    "ssh.kubectl_exec",
    "ssh.sftp",
    "ssh.shell",
    "tls",
    "vnc",
    "vpn",
];

/// An address in a domain that exists nowhere (RFC 2606), so that `who` is never empty.
const NOBODY: &str = "nobody@rosterd.invalid";

fn is_range(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    match (address.parse::<std::net::IpAddr>(), bits.parse::<u8>()) {
        (Ok(std::net::IpAddr::V4(_)), Ok(bits)) => bits <= 32,
        (Ok(std::net::IpAddr::V6(_)), Ok(bits)) => bits <= 128,
        _ => false,
    }
}

/// Border0 knows people by e-mail address.
fn refuse(name: &str) -> Option<Refused> {
    let plain = |c: char| {
        !c.is_whitespace() && !matches!(c, ',' | ';' | ':' | '<' | '>' | '"' | '(' | ')' | '*' | '\\')
    };
    let is_address = name.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@') && domain.contains('.')
    });
    if !is_address || !name.chars().all(plain) {
        return Some("the name is not an e-mail address, by which Border0 knows people");
    }
    name.to_ascii_lowercase()
        .ends_with(".invalid")
        .then_some("the address ends in `.invalid`, which nobody has")
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    // Border0 does not tell upper from lower case, so two such users would share what one of them was granted.
    let mut bearers: BTreeMap<String, usize> = BTreeMap::new();
    for user in &view.users {
        let count = bearers.entry(user.name.to_lowercase()).or_default();
        *count = count.saturating_add(1);
    }
    let is_shared = |name: &str| bearers.get(&name.to_lowercase()).is_some_and(|&count| count > 1);
    let judge = |kind: Kind, name: &str| match kind {
        Kind::User if is_shared(name) => {
            Some("another user's address is the same but for upper and lower case")
        }
        Kind::User => refuse(name),
        Kind::Group | Kind::Role => None,
    };
    let (view, left_out) = fit::without_refused(view, &judge);
    let role = options.values.get("role").and_then(Value::as_str);
    let roles = view.roles.iter().filter(|known| role.is_none_or(|role| known.name.as_str() == role));
    let who: BTreeSet<&str> = roles.flat_map(|role| &role.members).map(String::as_str).collect();
    let (who, permissions) = if who.is_empty() {
        (vec![NOBODY], Map::new())
    } else {
        (who.into_iter().collect(), permissions(&options.texts("permissions").unwrap_or_default()))
    };
    let ranges = options.texts("allowed_ip").unwrap_or_else(|| vec!["0.0.0.0/0", "::/0"]);
    let policy = json!({
        "permissions": permissions,
        "condition": {
            "who": { "email": who, "group": [], "service_account": [] },
            "where": { "allowed_ip": ranges },
            "when": {},
        },
    });
    Ok(Rendered { bytes: lines::json_pretty(NAME, &policy)?, left_out })
}

/// A permission that is there is granted; `ssh.shell` stands within `ssh`.
fn permissions(words: &[&str]) -> Map<String, Value> {
    let mut granted = Map::new();
    for word in words.iter().collect::<BTreeSet<_>>() {
        let (outer, inner) =
            word.split_once('.').map_or((*word, None), |(outer, inner)| (outer, Some(inner)));
        let entry = granted.entry(outer).or_insert_with(|| json!({}));
        if let (Some(inner), Some(entry)) = (inner, entry.as_object_mut()) {
            entry.insert(inner.to_owned(), json!({}));
        }
    }
    granted
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let policy = lines::json(bytes)?;
    let who = policy.pointer("/condition/who/email").and_then(Value::as_array).ok_or("no `who.email`")?;
    if who.is_empty() || who.iter().any(|one| !one.is_string()) {
        return Err("`who` is empty, which does not mean nobody to Border0".into());
    }
    let is_nobody = who.iter().any(|one| one == NOBODY);
    let granted = policy.get("permissions").and_then(Value::as_object).ok_or("no `permissions`")?;
    let wanted =
        if is_nobody { Map::new() } else { permissions(&options.texts("permissions").unwrap_or_default()) };
    if *granted == wanted { Ok(()) } else { Err("the permissions are not the configured ones".into()) }
}

fn example() -> Options {
    let mut options = whole::placeholder_options();
    options.values.insert("permissions".into(), json!(["database", "ssh.exec", "ssh.shell"]));
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::{example_view, find};

    #[test]
    fn addresses_that_differ_in_case_only_let_nobody_in() {
        let mut view = example_view();
        "BOB@example.com".clone_into(&mut view.users[0].name);
        let rendered = find(NAME).unwrap().render(&view, &example()).unwrap();
        assert_eq!(rendered.left_out.len(), 2, "both are named");
        let text = String::from_utf8(rendered.bytes).unwrap();
        assert!(text.contains("\"permissions\": {}") && text.contains(NOBODY), "{text}");
    }

    #[test]
    fn a_role_that_is_not_there_permits_nothing() {
        let mut options = example();
        options.values.insert("role".into(), "gone".into());
        let rendered = find(NAME).unwrap().render(&example_view(), &options).unwrap();
        assert!(String::from_utf8(rendered.bytes).unwrap().contains("\"permissions\": {}"));
    }
}
