//! `template`: the operator's own MiniJinja template over the documented model.
//!
//! A template sees `users`, `groups`, `roles` (as in the `json` format), `memberships` (rows of `user` and `group`),
//! `target` and `revision` (a hash of the model, equal for equal access); every list is sorted. It reaches no file,
//! no clock and no environment; what it names must exist; its steps and its output are bounded. Nothing is escaped by
//! itself: each filter writes one notation or refuses, and then that user or group is left out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::access::{View, ViewUser};

use super::escape::Refused;
use super::filters::{self, Refusals};
use super::fit::{self, Rules, unfit_char};
use super::{Format, LeftOut, Options, RenderError, Rendered, json};

pub(super) const FORMAT: Format = Format {
    name: "template",
    summary: "your own MiniJinja template over the access model; set `template = \"file.j2\"`",
    content_type: "text/plain; charset=utf-8",
    options: &[],
    render: super::Render::One(render),
    check,
    example,
    ..super::PLAIN
};

/// Most bytes that a template may write.
const OUTPUT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Steps that every template has, and those it has for each entry of the model on top.
const STEPS_BASE: u64 = 1_000_000;
const STEPS_PER_ENTRY: u64 = 2_000;

/// Most rounds of rendering without what was refused in the round before.
const ROUNDS_MAX: usize = 8;

/// A compiled template. Cheap to keep: rendering starts from its text each time.
#[derive(Debug)]
pub struct Template {
    name: String,
    source: String,
    validate: Validate,
}

/// What a template's output is parsed as before it is put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validate {
    /// Text: UTF-8 lines without control characters. Always checked.
    #[default]
    Lines,
    /// One JSON document.
    Json,
    /// One TOML document.
    Toml,
    /// RFC 4180 rows, all with as many fields as the first.
    Csv,
}

impl Template {
    /// Compiles `source`; `name` is what messages call it, usually the file's name.
    ///
    /// # Errors
    /// A fault of the template's syntax, with its line.
    pub fn compile(name: &str, source: String, validate: Validate) -> Result<Self, RenderError> {
        let template = Self { name: name.to_owned(), source, validate };
        template.environment(&Refusals::default(), 0)?;
        Ok(template)
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Renders the documentation's data set, so that `check` finds what only shows when a template runs: an unknown
    /// filter, a name that does not exist, an endless loop.
    ///
    /// # Errors
    /// Whatever stops it, with its line.
    pub fn try_example(&self) -> Result<(), RenderError> {
        let mut view = fit::example_view();
        for user in &mut view.users {
            // Nobody has any, but a target may name some.
            user.attributes = Some(std::collections::BTreeMap::new());
        }
        self.render(&view, &json::placeholder_options()).map(|_| ())
    }

    fn environment(&self, refusals: &Refusals, steps: u64) -> Result<Environment<'_>, RenderError> {
        let failed = |error: Error| self.error(&error);
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(steps));
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build().map_err(failed)?;
        environment.set_syntax(syntax);
        filters::add(&mut environment, refusals);
        environment.add_template(&self.name, &self.source).map_err(failed)?;
        Ok(environment)
    }

    /// Renders once, then again without what the filters refused, until they refuse nothing.
    fn render(&self, view: &View, options: &Options) -> Result<Rendered, RenderError> {
        let mut view = Cow::Borrowed(view);
        let mut left_out = Vec::new();
        let key = |text: &str| text.chars().find_map(unfit_char).map(str::to_owned);
        leave_out(&mut view, &mut left_out, &Rules { name: &|_| None, key: &key, label: &|_| None });
        let refusals = Refusals::default();
        for _ in 0..ROUNDS_MAX {
            let bytes = self.once(&view, options, &refusals)?;
            let refused = refusals.take();
            if refused.is_empty() {
                return Ok(Rendered { bytes, left_out });
            }
            let before = left_out.len();
            let rule = |text: &str| refused.get(text).map(|&why| why.to_owned());
            leave_out(&mut view, &mut left_out, &Rules { name: &rule, key: &rule, label: &rule });
            if left_out.len() == before {
                return Err(self.nobodys(&refused));
            }
        }
        Err(self.failure(None, "new texts are refused in every round".into(), "use one filter per text"))
    }

    fn once(&self, view: &View, options: &Options, refusals: &Refusals) -> Result<Vec<u8>, RenderError> {
        let environment = self.environment(refusals, steps(view))?;
        let template = environment.get_template(&self.name).map_err(|error| self.error(&error))?;
        let revision = if template.undeclared_variables(false).contains("revision") {
            revision(view)?
        } else {
            String::new()
        };
        let shown: Vec<ViewUser> = view.users.iter().map(without_controls).collect();
        let model = context! {
            users => Value::from(Serde(&shown)),
            groups => Value::from(Serde(&view.groups)),
            roles => Value::from(Serde(&view.roles)),
            memberships => Value::from(Serde(memberships(view))),
            target => options.target.as_str(),
            revision => revision,
        };
        let mut output = Bounded { bytes: Vec::new(), bytes_max: OUTPUT_BYTES_MAX };
        template.render_captured_to(model, &mut output).map_err(|error| self.error(&error))?;
        Ok(output.bytes)
    }

    /// Renders once over any model, for a text that is no file: a webhook's body. What a filter refuses fails it.
    ///
    /// # Errors
    /// Whatever stops it, with its line.
    pub fn fill(&self, model: &serde_json::Value, bytes_max: usize) -> Result<Vec<u8>, RenderError> {
        let refusals = Refusals::default();
        let environment = self.environment(&refusals, STEPS_BASE)?;
        let template = environment.get_template(&self.name).map_err(|error| self.error(&error))?;
        let mut output = Bounded { bytes: Vec::new(), bytes_max };
        template
            .render_captured_to(Value::from(Serde(model)), &mut output)
            .map_err(|error| self.error(&error))?;
        match refusals.take().values().next() {
            None => Ok(output.bytes),
            Some(why) => {
                Err(self.failure(None, format!("a filter refused a text: {why}"), "use `json` for texts"))
            }
        }
    }

    fn failure(&self, line: Option<usize>, what: String, hint: &'static str) -> RenderError {
        RenderError { name: self.name.clone(), line, what, hint }
    }

    /// A filter refused a text that is nobody's name or attribute, so nobody can be left out for it.
    fn nobodys(&self, refused: &BTreeMap<String, Refused>) -> RenderError {
        let why = refused.values().next().copied().unwrap_or_default();
        let what = format!("a filter refused a text that the template put together: {why}");
        self.failure(None, what, "filter each name before joining, e.g. `names | map(\"word\") | join(\",\")` or `names | joined(\",\")`")
    }

    fn error(&self, error: &Error) -> RenderError {
        let what = match (error.kind(), error.detail()) {
            (ErrorKind::UnknownFilter, Some(detail)) => match unknown_name(detail).and_then(filters::nearest)
            {
                Some(near) => format!("{detail}; did you mean `{near}`?"),
                None => detail.to_owned(),
            },
            (ErrorKind::OutOfFuel, _) => "it takes more steps than the size of the model allows".to_owned(),
            (_, Some(detail)) => detail.to_owned(),
            (kind, None) => kind.to_string(),
        };
        // A filter that is given something undefined speaks of an invalid operation.
        let kind = if what.contains("undefined") { ErrorKind::UndefinedError } else { error.kind() };
        self.failure(error.line(), what, hint(kind))
    }
}

/// The word in `filter x is unknown`.
fn unknown_name(detail: &str) -> Option<&str> {
    detail.strip_prefix("filter ")?.split(' ').next()
}

fn hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::UndefinedError => {
            "a template sees users, groups, roles, memberships, target and revision; `rosterd export --list` shows them"
        }
        ErrorKind::OutOfFuel => "look for a loop within a loop over all users",
        ErrorKind::WriteFailure => "a template may write 256 MiB at most",
        ErrorKind::TemplateNotFound | ErrorKind::BadInclude => {
            "templates cannot include other files; write it out in one"
        }
        _ => "",
    }
}

fn leave_out(view: &mut Cow<'_, View>, left_out: &mut Vec<LeftOut>, rules: &Rules<'_>) {
    let (less, mut gone) = fit::without(view, rules);
    if let Cow::Owned(less) = less {
        *view = Cow::Owned(less);
    }
    left_out.append(&mut gone);
}

/// A display name is for people's eyes and names nobody, so what is unfit in it is replaced instead of refused.
fn without_controls(user: &ViewUser) -> ViewUser {
    let clean =
        |text: &String| text.chars().map(|c| if unfit_char(c).is_some() { '\u{fffd}' } else { c }).collect();
    ViewUser { display_name: user.display_name.as_ref().map(clean), ..user.clone() }
}

/// One row of `memberships`.
#[derive(Debug, Serialize)]
struct Membership<'a> {
    user: &'a str,
    group: &'a str,
}

fn memberships(view: &View) -> Vec<Membership<'_>> {
    let rows = |user: &'_ ViewUser| user.groups.len();
    let mut all = Vec::with_capacity(view.users.iter().map(rows).sum());
    for user in &view.users {
        all.extend(user.groups.iter().map(|group| Membership { user: &user.name, group }));
    }
    all
}

fn steps(view: &View) -> u64 {
    let entries =
        view.users.iter().map(|user| user.groups.len().saturating_add(user.roles.len())).sum::<usize>();
    let entries = entries
        .saturating_add(view.users.len())
        .saturating_add(
            view.groups.iter().map(|group| group.all_members.len().saturating_add(group.members.len())).sum(),
        )
        .saturating_add(view.groups.len())
        .saturating_add(view.roles.len());
    STEPS_BASE.saturating_add(STEPS_PER_ENTRY.saturating_mul(entries as u64))
}

/// Equal for equal access, so that a template may carry a mark without a clock in it.
fn revision(view: &View) -> Result<String, RenderError> {
    let bytes = json::render(view, &json::placeholder_options())?.bytes;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    let number = digest.iter().take(16).fold(0u128, |number, &byte| (number << 8) | u128::from(byte));
    Ok(format!("{number:032x}"))
}

/// A buffer that takes no more than it says.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > self.bytes_max {
            return Err(io::Error::other("the output is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    match &options.template {
        Some(template) => template.render(view, options),
        None => Err(RenderError {
            name: "template".into(),
            line: None,
            what: "the target names no template".into(),
            hint: "set `template = \"file.j2\"`",
        }),
    }
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    for (n, line) in text.split('\n').enumerate() {
        let n = n.saturating_add(1);
        if line.contains('\r') {
            return Err(format!("line {n} ends in CR LF; save the template with LF line ends"));
        }
        if line.contains(|c: char| c != '\t' && unfit_char(c).is_some()) {
            return Err(format!("line {n} holds a control character"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("no newline at the end".into());
    }
    match options.template.as_ref().map_or(Validate::Lines, |template| template.validate) {
        Validate::Lines => Ok(()),
        Validate::Json => {
            serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| ()).map_err(|error| error.to_string())
        }
        Validate::Toml => text.parse::<toml::Table>().map(|_| ()).map_err(|error| error.to_string()),
        Validate::Csv => super::csv_check::check(text),
    }
}

fn example() -> Options {
    let source = "# {{ target }}: who is in which role\n\
                  {% for user in users %}{{ user.name | word }} {{ user.roles | map(\"word\") | join(\",\") }}\n{% endfor %}";
    let template = Template::compile("example.j2", source.to_owned(), Validate::Lines).ok();
    Options { template: template.map(std::sync::Arc::new), ..json::placeholder_options() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::{Carried, example_view, find};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn options(source: &str, validate: Validate) -> Options {
        let template = Template::compile("policy.j2", source.to_owned(), validate).unwrap();
        Options { template: Some(Arc::new(template)), ..json::placeholder_options() }
    }

    fn run(source: &str, view: &View) -> Result<Rendered, RenderError> {
        find("template").unwrap().render(view, &options(source, Validate::Lines))
    }

    fn text(source: &str, view: &View) -> String {
        String::from_utf8(run(source, view).unwrap().bytes).unwrap()
    }

    fn named(name: &str) -> View {
        let mut view = example_view();
        name.clone_into(&mut view.users[1].name);
        view.groups[1].members = vec![name.to_owned()];
        view.groups[1].all_members = vec![name.to_owned()];
        view.groups[0].all_members = vec!["alice@example.com".into(), name.to_owned()];
        view.roles[0].members = vec![name.to_owned()];
        view
    }

    #[test]
    fn the_model_is_there_by_name_and_the_last_newline_stays() {
        let source = "{{ target }}\n{% for r in roles %}{{ r.name }}: {{ r.members | join(\" \") }}\n{% endfor %}\
                      {% for m in memberships %}{{ m.user }} in {{ m.group }}\n{% endfor %}{{ groups | length }}\n";
        let expected = "example\nadmin: bob@example.com\nalice@example.com in engineering\n\
                        bob@example.com in engineering\nbob@example.com in sre\n2\n";
        assert_eq!(text(source, &example_view()), expected);
    }

    #[test]
    fn output_without_a_last_newline_gets_one_and_nothing_is_escaped_by_itself() {
        assert_eq!(text("{{ '<&>\"' }}", &example_view()), "<&>\"\n");
    }

    #[test]
    fn the_revision_changes_with_the_model_only() {
        let one = text("{{ revision }}", &example_view());
        assert_eq!(one, text("{{ revision }}", &example_view()));
        assert_eq!(one.trim_end().len(), 32);
        assert_ne!(one, text("{{ revision }}", &named("carl")));
    }

    #[test]
    fn an_undefined_name_is_an_error_with_template_and_line() {
        let error = run("a\nb\n{{ usres | length }}\n", &example_view()).unwrap_err();
        assert_eq!((error.name.as_str(), error.line), ("policy.j2", Some(3)));
        assert!(error.to_string().starts_with("cannot render `policy.j2` at line 3: "), "{error}");
        assert!(error.hint.contains("users, groups, roles"), "{error}");
        assert!(run("{% for u in users %}{{ u.nmae }}{% endfor %}", &example_view()).is_err());
    }

    #[test]
    fn syntax_errors_are_found_when_compiling_and_unknown_filters_when_trying() {
        let error = Template::compile("p.j2", "x\n{% for %}\n".into(), Validate::Lines).unwrap_err();
        assert_eq!(error.line, Some(2));
        let template =
            Template::compile("p.j2", "{{ users[0].name | nginxkey }}".into(), Validate::Lines).unwrap();
        let message = template.try_example().unwrap_err().to_string();
        assert!(message.contains("did you mean `nginx_key`?"), "{message}");
    }

    #[test]
    fn other_files_cannot_be_reached() {
        for source in
            ["{% include '/etc/passwd' %}", "{% import '/etc/passwd' as x %}", "{% extends '../x' %}"]
        {
            assert!(run(source, &example_view()).is_err(), "{source}");
        }
    }

    #[test]
    fn an_endless_template_is_stopped() {
        let source = "{% for a in range(10000) %}{% for b in range(10000) %}{{ b }}{% endfor %}{% endfor %}";
        let error = run(source, &example_view()).unwrap_err();
        assert!(error.what.contains("more steps"), "{error}");
    }

    #[test]
    fn a_name_that_a_filter_refuses_costs_that_user_only() {
        let source = "{% for u in users %}{{ u.name | haproxy_word }} x\n{% endfor %}\
                      {% for g in groups %}{{ g.name }}={{ g.all_members | map(\"haproxy_word\") | join(\",\") }}\n{% endfor %}";
        let rendered = run(source, &named("bob smith")).unwrap();
        let text = String::from_utf8(rendered.bytes).unwrap();
        assert_eq!(text, "alice@example.com x\nengineering=alice@example.com\nsre=\n");
        let [left] = &rendered.left_out[..] else { panic!("one") };
        assert!(matches!(left.what, Carried::User(_)));
        assert_eq!(
            (left.text.as_str(), left.why.as_str()),
            ("bob smith", "the name has a blank, where HAProxy ends the key")
        );
    }

    #[test]
    fn a_group_that_holds_the_separator_of_a_list_grants_nothing_else() {
        let mut view = example_view();
        view.groups[1].name = "x,role:admin".into();
        view.users[1].groups = vec!["engineering".into(), "x,role:admin".into()];
        view.groups[0].groups = vec!["x,role:admin".into()];
        let source = "{% for u in users %}{{ u.name | nginx_key }} {{ u.groups | joined(\",\") | nginx_value }};\n{% endfor %}";
        let rendered = run(source, &view).unwrap();
        let text = String::from_utf8(rendered.bytes).unwrap();
        assert_eq!(
            text,
            "\"\\\\alice@example.com\" \"engineering\";\n\"\\\\bob@example.com\" \"engineering\";\n"
        );
        assert!(matches!(&rendered.left_out[..], [one] if matches!(one.what, Carried::Group(..))));
    }

    #[test]
    fn a_refused_text_that_is_nobodys_fails_with_what_to_do() {
        let error =
            run("{{ (users | map(attribute='name') | join(', ')) | word }}", &example_view()).unwrap_err();
        assert!(error.what.contains("put together") && error.hint.contains("map(\"word\")"), "{error}");
        let error = run("x\n{{ users[0].groups | word }}", &example_view()).unwrap_err();
        assert_eq!(error.line, Some(2));
        assert!(error.what.contains("not a list"), "{error}");
        let error = run("{{ users[0].external_id | word }}", &example_view()).unwrap_err();
        assert!(error.what.contains("absent"), "{error}");
    }

    #[test]
    fn a_key_attribute_with_a_line_end_leaves_the_user_out_and_a_display_name_is_cleaned() {
        let mut view = example_view();
        view.users[1].email = Some("bob@example.com\nroot".into());
        view.users[0].display_name = Some("A\nB".into());
        let rendered =
            run("{% for u in users %}{{ u.email }} {{ u.display_name }}\n{% endfor %}", &view).unwrap();
        assert_eq!(String::from_utf8(rendered.bytes).unwrap(), "alice@example.com A\u{fffd}B\n");
        assert_eq!(rendered.left_out.len(), 1);
    }

    #[test]
    fn json_yaml_and_toml_filters_write_what_their_readers_read() {
        let view = named("no");
        assert_eq!(text("{{ users[1].name | yaml }} {{ users[1].active | yaml }}", &view), "\"no\" true\n");
        assert_eq!(
            text("{{ users[1].groups | toml }} {{ users[1].name | toml }}", &view),
            "[\"engineering\", \"sre\"] \"no\"\n"
        );
        assert_eq!(text("{{ users[0].external_id | json }}", &view), "null\n");
        assert_eq!(
            text("{{ users[1].groups | tojson(indent=1) }}", &view),
            "[\n \"engineering\",\n \"sre\"\n]\n"
        );
        assert_eq!(text("{{ '</a>' | tojson }}", &view), "\"</a>\"\n");
        assert!(run("{{ users | toml }}", &view).is_err());
    }

    #[test]
    fn output_is_checked_as_what_it_is_said_to_be() {
        let format = find("template").unwrap();
        let check = |bytes: &str, validate| format.check(bytes.as_bytes(), &options("x", validate));
        assert!(
            check("{\"a\": 1}\n", Validate::Json).is_ok() && check("{\"a\": }\n", Validate::Json).is_err()
        );
        assert!(check("a = 1\n", Validate::Toml).is_ok() && check("a 1\n", Validate::Toml).is_err());
        assert!(check("a,b\n1,2\n", Validate::Csv).is_ok() && check("a,b\n1\n", Validate::Csv).is_err());
        assert!(check("a\tb\n", Validate::Lines).is_ok());
        assert!(check("a\r\n", Validate::Lines).unwrap_err().contains("LF"));
        assert!(check("a\u{202e}\n", Validate::Lines).is_err() && check("a", Validate::Lines).is_err());
        assert!(format.check(b"\xff\n", &options("x", Validate::Lines)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_name_is_it_makes_no_line_and_no_field_of_its_own(name in any::<String>()) {
            let source = "{% for u in users %}{{ u.name | word }} {{ u.name | nginx_key }}\n{% endfor %}";
            let rendered = run(source, &named(&name)).unwrap();
            let text = String::from_utf8(rendered.bytes).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            prop_assert_eq!(lines.len() + rendered.left_out.len(), 2);
            prop_assert!(lines.iter().all(|line| line.split(' ').count() == 2));
        }
    }
}
