//! What the bytes are: pure functions from the access model ([`View`]) to a file's content, in one table.
//!
//! To add a format: one file here and one line in [`FORMATS`]. It must not know paths, files, clocks or who asked.
//!
//! INVARIANTS: same view and options, same bytes. A name is escaped as the reader demands or left out and named in
//! [`Rendered::left_out`], never written so that it means something else. Every output ends in a newline.

mod account;
mod apache_groups;
mod border0_policy;
mod casbin;
mod cedar_entities;
mod csv;
mod csv_check;
mod escape;
mod extrausers;
mod filters;
mod fit;
mod haproxy_map;
mod json;
mod jsonl;
mod k8s_rbac;
mod lines;
mod nginx_map;
mod opa_bundle;
mod opa_data;
mod openfga_tuples;
mod options;
mod pam_access;
mod people;
mod pg_hba_list;
mod pg_ident;
mod pg_roles;
mod relations;
mod relative;
mod spicedb_relationships;
mod ssh_principals;
mod sudoers;
mod template;
#[cfg(test)]
mod testing;
mod unix;
mod userdb;
mod yaml;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod name_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use crate::access::{Fold, View};
use crate::model::{DirectoryId, ResourceId, RoleName, Subject, UnixIdWanted};

pub use fit::example_view;
pub use options::{OptionDoc, OptionKind, Options, REQUIRED};
pub use relative::{RelativeName, RelativeNameError};
pub use template::{Template, Validate};

/// Every format, sorted by name.
pub const FORMATS: &[Format] = &[
    apache_groups::FORMAT,
    border0_policy::FORMAT,
    casbin::FORMAT,
    cedar_entities::FORMAT,
    csv::FORMAT,
    extrausers::FORMAT,
    haproxy_map::FORMAT,
    json::FORMAT,
    jsonl::FORMAT,
    k8s_rbac::FORMAT,
    nginx_map::FORMAT,
    opa_bundle::FORMAT,
    opa_data::FORMAT,
    openfga_tuples::FORMAT,
    pam_access::FORMAT,
    pg_hba_list::FORMAT,
    pg_ident::FORMAT,
    pg_roles::FORMAT,
    spicedb_relationships::FORMAT,
    ssh_principals::FORMAT,
    sudoers::FORMAT,
    template::FORMAT,
    userdb::FORMAT,
    yaml::FORMAT,
];

/// One way to write the access model, as listed by `rosterd export --list`.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// Word used in `format = "…"`.
    pub name: &'static str,
    /// One line for the list.
    pub summary: &'static str,
    /// Media type when the file is published.
    pub content_type: &'static str,
    /// What may stand in the target's `options`, sorted by name.
    pub options: &'static [OptionDoc],
    /// The pure renderer; call it through [`Format::render`] or [`Format::render_tree`], which first take unfit names
    /// out.
    pub(crate) render: Render,
    /// Parses the bytes of one file as the reader would, before they are put in place.
    pub(crate) check: fn(&[u8], &Options) -> Result<(), String>,
    /// Options under which the example is rendered.
    pub(crate) example: fn() -> Options,
    /// How the reader compares names, where it does not go by their bytes: such users collide.
    pub(crate) fold: fn(&Options) -> Option<Fold>,
    /// Whether a name alone gives its bearer something at the reader, as an account's does (DESIGN §6.3).
    pub(crate) has_local_power: bool,
    /// Who needs a uid or gid for this view, from which range.
    pub(crate) unix_ids: fn(&View, &Options) -> Vec<UnixIdWanted>,
    /// For readers to which a file only adds: each thing they hold once they have loaded it, in a text of its own, so
    /// that what is no longer there can be named in [`Options::deletes`]. `None`: the file is all the reader knows.
    pub(crate) relations: fn(&View, &Options) -> Option<BTreeSet<String>>,
}

/// What most formats have: readers that compare bytes and read the whole file anew.
const PLAIN: Format = Format {
    name: "",
    summary: "",
    content_type: "",
    options: &[],
    render: Render::One(|_, _| Ok(Rendered { bytes: Vec::new(), left_out: Vec::new() })),
    check: |_, _| Ok(()),
    example: json::placeholder_options,
    fold: |_| None,
    has_local_power: false,
    unix_ids: |_, _| Vec::new(),
    relations: |_, _| None,
};

/// How many files a format writes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Render {
    /// One.
    One(fn(&View, &Options) -> Result<Rendered, RenderError>),
    /// Several, under names of its own: only for `type = "tree"`.
    Tree(fn(&View, &Options) -> Result<RenderedTree, RenderError>),
}

/// What a rendering of several files gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RenderedTree {
    /// The whole files, by name.
    pub files: BTreeMap<RelativeName, Vec<u8>>,
    /// Symlinks beside them, and the file each points to.
    pub links: BTreeMap<RelativeName, RelativeName>,
    /// Who or what could not be carried, and why; sorted, each once.
    pub left_out: Vec<LeftOut>,
}

/// What a rendering gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rendered {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Who or what could not be carried, and why; sorted, each once.
    pub left_out: Vec<LeftOut>,
}

/// One user, group or role that a format cannot carry. With `on_illegal = "error"` any of these fails the target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Who.
    pub what: Carried,
    /// The name or attribute at fault, for status; never logged at info level.
    pub text: String,
    /// The rule it breaks.
    pub why: String,
}

/// What can be left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carried {
    /// A user.
    User(Subject),
    /// A group.
    Group(DirectoryId, ResourceId),
    /// A role, by its name in the config.
    Role(RoleName),
}

/// Why a whole rendering failed; the target keeps its file (DESIGN §6.4 then takes the revoked out of it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderError {
    /// The format or template by name.
    pub name: String,
    /// Line in the template, from 1.
    pub line: Option<usize>,
    /// What went wrong.
    pub what: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// The format of that name.
pub fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// Whether a name is that of an account, a group or a keyword of the operating system, in any letter case.
pub fn is_system_name(name: &str) -> bool {
    account::not_taken(name).is_err()
}

impl Format {
    /// Renders the whole file. Names that no format may carry (control characters, bidi controls, U+2028/2029) are
    /// taken out first.
    ///
    /// # Errors
    /// Only what concerns the whole file, such as a fault of the template; one bad name costs one subject.
    pub fn render(&self, view: &View, options: &Options) -> Result<Rendered, RenderError> {
        let (view, mut left_out) = fit::without_unfit_names(view);
        let Render::One(render) = self.render else {
            return Err(self.wrong_shape("it writes several files", "use it with `type = \"tree\"`"));
        };
        let mut rendered = render(&view, options)?;
        if self.is_text() && rendered.bytes.last().is_some_and(|&last| last != b'\n') {
            rendered.bytes.push(b'\n');
        }
        rendered.left_out.append(&mut left_out);
        rendered.left_out.sort();
        rendered.left_out.dedup();
        Ok(rendered)
    }

    /// How the reader compares names; `None`: by their bytes.
    pub fn fold(&self, options: &Options) -> Option<Fold> {
        (self.fold)(options)
    }

    /// Whether a name alone gives its bearer something at the reader.
    pub fn has_local_power(&self) -> bool {
        self.has_local_power
    }

    /// Who needs a uid or gid before `view` can be rendered whole; the numbers come back in [`Options::ids`].
    pub fn unix_ids(&self, view: &View, options: &Options) -> Vec<UnixIdWanted> {
        let (view, _) = fit::without_unfit_names(view);
        (self.unix_ids)(&view, options)
    }

    /// What a reader to which the file only adds holds once it has loaded it; `None` for every other.
    pub fn relations(&self, view: &View, options: &Options) -> Option<BTreeSet<String>> {
        let (view, _) = fit::without_unfit_names(view);
        (self.relations)(&view, options)
    }

    /// Renders every file of a format that names its files itself; otherwise as [`Format::render`].
    ///
    /// # Errors
    /// As [`Format::render`].
    pub fn render_tree(&self, view: &View, options: &Options) -> Result<RenderedTree, RenderError> {
        let (view, mut left_out) = fit::without_unfit_names(view);
        let Render::Tree(render) = self.render else {
            return Err(self.wrong_shape("it writes one file", "set `each` and `{name}` in `path`"));
        };
        let mut rendered = render(&view, options)?;
        rendered.left_out.append(&mut left_out);
        rendered.left_out.sort();
        rendered.left_out.dedup();
        Ok(rendered)
    }

    /// Whether it writes several files under names of its own.
    pub fn is_tree(&self) -> bool {
        matches!(self.render, Render::Tree(_))
    }

    fn wrong_shape(&self, what: &str, hint: &'static str) -> RenderError {
        RenderError { name: self.name.to_owned(), line: None, what: what.to_owned(), hint }
    }

    /// The built-in parse of a staged file: what the reader would stumble over, with its place.
    pub fn check(&self, bytes: &[u8], options: &Options) -> Result<(), String> {
        (self.check)(bytes, options)
    }

    /// Whether the bytes are text, which always ends in a newline.
    pub fn is_text(&self) -> bool {
        self.content_type != opa_bundle::CONTENT_TYPE
    }

    /// This format's view of the data set of the documentation, for `export --list`; an archive as its files.
    pub fn example(&self) -> String {
        let (view, options) = self.example_input();
        if self.is_tree() {
            return self.render_tree(&view, &options).unwrap_or_default().listing();
        }
        let rendered = self.render(&view, &options).unwrap_or_default();
        if self.is_text() {
            String::from_utf8_lossy(&rendered.bytes).into_owned()
        } else {
            opa_bundle::listing(&rendered.bytes).unwrap_or_default()
        }
    }

    /// What the example is rendered from. A format that takes account names only has the view as with
    /// `subject = "userName.local"`.
    fn example_input(&self) -> (View, Options) {
        let (view, options) = (example_view(), (self.example)());
        let options = self.with_made_up_ids(&view, options);
        let is_whole = if self.is_tree() {
            self.render_tree(&view, &options).is_ok_and(|done| done.left_out.is_empty())
        } else {
            self.render(&view, &options).is_ok_and(|done| done.left_out.is_empty())
        };
        if is_whole {
            return (view, options);
        }
        let view = fit::with_local_names(&view);
        let options = self.with_made_up_ids(&view, options);
        (view, options)
    }

    /// Why a person cannot be called `name` with these options, found by trying: somebody of that name who holds every
    /// role that the options speak of.
    pub fn refuses(&self, name: &str, options: &Options) -> Option<String> {
        if let Some(why) = fit::unfit(name) {
            return Some(why.to_owned());
        }
        let view = fit::only_one(name, &options.roles_named());
        let options = self.with_made_up_ids(&view, options.clone());
        let left_out = match self.render {
            Render::One(render) => render(&view, &options).ok()?.left_out,
            Render::Tree(render) => render(&view, &options).ok()?.left_out,
        };
        left_out.into_iter().find(|one| matches!(one.what, Carried::User(_))).map(|one| one.why)
    }

    /// The option in which the target says what roles are called at the reader, if it has one.
    pub fn role_names(&self) -> Option<&'static str> {
        // k8s-rbac alone has a map that is not of names alone.
        let is_names = |option: &&OptionDoc| {
            matches!(option.kind, OptionKind::Map(..)) && matches!(option.name, "names" | "map")
        };
        self.options.iter().find(is_names).map(|option| option.name)
    }

    /// Numbers from the start of each range, for what is only shown.
    fn with_made_up_ids(&self, view: &View, mut options: Options) -> Options {
        let mut given = BTreeMap::new();
        for wanted in self.unix_ids(view, &options) {
            let next = given.entry(*wanted.range.start()).or_insert(*wanted.range.start());
            options.ids.insert(wanted.owner, *next);
            *next = next.saturating_add(1);
        }
        options
    }

    /// What is wrong with a target's `options`, each as one message; empty if nothing.
    pub fn check_options(&self, values: &Map<String, Value>) -> Vec<String> {
        let missing = |option: &&OptionDoc| option.default == REQUIRED && !values.contains_key(option.name);
        let needs = |option: &OptionDoc| {
            format!("format `{}` needs the option `{}`: {}", self.name, option.name, option.description)
        };
        let wrong = values.iter().filter_map(|(key, value)| self.check_value(key, value));
        wrong.chain(self.options.iter().filter(missing).map(needs)).collect()
    }

    /// What is wrong with one option as it stands.
    pub fn check_option(&self, key: &str, options: &Options) -> Option<String> {
        self.check_value(key, options.values.get(key)?)
    }

    fn check_value(&self, key: &str, value: &Value) -> Option<String> {
        let Some(option) = self.options.iter().find(|option| option.name == key) else {
            let known: Vec<&str> = self.options.iter().map(|option| option.name).collect();
            let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
            return Some(format!("format `{}` has no option `{key}`; known: {known}", self.name));
        };
        let wanted = option.kind.complaint(value)?;
        Some(format!("option `{key}` of format `{}` must be {wanted}", self.name))
    }
}

impl RenderedTree {
    /// Every file by name with its content, and where each link points: for people and tests.
    pub fn listing(&self) -> String {
        let files = self.files.iter().map(|(name, bytes)| {
            let text = String::from_utf8_lossy(bytes);
            (name, format!("== {name}\n{text}"))
        });
        let links = self.links.iter().map(|(name, file)| (name, format!("== {name} -> {file}\n")));
        let all: BTreeMap<&RelativeName, String> = files.chain(links).collect();
        all.into_values().collect()
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(subject) => write!(f, "user {subject}"),
            Self::Group(directory, id) => write!(f, "group {directory}/{id}"),
            Self::Role(role) => write!(f, "role {role}"),
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is left out: {}", self.what, self.why)
    }
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot render `{}`", self.name)?;
        if let Some(line) = self.line {
            write!(f, " at line {line}")?;
        }
        write!(f, ": {}", self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

impl std::error::Error for RenderError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_example_passes_its_own_check() {
        assert!(FORMATS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for format in FORMATS {
            let example = format.example();
            assert!(example.ends_with('\n') && example.len() > 10, "{}", format.name);
            let (view, options) = format.example_input();
            let (files, left_out) = testing::files(format, &view, &options);
            assert_eq!(left_out, [], "{}", format.name);
            for bytes in &files {
                format.check(bytes, &options).unwrap();
            }
            assert_eq!(format.check_options(&options.values), Vec::<String>::new(), "{}", format.name);
            assert!(format.options.windows(2).all(|pair| pair[0].name < pair[1].name), "{}", format.name);
        }
        assert!(find("json").is_some() && find("jsn").is_none());
    }

    #[test]
    fn wrong_options_are_named_with_what_is_allowed() {
        let json = find("json").unwrap();
        let values = serde_json::json!({"compact": "yes", "colour": true});
        let complaints = json.check_options(values.as_object().unwrap());
        assert_eq!(
            complaints,
            [
                "option `compact` of format `json` must be true or false",
                "format `json` has no option `colour`; known: compact"
            ]
        );
    }
}
