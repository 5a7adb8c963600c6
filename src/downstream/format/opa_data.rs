//! `opa-data`: the access model as Open Policy Agent reads it, keyed by name below one root.

use serde_json::{Map, Value, json};

use crate::access::View;

use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, json as whole, lines};

const NAME: &str = "opa-data";

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "Open Policy Agent: `data.json` with users, groups and roles by name",
    content_type: "application/json",
    options: OPTIONS,
    render: super::Render::One(render),
    check,
    example: whole::placeholder_options,
    ..super::PLAIN
};

/// The same for a bundle.
pub(super) const OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        name: "attributes",
        kind: OptionKind::Words(&["directory", "display_name", "email", "external_id", "user_name"]),
        default: "[]",
        description: "What goes along with each user besides id, active, groups and roles.",
    },
    OptionDoc {
        name: "root",
        kind: OptionKind::Shaped("words of letters, digits and _ joined by `.`", is_root),
        default: "\"scim\"",
        description: "Where in `data` it stands: `a.b` is `data.a.b`.",
    },
    OptionDoc {
        name: "sets",
        kind: OptionKind::Flag,
        default: "false",
        description: "Writes groups, roles and members as objects of `name: true`, which Rego looks up at once.",
    },
];

fn is_root(text: &str) -> bool {
    text.len() <= 64 && text.split('.').all(lines::is_identifier)
}

/// The words of the root.
pub(super) fn root(options: &Options) -> Vec<&str> {
    options.text("root", "scim").split('.').collect()
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let document = root(options).into_iter().rev().fold(model(view, options), |inner, word| {
        let mut outer = Map::new();
        outer.insert(word.to_owned(), inner);
        Value::Object(outer)
    });
    Ok(Rendered { bytes: lines::json_pretty(NAME, &document)?, left_out: Vec::new() })
}

/// What stands below the root.
pub(super) fn model(view: &View, options: &Options) -> Value {
    let sets = options.flag("sets");
    let attributes = options.texts("attributes").unwrap_or_default();
    let names = |list: &[String]| {
        if sets {
            list.iter().map(|name| (name.clone(), Value::Bool(true))).collect::<Map<_, _>>().into()
        } else {
            Value::from(list)
        }
    };
    let users = view.users.iter().map(|user| {
        let mut entry = Map::new();
        entry.insert("active".into(), user.active.into());
        let extra = [
            ("directory", Some(user.directory.as_str())),
            ("display_name", user.display_name.as_deref()),
            ("email", user.email.as_deref()),
            ("external_id", user.external_id.as_deref()),
            ("user_name", Some(user.user_name.as_str())),
        ];
        // An absent attribute is absent: `null` would satisfy a rule that negates.
        for (key, value) in extra.into_iter().filter(|(key, _)| attributes.contains(key)) {
            if let Some(value) = value {
                entry.insert(key.into(), value.into());
            }
        }
        entry.insert("groups".into(), names(&user.groups));
        entry.insert("id".into(), user.id.to_string().into());
        entry.insert("roles".into(), names(&user.roles));
        (user.name.clone(), Value::Object(entry))
    });
    let groups = view.groups.iter().map(|group| {
        let entry = json!({
            "all_members": names(&group.all_members),
            "groups": names(&group.groups),
            "id": group.id.to_string(),
            "members": names(&group.members),
        });
        (group.name.clone(), entry)
    });
    let roles = view.roles.iter().map(|role| (role.name.to_string(), names(&role.members)));
    json!({
        "groups": groups.collect::<Map<_, _>>(),
        "roles": roles.collect::<Map<_, _>>(),
        "users": users.collect::<Map<_, _>>(),
    })
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let mut inner = &lines::json(bytes)?;
    for word in root(options) {
        inner = only(inner, word)?;
    }
    check_model(inner)
}

fn only<'a>(value: &'a Value, word: &str) -> Result<&'a Value, String> {
    match value.as_object() {
        Some(map) if map.len() == 1 => map.get(word),
        _ => None,
    }
    .ok_or_else(|| format!("something other than `{word}` stands where only the root may"))
}

/// Whether what stands below the root is what [`model`] writes.
pub(super) fn check_model(value: &Value) -> Result<(), String> {
    for section in ["groups", "roles", "users"] {
        let entries = value.get(section).and_then(Value::as_object);
        let entries = entries.ok_or_else(|| format!("`{section}` is not an object"))?;
        let is_whole = |entry: &Value| match section {
            "roles" => entry.is_array() || entry.is_object(),
            "groups" => entry.get("all_members").is_some() && entry.get("id").is_some(),
            _ => entry.get("roles").is_some() && entry.get("active") == Some(&Value::Bool(true)),
        };
        if entries.values().any(|entry| !is_whole(entry)) {
            return Err(format!("an entry of `{section}` is not whole"));
        }
    }
    Ok(())
}
