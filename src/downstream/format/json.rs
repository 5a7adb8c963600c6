//! `json`: the whole documented access model. Keys and lists are sorted, absent attributes are absent (a `null`
//! would satisfy a rule that negates), two spaces, no clock and no sequence number.

use serde_json::{Map, Value};

use crate::access::View;
use crate::model::TargetName;

use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, escape};

pub(super) const FORMAT: Format = Format {
    name: "json",
    summary: "the whole access model (users, groups, roles) as one JSON document",
    content_type: "application/json",
    options: &[OptionDoc {
        name: "compact",
        kind: OptionKind::Flag,
        default: "false",
        description: "Writes one line without blanks instead of two-space indents.",
    }],
    render: super::Render::One(render),
    check,
    example: placeholder_options,
    ..super::PLAIN
};

pub(super) fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let failed = |error: serde_json::Error| RenderError {
        name: "json".into(),
        line: None,
        what: error.to_string(),
        hint: "this is a fault of rosterd; please report it",
    };
    let model = sorted(serde_json::to_value(view).map_err(failed)?);
    let text = if options.flag("compact") {
        serde_json::to_string(&model)
    } else {
        serde_json::to_string_pretty(&model)
    };
    let mut bytes = escape::json_text(&text.map_err(failed)?).into_bytes();
    bytes.push(b'\n');
    Ok(Rendered { bytes, left_out: Vec::new() })
}

/// Objects with their keys in order and without nulls.
pub(super) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> =
                map.into_iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let view: View = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if !view.users.windows(2).all(|pair| matches!(pair, [a, b] if a.name < b.name)) {
        return Err("two users have one name, or users are not sorted".into());
    }
    if bytes.last() == Some(&b'\n') { Ok(()) } else { Err("no newline at the end".into()) }
}

/// What examples are rendered with.
pub(super) fn placeholder_options() -> Options {
    #[expect(clippy::expect_used, reason = "a literal that follows the rule; a test renders every example")]
    Options::new(TargetName::parse("example").expect("a literal target name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::{Carried, example_view, find};
    use proptest::prelude::*;

    fn rendered(view: &View) -> (String, Rendered) {
        let rendered = find("json").unwrap().render(view, &placeholder_options()).unwrap();
        (String::from_utf8(rendered.bytes.clone()).unwrap(), rendered)
    }

    #[test]
    fn keys_and_lists_are_sorted_and_absent_attributes_are_absent() {
        let (text, _) = rendered(&example_view());
        assert!(text.starts_with(
            "{\n  \"groups\": [\n    {\n      \"all_members\": [\n        \"alice@example.com\",\n"
        ));
        assert!(text.ends_with("}\n") && !text.contains("null"));
        let at = |needle: &str| text.find(needle).unwrap();
        assert!(at("\"groups\"") < at("\"roles\"") && at("\"roles\"") < at("\"users\""));
        assert_eq!(serde_json::from_str::<View>(&text).unwrap(), example_view());
    }

    #[test]
    fn an_empty_view_grants_nothing_in_so_many_words() {
        assert_eq!(
            rendered(&View::default()).0,
            "{\n  \"groups\": [],\n  \"roles\": [],\n  \"users\": []\n}\n"
        );
    }

    #[test]
    fn line_separators_and_direction_controls_in_attributes_are_escaped() {
        let mut view = example_view();
        view.users[0].display_name = Some("a\u{2028}b\u{202e}c\u{85}".into());
        let (text, _) = rendered(&view);
        assert!(text.contains("\"a\\u2028b\\u202ec\\u0085\""), "{text}");
        assert_eq!(serde_json::from_str::<View>(&text).unwrap(), view);
    }

    #[test]
    fn a_user_with_a_control_character_in_the_name_is_left_out_of_every_list() {
        let mut view = example_view();
        let bad = "bob\r".to_owned();
        view.users[1].name.clone_from(&bad);
        view.groups[1].members = vec![bad.clone()];
        view.groups[1].all_members = vec![bad.clone()];
        view.groups[0].all_members = vec!["alice@example.com".into(), bad.clone()];
        view.roles[0].members = vec![bad];
        let (text, rendered) = rendered(&view);
        assert!(!text.contains("bob\\r"), "{text}");
        assert!(matches!(&rendered.left_out[..], [one] if matches!(one.what, Carried::User(_))));
    }

    proptest! {
        #[test]
        fn whatever_the_names_are_a_json_reader_gets_back_what_was_meant(
            names in proptest::collection::btree_set(any::<String>(), 0..6), shown in any::<String>(),
        ) {
            let mut view = View::default();
            for name in &names {
                let mut user = example_view().users[0].clone();
                user.name.clone_from(name);
                user.display_name = Some(shown.clone());
                user.groups = vec![];
                view.users.push(user);
            }
            let (text, rendered) = rendered(&view);
            let back: View = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(back.users.len() + rendered.left_out.len(), names.len());
            for user in &back.users {
                prop_assert!(names.contains(&user.name));
                prop_assert_eq!(user.display_name.as_ref(), Some(&shown));
            }
            prop_assert!(!text.trim_end_matches('\n').contains(|c: char| c.is_control() && c != '\n'));
            prop_assert!(find("json").unwrap().check(text.as_bytes(), &placeholder_options()).is_ok());
        }
    }
}
