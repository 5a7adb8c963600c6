//! What a file target is made of: one file, a tree of them or a set, and how each is rendered.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use super::problem::Kind;
use super::reader::{Table, Value, what};
use super::secret::Files;
use super::target::Type;
use crate::downstream::format::{self, Format, Options, RelativeName, Template, Validate};
use crate::model::TargetName;
use crate::reconcile::{Each, NameKey, NamePattern, Part, Shape, Tree};
use crate::telemetry::escape;

/// Where a target's files are, as `path` and `each` say.
#[derive(Debug)]
pub(super) struct Place {
    /// The folder of a tree as it stands in the config; `None` where `path` is the destination itself.
    pub(super) folder: Option<String>,
    /// How many files.
    pub(super) shape: Shape,
}

impl Place {
    fn each(&self) -> Option<Each> {
        match &self.shape {
            Shape::Tree(Tree::Each { each, .. }) => Some(*each),
            _ => None,
        }
    }

    fn is_by_role(&self) -> bool {
        self.each() == Some(Each::Role)
    }
}

/// Reads `path` and `each` together.
pub(super) fn place(section: &Table<'_>, path: &Value<'_>, kind: Type) -> Option<Place> {
    let words = [("subject", Each::Subject), ("group", Each::Group), ("role", Each::Role)];
    let each = section.get("each");
    if let Some(each) = each.as_ref().filter(|_| kind != Type::Tree) {
        each.fail_key(what(format!("`{}` belongs to a target of `type = \"tree\"`", each.path())));
    }
    if let Some(parts) = section.get("file").filter(|_| kind != Type::Set) {
        parts.fail_key(what(format!("`{}` belongs to a target of `type = \"set\"`", parts.path())));
    }
    if kind != Type::Tree {
        return Some(Place { folder: None, shape: Shape::File });
    }
    match each {
        Some(value) => by_each(path, value.word(&words)?),
        // A format that names its files itself: `path` is their folder.
        None => Some(Place { folder: None, shape: Shape::Tree(Tree::Own) }),
    }
}

/// `path` as folder and name pattern.
fn by_each(path: &Value<'_>, each: Each) -> Option<Place> {
    let text = path.text()?;
    let wrong =
        |why: &str| {
            path.fail(what(format!("`{}` = `{}` {why}", path.path(), escape(text))).help(
                "write one `{name}` or `{id}` in its last part, such as `/srv/rosterd/roles/{name}.json`",
            ));
            None
        };
    let Some((folder, last)) = text.rsplit_once('/') else { return wrong("names no folder") };
    let climbs = folder.split('/').any(|part| matches!(part, ".." | "."));
    if folder.is_empty() || climbs || folder.contains(['{', '}', '\0']) {
        return wrong("must name a folder without `.`, `..` and placeholders");
    }
    let keys = [("{name}", NameKey::Name), ("{id}", NameKey::Id)];
    let Some((before, key, after)) = keys
        .iter()
        .find_map(|(word, key)| last.split_once(word).map(|(before, after)| (before, *key, after)))
    else {
        return wrong("gives every file the same name");
    };
    if before.contains(['{', '}']) || after.contains(['{', '}']) {
        return wrong("has more than one placeholder, or one that is not known");
    }
    if key == NameKey::Id && each == Each::Role {
        return wrong("asks for an id, and a role has none");
    }
    if RelativeName::parse(&format!("{before}x{after}")).is_err() {
        return wrong("makes names that begin with `.` or `-`");
    }
    let name = NamePattern { before: before.to_owned(), key, after: after.to_owned() };
    Some(Place { folder: Some(folder.to_owned()), shape: Shape::Tree(Tree::Each { each, name }) })
}

/// Formats whose reader takes the file's name for an account: it comes from the operator alone.
const NAMED_BY_OPERATOR: [&str; 1] = ["ssh-principals"];

/// Whether format and place go together.
fn fits(section: &Table<'_>, format: &Format, place: &Place) {
    match (&place.shape, place.each()) {
        (Shape::Tree(Tree::Own), _) if !format.is_tree() => section.fail(
            what(format!(
                "`{}`: format `{}` writes one file, so a tree needs `each`",
                section.path(),
                format.name
            ))
            .help("set `each = \"role\"` and `path = \"/srv/rosterd/roles/{name}.json\"`"),
        ),
        (Shape::File | Shape::Tree(Tree::Each { .. }), _) if format.is_tree() => section.fail(
            what(format!("`{}`: format `{}` names its files itself", section.path(), format.name))
                .help("use `type = \"tree\"` without `each`, `path` being the folder"),
        ),
        (_, Some(Each::Subject | Each::Group)) if NAMED_BY_OPERATOR.contains(&format.name) => section.fail(
            what(format!(
                "`{}`: a file of `{}` is an account by its name, which no identity provider may choose",
                section.path(),
                format.name
            ))
            .help("use `each = \"role\"`: role names are your own"),
        ),
        _ => {}
    }
}

/// One file of a set as rendered.
type Content = (&'static Format, Options);

/// Reads the `[[target.file]]` of a set; the content of the first comes along.
pub(super) fn parts(section: &Table<'_>, files: &Files, target: &TargetName) -> Option<(Vec<Part>, Content)> {
    for value in ["format", "template", "validate", "options"].iter().filter_map(|key| section.get(key)) {
        value.fail_key(what(format!("`{}` of a set stands in each `[[target.file]]`", value.path())));
    }
    let tables = section.tables("file");
    if tables.is_empty() {
        section.fail(
            what(format!("`{}` is a set without files", section.path()))
                .help("add `[[target.file]]` with `name` and `format` for each"),
        );
    }
    let mut parts: Vec<Part> = Vec::new();
    for table in tables {
        let name = table.require("name", "what the file is called in the set, such as `users.json`");
        let content = content(&table, files, Options::new(target.clone()), None);
        table.finish();
        let Some(value) = name else { continue };
        let Some(name) = value.parsed(RelativeName::parse) else { continue };
        let overlaps = |one: &Part| {
            let beneath = |a: &RelativeName, b: &RelativeName| {
                b.as_str()
                    .strip_prefix(a.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            beneath(&one.name, &name) || beneath(&name, &one.name)
        };
        if parts.iter().any(overlaps) {
            value.fail(what(format!("`{}` = `{name}` is used twice in this set", value.path())));
        }
        if let Some((format, options)) = content {
            if format.is_tree() {
                value.fail(what(format!(
                    "format `{}` writes several files; a set takes single ones",
                    format.name
                )));
            }
            parts.push(Part { name, format, options });
        }
    }
    let first = parts.first().map(|part| (part.format, part.options.clone()))?;
    Some((parts, first))
}

/// The format that templates are rendered by.
const TEMPLATE: &str = "template";

/// What one file shows: `format` or `template`, with `options`.
pub(super) fn content(
    section: &Table<'_>,
    files: &Files,
    mut options: Options,
    place: Option<&Place>,
) -> Option<(&'static Format, Options)> {
    let validate = section.get("validate");
    let values = section.get("options");
    let format = match (section.get("format"), section.get("template")) {
        (Some(_), Some(template)) => {
            template.fail_key(
                what(format!("`{}` has both `format` and `template`", section.path()))
                    .help("keep one of them"),
            );
            None
        }
        (Some(format), None) => named_format(&format),
        (None, Some(template)) => {
            options.template = read_template(&template, validate.as_ref(), files);
            options.template.as_ref().and_then(|_| format::find(TEMPLATE))
        }
        (None, None) => {
            section.fail(
                what(format!("`{}` has neither `format` nor `template`", section.path()))
                    .help("set `format = \"json\"` or `template = \"….j2\"`"),
            );
            None
        }
    };
    if let (Some(validate), None) = (&validate, section.get("template")) {
        validate
            .fail_key(what(format!("`{}` belongs to a `template`; a format checks itself", validate.path())));
    }
    let format = format?;
    if let Some(place) = place {
        fits(section, format, place);
    }
    // In a tree of roles each file lists its own.
    let own_role =
        place.is_some_and(Place::is_by_role).then(|| ("roles".to_owned(), Json::from(vec!["role"])));
    let complaints = |values: &serde_json::Map<String, Json>| {
        let takes_roles = format.options.iter().any(|option| option.name == "roles");
        let mut values = values.clone();
        values.extend(own_role.clone().filter(|_| takes_roles));
        format.check_options(&values)
    };
    if let Some(value) = values {
        options.values = option_values(&value)?;
        for complaint in complaints(&options.values) {
            value.fail(what(complaint));
        }
    } else {
        for complaint in complaints(&options.values) {
            section.fail(what(format!("`{}`: {complaint}", section.path())));
        }
    }
    if let (Some(value), Some(template)) = (section.get("template"), &options.template) {
        try_template(&value, template);
    }
    Some((format, options))
}

/// Renders made-up people. A name that is missing there may exist with the operator's own roles and groups, so that
/// is a warning; whatever else stops the template would stop it always.
fn try_template(value: &Value<'_>, template: &Template) {
    let Err(error) = template.try_example() else { return };
    let text = what(format!("`{}`, tried on made-up people: {error}", value.path()));
    if error.what.contains("undefined") { value.warn(text) } else { value.fail(text) }
}

fn named_format(value: &Value<'_>) -> Option<&'static Format> {
    let words: Vec<_> = format::FORMATS
        .iter()
        .filter(|format| format.name != TEMPLATE)
        .map(|format| (format.name, format))
        .collect();
    value.word(&words)
}

/// A format's options as the renderer takes them: texts, numbers, flags, lists of texts, and tables of these.
pub(super) fn option_values(value: &Value<'_>) -> Option<serde_json::Map<String, Json>> {
    let table = value.table()?;
    table.entries().map(|(name, value)| Some((name.to_owned(), option_value(&value)?))).collect()
}

fn option_value(value: &Value<'_>) -> Option<Json> {
    if value.is_text() {
        value.text().map(Json::from)
    } else if value.is_integer() {
        value.integer(0..=u64::from(u32::MAX)).map(Json::from)
    } else if value.is_list() && value.list_or_one().iter().all(Value::is_integer) {
        let numbers = value.list()?;
        numbers.iter().map(|number| number.integer(0..=u64::from(u32::MAX)).map(Json::from)).collect()
    } else if value.is_list() {
        value.texts().map(Json::from)
    } else if value.is_table() {
        option_values(value).map(Json::from)
    } else {
        value.bool().map(Json::from)
    }
}

/// Longest template that is read.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

fn read_template(value: &Value<'_>, validate: Option<&Value<'_>>, files: &Files) -> Option<Arc<Template>> {
    let words = [
        ("lines", Validate::Lines),
        ("json", Validate::Json),
        ("toml", Validate::Toml),
        ("csv", Validate::Csv),
    ];
    let validate = validate.map_or(Some(Validate::default()), |value| value.word(&words));
    let name = value.text()?;
    let path = files.path(name);
    let text = template_text(value, &path)?;
    files.templates.borrow_mut().insert(name.to_owned(), text.clone());
    match Template::compile(name, text, validate?) {
        Ok(template) => Some(Arc::new(template)),
        Err(error) => {
            value.fail(what(format!("`{}`: {error}", value.path())));
            None
        }
    }
}

pub(super) fn template_text(value: &Value<'_>, path: &Path) -> Option<String> {
    let is_long = std::fs::metadata(path).is_ok_and(|facts| facts.len() > TEMPLATE_BYTES_MAX);
    if is_long {
        value.fail(what(format!("the template `{}` is longer than 1 MiB", path.display())));
        return None;
    }
    std::fs::read_to_string(path)
        .map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => Kind::MissingFile,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Invalid,
            };
            value.fail_as(
                kind,
                what(format!("cannot read the template `{}`: {error}", path.display()))
                    .help("a relative path counts from the config file"),
            );
        })
        .ok()
}
