//! `openfga-tuples`: relationship tuples for OpenFGA, a user a line of membership, nested groups flattened.
//!
//! Loading tuples only adds; taking out what is no longer here needs what was loaded before, and is not written yet.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::access::View;

use super::escape::{self, Refused};
use super::fit::{self, Kind};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, json as whole, lines};

const NAME: &str = "openfga-tuples";

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "OpenFGA: tuples of users with their groups and roles",
    content_type: "application/json",
    options: &[
        OptionDoc {
            name: "encode",
            kind: OptionKind::Choice(&["none", "base64url"]),
            default: "\"none\"",
            description: "How ids are written; with `none`, names with blanks, `:`, `#` and the name `*` are left out.",
        },
        OptionDoc {
            name: "form",
            kind: OptionKind::Choice(&["json", "jsonl", "csv"]),
            default: "\"json\"",
            description: "One JSON list, JSON Lines, or CSV as `fga tuple write` reads it.",
        },
        word("group_relation", "\"member\"", "Relation of a user to a group."),
        word("group_type", "\"group\"", "Type of groups."),
        word("role_relation", "\"assignee\"", "Relation of a user to a role."),
        word("role_type", "\"role\"", "Type of roles."),
        word("user_type", "\"user\"", "Type of users."),
    ],
    render: super::Render::One(render),
    check,
    example: whole::placeholder_options,
};

const CSV_HEADER: &str =
    "user_type,user_id,user_relation,relation,object_type,object_id,condition_name,condition_context";

/// Bytes that OpenFGA takes: of an object (type, colon and id), and of a user.
const OBJECT_BYTES_MAX: usize = 256;
const USER_BYTES_MAX: usize = 512;

const fn word(name: &'static str, default: &'static str, description: &'static str) -> OptionDoc {
    let kind = OptionKind::Shaped("1 to 50 of letters, digits, _ and -", is_word);
    OptionDoc { name, kind, default, description }
}

fn is_word(text: &str) -> bool {
    (1..=50).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// One tuple.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tuple {
    user: String,
    relation: String,
    object: String,
}

/// Types and the way ids are written.
struct Names<'a> {
    options: &'a Options,
}

impl Names<'_> {
    fn type_of(&self, kind: Kind) -> &str {
        match kind {
            Kind::User => self.options.text("user_type", "user"),
            Kind::Group => self.options.text("group_type", "group"),
            Kind::Role => self.options.text("role_type", "role"),
        }
    }

    /// `type:id`.
    fn full(&self, kind: Kind, name: &str) -> String {
        let id = if self.is_encoded() { escape::base64url(name) } else { name.to_owned() };
        format!("{}:{id}", self.type_of(kind))
    }

    fn is_encoded(&self) -> bool {
        self.options.text("encode", "none") == "base64url"
    }

    fn refuse(&self, kind: Kind, name: &str) -> Option<Refused> {
        if !self.is_encoded() {
            if name == "*" {
                return Some("`*` means everybody to OpenFGA");
            }
            if name.contains(|c: char| c.is_whitespace() || matches!(c, ':' | '#')) {
                return Some("the name has a blank, `:` or `#`, which OpenFGA takes in no id");
            }
        }
        let max = if kind == Kind::User { USER_BYTES_MAX } else { OBJECT_BYTES_MAX };
        (self.full(kind, name).len() > max).then_some("the name is longer than OpenFGA takes")
    }
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let names = Names { options };
    distinct_types(&names)?;
    let (view, left_out) = fit::without_refused(view, &|kind, name| names.refuse(kind, name));
    let mut tuples = BTreeSet::new();
    for user in &view.users {
        let groups = user.groups.iter().map(|name| (Kind::Group, "group_relation", "member", name));
        let roles = user.roles.iter().map(|name| (Kind::Role, "role_relation", "assignee", name));
        for (kind, option, default, name) in groups.chain(roles) {
            tuples.insert(Tuple {
                user: names.full(Kind::User, &user.name),
                relation: options.text(option, default).to_owned(),
                object: names.full(kind, name),
            });
        }
    }
    let bytes = match options.text("form", "json") {
        "jsonl" => {
            let mut bytes = Vec::new();
            for tuple in &tuples {
                bytes.append(&mut lines::json_line(NAME, &tuple.to_json())?);
            }
            bytes
        }
        "csv" => csv(&tuples).into_bytes(),
        _ => lines::json_pretty(NAME, &tuples.iter().map(Tuple::to_json).collect::<Vec<_>>())?,
    };
    Ok(Rendered { bytes, left_out })
}

/// A user must never meet a group or a role of the same name.
fn distinct_types(names: &Names<'_>) -> Result<(), RenderError> {
    let types = [Kind::User, Kind::Group, Kind::Role].map(|kind| names.type_of(kind));
    if types.iter().collect::<BTreeSet<_>>().len() == types.len() {
        return Ok(());
    }
    Err(RenderError {
        name: NAME.into(),
        line: None,
        what: "two kinds have one type".into(),
        hint: "set user_type, group_type and role_type to different words",
    })
}

impl Tuple {
    fn to_json(&self) -> Value {
        json!({ "user": self.user, "relation": self.relation, "object": self.object })
    }
}

fn csv(tuples: &BTreeSet<Tuple>) -> String {
    let mut text = format!("{CSV_HEADER}\n");
    for tuple in tuples {
        let cell = |text: &str| escape::csv(text).unwrap_or_default();
        let parts = (tuple.user.split_once(':'), tuple.object.split_once(':'));
        if let (Some((user_type, user)), Some((object_type, object))) = parts {
            let (user, object) = (cell(user), cell(object));
            let _infallible =
                writeln!(text, "{user_type},{user},,{},{object_type},{object},,", tuple.relation);
        }
    }
    text
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let text = lines::text(bytes)?;
    match options.text("form", "json") {
        "csv" if text.lines().next() == Some(CSV_HEADER) => super::csv_check::check(text),
        "csv" => Err("the header is missing".into()),
        "jsonl" => lines::numbered(text).try_for_each(|(n, line)| {
            let tuple = crate::scim::json::parse(line.as_bytes()).map_err(|error| error.detail);
            tuple.and_then(|tuple| check_tuple(&tuple)).map_err(|why| format!("line {n}: {why}"))
        }),
        _ => {
            let document = lines::json(bytes)?;
            document.as_array().ok_or("not a list of tuples")?.iter().try_for_each(check_tuple)
        }
    }
}

/// The grammar of OpenFGA's own checks.
fn check_tuple(tuple: &Value) -> Result<(), String> {
    let text = |key: &str| tuple.get(key).and_then(Value::as_str).ok_or(format!("a tuple without `{key}`"));
    let (user, relation, object) = (text("user")?, text("relation")?, text("object")?);
    for (full, max) in [(user, USER_BYTES_MAX), (object, OBJECT_BYTES_MAX)] {
        let (kind, id) = full.split_once(':').ok_or(format!("`{full}` has no type"))?;
        let is_bad = |c: char| c.is_whitespace() || matches!(c, ':' | '#');
        if !is_word(kind) || id.is_empty() || id == "*" || id.contains(is_bad) || full.len() > max {
            return Err(format!("`{full}` is not `type:id` as OpenFGA takes it"));
        }
    }
    if is_word(relation) { Ok(()) } else { Err(format!("`{relation}` is not a relation")) }
}
