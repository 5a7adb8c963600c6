//! `cedar-entities`: users with their groups and roles as Cedar entities. The child names its parents; nested groups
//! are flattened, because a cycle makes Cedar refuse the whole file.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::access::{View, ViewUser};

use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, json as whole, lines};

const NAME: &str = "cedar-entities";

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "Cedar: users, groups and roles as entities; the schema is docs/rosterd.cedarschema",
    content_type: "application/json",
    options: &[
        OptionDoc {
            name: "attributes",
            kind: OptionKind::Words(&["displayName", "email", "externalId"]),
            default: "[]",
            description: "What goes along with each user besides active and userName.",
        },
        type_option("group_type", "\"Group\"", "Entity type of groups."),
        OptionDoc {
            name: "namespace",
            kind: OptionKind::Shaped("words of letters, digits and _ joined by `::`", is_namespace),
            default: "\"\"",
            description: "Namespace of the entity types: `Acme` gives `Acme::User`.",
        },
        type_option("role_type", "\"Role\"", "Entity type of roles."),
        type_option("user_type", "\"User\"", "Entity type of users."),
    ],
    render: super::Render::One(render),
    check,
    example: whole::placeholder_options,
    ..super::PLAIN
};

const fn type_option(name: &'static str, default: &'static str, description: &'static str) -> OptionDoc {
    let kind = OptionKind::Shaped("a word of letters, digits and _", lines::is_identifier);
    OptionDoc { name, kind, default, description }
}

fn is_namespace(text: &str) -> bool {
    text.is_empty() || text.split("::").all(lines::is_identifier)
}

/// The three entity types, with their namespace.
struct Types {
    user: String,
    group: String,
    role: String,
}

impl Types {
    fn of(options: &Options) -> Result<Self, RenderError> {
        let namespace = options.text("namespace", "");
        let full = |name: &str, default: &str| match (namespace, options.text(name, default)) {
            ("", word) => word.to_owned(),
            (namespace, word) => format!("{namespace}::{word}"),
        };
        let types = Self {
            user: full("user_type", "User"),
            group: full("group_type", "Group"),
            role: full("role_type", "Role"),
        };
        // A user must never meet a group or a role of the same name.
        if types.user == types.group || types.user == types.role || types.group == types.role {
            return Err(RenderError {
                name: NAME.into(),
                line: None,
                what: "two kinds have one entity type".into(),
                hint: "set user_type, group_type and role_type to different words",
            });
        }
        Ok(types)
    }
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let types = Types::of(options)?;
    let attributes = options.texts("attributes").unwrap_or_default();
    let uid = |of: &str, id: &str| json!({ "type": of, "id": id });
    let users = view.users.iter().map(|user| {
        let groups = user.groups.iter().map(|group| uid(&types.group, group));
        let roles = user.roles.iter().map(|role| uid(&types.role, role));
        json!({
            "uid": uid(&types.user, &user.name),
            "attrs": user_attributes(user, &attributes),
            "parents": groups.chain(roles).collect::<Vec<_>>(),
        })
    });
    let groups = view.groups.iter().map(|group| {
        json!({ "uid": uid(&types.group, &group.name), "attrs": { "displayName": group.name }, "parents": [] })
    });
    let roles = view
        .roles
        .iter()
        .map(|role| json!({ "uid": uid(&types.role, role.name.as_str()), "attrs": {}, "parents": [] }));
    let entities: Vec<Value> = users.chain(groups).chain(roles).collect();
    Ok(Rendered { bytes: lines::json_pretty(NAME, &entities)?, left_out: Vec::new() })
}

/// Plain texts only: objects with `__entity` or `__extn` would be escapes to Cedar.
fn user_attributes(user: &ViewUser, wanted: &[&str]) -> Map<String, Value> {
    let mut attributes = Map::new();
    attributes.insert("active".into(), user.active.into());
    let optional =
        [("displayName", &user.display_name), ("email", &user.email), ("externalId", &user.external_id)];
    for (key, value) in optional.into_iter().filter(|(key, _)| wanted.contains(key)) {
        if let Some(value) = value {
            attributes.insert(key.into(), value.as_str().into());
        }
    }
    attributes.insert("userName".into(), user.user_name.as_str().into());
    attributes
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let types = Types::of(options).map_err(|error| error.to_string())?;
    let document = lines::json(bytes)?;
    let entities = document.as_array().ok_or("not a list of entities")?;
    let key = |uid: &Value| {
        let text = |name: &str| uid.get(name).and_then(Value::as_str).map(str::to_owned);
        Some((text("type")?, text("id")?))
    };
    let mut known = BTreeSet::new();
    for entity in entities {
        let uid = entity.get("uid").and_then(key).ok_or("an entity without a whole uid")?;
        if entity.get("attrs").and_then(Value::as_object).is_none() {
            return Err(format!("entity `{}` has no attrs", uid.1));
        }
        if !known.insert(uid.clone()) {
            return Err(format!("entity `{}` stands twice", uid.1));
        }
    }
    for entity in entities {
        let parents = entity.get("parents").and_then(Value::as_array).ok_or("an entity without parents")?;
        let is_user = entity.pointer("/uid/type").and_then(Value::as_str) == Some(&types.user);
        if !is_user && !parents.is_empty() {
            return Err("a group or role has parents, which could make a cycle".into());
        }
        if parents.iter().any(|parent| key(parent).is_none_or(|parent| !known.contains(&parent))) {
            return Err("a parent is not in the file".into());
        }
    }
    Ok(())
}
