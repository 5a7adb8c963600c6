//! `casbin`: who is in which group and role as `g` lines of a Casbin policy. A prefix tells users, groups and roles
//! apart, because Casbin grants a subject everything of a role of the same name. Nesting is flattened: Casbin denies
//! silently beyond ten levels.

use crate::access::View;
use std::fmt::Write as _;

use super::escape::Refused;
use super::fit::{self, Kind};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, json, lines};

pub(super) const FORMAT: Format = Format {
    name: "casbin",
    summary: "Casbin: `g` lines of users with their groups and roles",
    content_type: "text/csv; charset=utf-8",
    options: &[
        OptionDoc {
            name: "domain",
            kind: OptionKind::Shaped("a name without blanks, commas, quotes and brackets", is_domain),
            default: "\"\"",
            description: "A domain in the fourth field of each line; empty: three fields.",
        },
        OptionDoc {
            name: "policy_type",
            kind: OptionKind::Choice(&["g", "g2", "g3"]),
            default: "\"g\"",
            description: "The grouping that the lines belong to.",
        },
        OptionDoc {
            name: "user_prefix",
            kind: OptionKind::Shaped(
                "a name without blanks, commas, quotes and brackets, or empty",
                is_prefix,
            ),
            default: "\"user:\"",
            description: "What stands before each user. If empty, users named `group:…` or `role:…` are left out.",
        },
    ],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    ..super::PLAIN
};

/// The first line, so that a file without lines is told from one that was cut short.
const HEADER: &str = "# Groups and roles of each user, kept by rosterd.";

const GROUP: &str = "group:";
const ROLE: &str = "role:";

fn is_domain(text: &str) -> bool {
    text.is_empty() || field(text).is_ok() && !text.contains(char::is_whitespace)
}

fn is_prefix(text: &str) -> bool {
    is_domain(text) && ![GROUP, ROLE].iter().any(|kind| kind.starts_with(text) && !text.is_empty())
}

/// One field, as all engines read it. They disagree about quotes, so nothing that would need them is written.
fn field(text: &str) -> Result<&str, Refused> {
    if text.contains([',', '"', '(', ')', '[', ']', '{', '}']) {
        return Err("the name has a comma, a quote or a bracket, which Casbin's engines read differently");
    }
    if text.trim() != text {
        return Err("the name begins or ends with a blank, which Casbin cuts off");
    }
    if text.chars().any(|c| fit::unfit_char(c).is_some()) { Err("a control character") } else { Ok(text) }
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every renderer")]
fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let prefix = options.text("user_prefix", "user:");
    let refuse = |kind: Kind, name: &str| match kind {
        Kind::User => {
            let full = format!("{prefix}{name}");
            if full.starts_with(GROUP) || full.starts_with(ROLE) {
                return Some("the name would be taken for a group or a role");
            }
            field(name).err()
        }
        Kind::Group | Kind::Role => field(name).err(),
    };
    let (view, left_out) = fit::without_refused(view, &refuse);
    let policy = options.text("policy_type", "g");
    let domain = match options.text("domain", "") {
        "" => String::new(),
        domain => format!(", {domain}"),
    };
    let mut text = format!("{HEADER}\n");
    for user in &view.users {
        let groups = user.groups.iter().map(|name| (GROUP, name));
        for (kind, name) in groups.chain(user.roles.iter().map(|name| (ROLE, name))) {
            let _infallible = writeln!(text, "{policy}, {prefix}{}, {kind}{name}{domain}", user.name);
        }
    }
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let wanted = if options.text("domain", "").is_empty() { 3 } else { 4 };
    for (n, line) in lines::numbered(lines::text(bytes)?) {
        if n == 1 && line == HEADER {
            continue;
        }
        let fields: Vec<&str> = line.split(", ").collect();
        if fields.len() != wanted || fields.first() != Some(&options.text("policy_type", "g")) {
            return Err(format!("line {n} has not the {wanted} fields of a grouping"));
        }
        if fields.iter().any(|text| text.is_empty() || field(text).is_err()) {
            return Err(format!("line {n} has a field that Casbin's engines read differently"));
        }
        if !fields.get(2).is_some_and(|target| target.starts_with(GROUP) || target.starts_with(ROLE)) {
            return Err(format!("line {n} gives neither a group nor a role"));
        }
    }
    Ok(())
}
