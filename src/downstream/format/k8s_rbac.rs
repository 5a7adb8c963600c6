//! `k8s-rbac`: one binding for each role, with its holders as subjects. Names of bindings and of what they bind come
//! from the config alone. Applying only adds and changes; every binding therefore carries labels to prune by, and a
//! role that nobody holds is a binding without subjects.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::access::{View, ViewRole};

use super::escape::{self, Refused};
use super::fit::{self, Kind};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, json, lines};

pub(super) const FORMAT: Format = Format {
    name: "k8s-rbac",
    summary: "Kubernetes: a role binding for each role, with labels to prune by",
    content_type: "application/yaml",
    options: &[
        OptionDoc {
            name: "bind",
            kind: OptionKind::Choice(&["ClusterRole", "Role"]),
            default: "\"ClusterRole\"",
            description: "What the roles are in Kubernetes; `Role` only with a namespace.",
        },
        OptionDoc {
            name: "map",
            kind: OptionKind::Map("a name without `/` and `%`", is_name),
            default: "{}",
            description: "Which Kubernetes role a role binds, where it is called otherwise; `{ db-admin = \"edit\" }`.",
        },
        OptionDoc {
            name: "namespace",
            kind: OptionKind::Shaped("1 to 63 of a-z, 0-9 and -, or empty", is_namespace),
            default: "\"\"",
            description: "Writes RoleBindings in this namespace; empty: ClusterRoleBindings.",
        },
        OptionDoc {
            name: "prefix",
            kind: OptionKind::Shaped("1 to 64 of letters, digits and . _ : -", is_prefix),
            default: "\"rosterd-\"",
            description: "What the name of each binding begins with.",
        },
        OptionDoc {
            name: "roles",
            kind: OptionKind::Texts("a role's name", is_name),
            default: "every role",
            description: "Only these roles.",
        },
        OptionDoc {
            name: "user_prefix",
            kind: OptionKind::Text,
            default: "\"\"",
            description: "What the API server puts before each user (--oidc-username-prefix), such as `oidc:`.",
        },
    ],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    has_local_power: true,
    ..super::PLAIN
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// A segment of a path in the API.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text.len() <= 253
        && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '%' | '@'))
}

fn is_prefix(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-'))
}

fn is_namespace(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Names that begin with `system:` are Kubernetes' own; `system:masters` may do everything.
fn refuse(name: &str) -> Option<Refused> {
    name.starts_with("system:").then_some("the name begins with `system:`, which Kubernetes keeps for itself")
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let (namespace, bind) = (options.text("namespace", ""), options.text("bind", "ClusterRole"));
    if namespace.is_empty() && bind == "Role" {
        return Err(RenderError {
            name: "k8s-rbac".into(),
            line: None,
            what: "a ClusterRoleBinding cannot bind a Role".into(),
            hint: "set the option `namespace`, or `bind = \"ClusterRole\"`",
        });
    }
    let prefix = options.text("user_prefix", "");
    let judge = |kind: Kind, name: &str| match kind {
        Kind::User => refuse(&format!("{prefix}{name}")),
        Kind::Group | Kind::Role => None,
    };
    let (view, left_out) = fit::without_refused(view, &judge);
    let wanted: Option<BTreeSet<&str>> = options.texts("roles").map(|list| list.into_iter().collect());
    let roles =
        view.roles.iter().filter(|role| wanted.as_ref().is_none_or(|set| set.contains(role.name.as_str())));
    let documents: Vec<String> = roles.map(|role| binding(role, options)).collect();
    let text = if documents.is_empty() { nothing(options) } else { documents.join("---\n") };
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

fn binding(role: &ViewRole, options: &Options) -> String {
    let map = options.map("map");
    let bound = map.get(role.name.as_str()).copied();
    let prefix = options.text("prefix", "rosterd-");
    // What a binding binds cannot be changed later, so another map makes another binding, and the old one is pruned.
    let name = match bound {
        Some(bound) => format!("{prefix}{}@{bound}", role.name),
        None => format!("{prefix}{}", role.name),
    };
    let namespace = options.text("namespace", "");
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let quoted = escape::quoted;
    let mut text = header(kind, &quoted(&name), options);
    let _infallible = write!(
        text,
        "roleRef:\n  apiGroup: \"{GROUP}\"\n  kind: {}\n  name: {}\n",
        quoted(options.text("bind", "ClusterRole")),
        quoted(bound.unwrap_or(role.name.as_str()))
    );
    if role.members.is_empty() {
        text.push_str("subjects: []\n");
        return text;
    }
    text.push_str("subjects:\n");
    for member in &role.members {
        let name = quoted(&format!("{}{member}", options.text("user_prefix", "")));
        let _infallible = write!(text, "  - kind: \"User\"\n    apiGroup: \"{GROUP}\"\n    name: {name}\n");
    }
    text
}

/// A file without a binding would be refused by kubectl before it prunes anything, so one that binds nobody stands in.
fn nothing(options: &Options) -> String {
    let kind = if options.text("namespace", "").is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let name = escape::quoted(&format!("{}nobody", options.text("prefix", "rosterd-")));
    let head = header(kind, &name, options);
    format!(
        "{head}roleRef:\n  apiGroup: \"{GROUP}\"\n  kind: \"ClusterRole\"\n  name: \"view\"\nsubjects: []\n"
    )
}

/// What a binding is and is called, with the labels to prune by.
fn header(kind: &str, name: &str, options: &Options) -> String {
    let mut text = format!("apiVersion: \"{GROUP}/v1\"\nkind: \"{kind}\"\nmetadata:\n  name: {name}\n");
    let namespace = options.text("namespace", "");
    if !namespace.is_empty() {
        let _infallible = writeln!(text, "  namespace: {}", escape::quoted(namespace));
    }
    let _infallible = write!(
        text,
        "  labels:\n    \"app.kubernetes.io/managed-by\": \"rosterd\"\n    \"rosterd/target\": {}\n",
        escape::quoted(options.target.as_str())
    );
    text
}

/// Reads each line as `key: value` with the value a JSON text, the only form that is written.
fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let text = lines::text(bytes)?;
    let mut names = BTreeSet::new();
    let (mut section, mut kinds, mut roles, mut subjects) = ("", 0usize, 0usize, 0usize);
    for (n, line) in lines::numbered(text) {
        let wrong = |what: &str| Err(format!("line {n}: {what}"));
        if line == "---" {
            continue;
        }
        let Some((key, value)) =
            line.split_once(": ").or_else(|| line.strip_suffix(':').map(|key| (key, "")))
        else {
            return wrong("not `key: value`");
        };
        if !key.starts_with(' ') {
            section = key;
        }
        kinds = kinds.saturating_add(usize::from(key == "kind"));
        roles = roles.saturating_add(usize::from(key == "roleRef"));
        subjects = subjects.saturating_add(usize::from(key == "subjects"));
        if value.is_empty() || (key == "subjects" && value == "[]") {
            continue;
        }
        let Ok(Value::String(value)) = serde_json::from_str(value) else {
            return wrong("the value is not a text in double quotes");
        };
        if section == "metadata" && key == "  name" && !names.insert(value.clone()) {
            return wrong("two bindings have one name");
        }
        if section == "subjects" && key == "    name" && refuse(&value).is_some() {
            return wrong("a subject begins with `system:`");
        }
    }
    let is_whole = kinds == roles && kinds == subjects && kinds == names.len();
    if is_whole { Ok(()) } else { Err("a binding lacks kind, name, roleRef or subjects".into()) }
}
