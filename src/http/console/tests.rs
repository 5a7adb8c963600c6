//! Every template, rendered with samples, held to the rules of the page.

use serde_json::{Value, json};

use super::template::{TEMPLATES, Templates};
use crate::model::Timestamp;

/// What each template is given; several rows for several ways to look. Owners of pages add theirs.
const SAMPLES: &[(&str, &str)] = &[
    ("sign_in.html", include_str!("templates/samples/sign_in.json")),
    ("fault.html", include_str!("templates/samples/fault.json")),
    ("health.html", include_str!("templates/samples/health.json")),
    ("overview.html", include_str!("templates/samples/overview.json")),
    ("overview.html", include_str!("templates/samples/overview_empty.json")),
    ("onward.html", include_str!("templates/samples/onward.json")),
    ("styleguide.html", include_str!("templates/samples/styleguide.json")),
    ("overview_now.html", include_str!("templates/samples/overview.json")),
    ("activity.html", include_str!("templates/samples/activity.json")),
    ("activity_now.html", include_str!("templates/samples/activity.json")),
    ("activity_request.html", include_str!("templates/samples/activity_request.json")),
    ("directories.html", include_str!("templates/samples/directories.json")),
    ("directories.html", include_str!("templates/samples/directories_empty.json")),
    ("directories_now.html", include_str!("templates/samples/directories.json")),
    ("directories_now.html", include_str!("templates/samples/directories_empty.json")),
    ("directory_new.html", include_str!("templates/samples/directories.json")),
    ("directory_new.html", include_str!("templates/samples/directories_empty.json")),
    ("directory_made.html", include_str!("templates/samples/directories.json")),
    ("directory_made.html", include_str!("templates/samples/directories_empty.json")),
    ("directory.html", include_str!("templates/samples/directories.json")),
    ("directory.html", include_str!("templates/samples/directories_empty.json")),
    ("directory_now.html", include_str!("templates/samples/directories.json")),
    ("directory_now.html", include_str!("templates/samples/directories_empty.json")),
    ("directory_guide.html", include_str!("templates/samples/directories.json")),
    ("directory_guide.html", include_str!("templates/samples/directories_empty.json")),
    ("directory_seen.html", include_str!("templates/samples/directories.json")),
    ("directory_seen.html", include_str!("templates/samples/directories_empty.json")),
    ("directory_ask.html", include_str!("templates/samples/directories.json")),
    ("directory_ask.html", include_str!("templates/samples/directories_empty.json")),
    ("guide.html", include_str!("templates/samples/directories.json")),
    ("guide.html", include_str!("templates/samples/directories_empty.json")),
    ("token_new.html", include_str!("templates/samples/directories.json")),
    ("token_new.html", include_str!("templates/samples/directories_empty.json")),
    ("token_revoke.html", include_str!("templates/samples/directories.json")),
    ("token_revoke.html", include_str!("templates/samples/directories_empty.json")),
    ("tokens.html", include_str!("templates/samples/directories.json")),
    ("tokens.html", include_str!("templates/samples/directories_empty.json")),
    ("users.html", include_str!("templates/samples/people.json")),
    ("users.html", include_str!("templates/samples/people_empty.json")),
    ("groups.html", include_str!("templates/samples/people.json")),
    ("groups.html", include_str!("templates/samples/people_empty.json")),
    ("search.html", include_str!("templates/samples/people.json")),
    ("search.html", include_str!("templates/samples/people_empty.json")),
    ("user.html", include_str!("templates/samples/people.json")),
    ("user.html", include_str!("templates/samples/people_empty.json")),
    ("user_access.html", include_str!("templates/samples/people.json")),
    ("user_ask.html", include_str!("templates/samples/people.json")),
    ("user_ask.html", include_str!("templates/samples/people_empty.json")),
    ("group.html", include_str!("templates/samples/people.json")),
    ("group.html", include_str!("templates/samples/people_empty.json")),
    ("resource_history.html", include_str!("templates/samples/people.json")),
    ("resource_history.html", include_str!("templates/samples/people_empty.json")),
    ("changes.html", include_str!("templates/samples/people.json")),
    ("changes.html", include_str!("templates/samples/people_empty.json")),
    ("attributes.html", include_str!("templates/samples/people.json")),
    ("attributes.html", include_str!("templates/samples/people_empty.json")),
    ("explained.html", include_str!("templates/samples/people.json")),
    ("docs.html", include_str!("templates/samples/people.json")),
    ("docs.html", include_str!("templates/samples/people_empty.json")),
    ("doc.html", include_str!("templates/samples/people.json")),
    ("doc.html", include_str!("templates/samples/people_empty.json")),
];

/// What the layout sees, as [`super::Console`] fills it.
fn ui(is_signed_in: bool) -> Value {
    json!({
        "title": "A title", "path": "/", "csrf": "the-token", "version": "0.0.0", "unenforced": 0,
        "nav": [{ "path": "/", "label": "Overview", "current": true }],
        "flash": { "tone": "good", "text": "Done <b>", "hint": "" },
        "me": if is_signed_in { json!({ "name": "ops", "role": "admin" }) } else { Value::Null },
        "held": [{ "name": "opa", "count": 7 }], "may": { "operate": true, "admin": true },
        "css": "/assets/console.css?v=1", "js": "/assets/console.js?v=1", "icon": "/assets/icon.svg?v=1",
    })
}

fn templates() -> Templates {
    let now = Timestamp::parse_rfc3339("2026-11-22T12:00:00Z").unwrap();
    Templates::new(move || now).unwrap()
}

/// Every sample as a page.
fn pages() -> Vec<(String, String)> {
    let templates = templates();
    let parsed = SAMPLES.iter().map(|(name, sample)| {
        let context: Value = serde_json::from_str(sample).unwrap_or_else(|e| panic!("{name}: {e}"));
        (*name, context)
    });
    parsed
        .chain(super::pages::samples::all())
        .map(|(name, mut context)| {
            context["ui"] = ui(name != "sign_in.html");
            let text = templates.render(name, &context).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            (name.to_owned(), text)
        })
        .collect()
}

#[test]
fn every_template_has_a_sample_and_renders() {
    let rendered = pages();
    for (name, _) in
        TEMPLATES.iter().filter(|(name, _)| !matches!(*name, "layout.html") && !name.ends_with("parts.html"))
    {
        assert!(rendered.iter().any(|(one, _)| one == name), "{name} has no sample");
    }
}

#[test]
fn what_somebody_wrote_never_becomes_markup() {
    for (name, page) in pages() {
        assert!(!super::pages::samples::is_harmed(&page), "{name}");
        assert!(!page.contains(" onerror=\"") && !page.contains("style=\""), "{name}");
    }
}

/// Every opening tag of a text: its name and what stands behind it.
fn tags(text: &str) -> Vec<(String, String)> {
    let pattern = regex::Regex::new(r#"<([a-zA-Z][a-zA-Z0-9]*)((?:[^>"']|"[^"]*"|'[^']*')*)>"#).unwrap();
    let found = pattern.captures_iter(text);
    found.map(|tag| (tag[1].to_ascii_lowercase(), tag[2].to_owned())).collect()
}

fn attribute(rest: &str, name: &str) -> Option<String> {
    // Expressions made anew for each attribute of each page would take minutes.
    let at = rest.find(&format!(" {name}=\"")).or_else(|| rest.find(&format!("\n{name}=\"")))?;
    rest.get(at..)?.split('"').nth(1).map(|value| value.replace("&#x2f;", "/"))
}

#[test]
fn nothing_in_a_page_runs_or_comes_from_elsewhere() {
    let inline = regex::Regex::new(r"(?i)\s(on[a-z]+|style)\s*=").unwrap();
    for (name, text) in pages() {
        for (tag, rest) in tags(&text) {
            assert_ne!(tag, "style", "{name}");
            assert!(tag != "script" || attribute(&rest, "src").is_some(), "{name}: a script in the page");
            assert!(!inline.is_match(&rest), "{name}: <{tag}{rest}>");
            for key in ["src", "href", "action", "data-live", "formaction"] {
                let Some(url) = attribute(&rest, key) else { continue };
                let is_ours = (url.starts_with('/') && !url.starts_with("//")) || url.starts_with('#');
                assert!(is_ours, "{name}: {key}=\"{url}\"");
            }
        }
        assert!(!text.contains("javascript:"), "{name}");
    }
}

#[test]
fn every_form_that_sends_something_has_the_token() {
    let form = regex::Regex::new(r"(?s)<form([^>]*)>(.*?)</form>").unwrap();
    for (name, text) in pages() {
        for found in form.captures_iter(&text) {
            let sends = attribute(&found[1], "method").as_deref() == Some("post");
            let has = found[2].contains(r#"name="csrf" value="the-token""#);
            assert_eq!(sends, has, "{name}: a GET carries no token, a POST always: {}", &found[0]);
        }
    }
}

#[test]
fn every_input_has_a_name_for_people() {
    let wrapped = regex::Regex::new(r"(?s)<label(?:\s[^>]*)?>.*?</label>").unwrap();
    for (name, text) in pages() {
        let tags = tags(&text);
        let labelled: Vec<String> = tags
            .iter()
            .filter(|(tag, _)| tag == "label")
            .filter_map(|(_, rest)| attribute(rest, "for"))
            .collect();
        let inside: String = wrapped.find_iter(&text).map(|found| found.as_str()).collect();
        for (tag, rest) in &tags {
            let is_field = matches!(tag.as_str(), "input" | "select" | "textarea");
            if !is_field || attribute(rest, "type").as_deref() == Some("hidden") {
                continue;
            }
            let is_named = attribute(rest, "aria-label").is_some()
                || attribute(rest, "id").is_some_and(|id| labelled.contains(&id))
                || inside.contains(rest.as_str());
            assert!(is_named, "{name}: <{tag}{rest}> has no label");
        }
    }
}

#[test]
fn every_page_has_its_language_one_heading_and_no_id_twice() {
    for (name, text) in pages() {
        let tags = tags(&text);
        let ids: Vec<String> = tags.iter().filter_map(|(_, rest)| attribute(rest, "id")).collect();
        let once: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(once.len(), ids.len(), "{name}: {ids:?}");
        if !text.contains("<html") {
            continue;
        }
        assert!(text.contains(r#"<html lang="en">"#), "{name}");
        assert_eq!(tags.iter().filter(|(tag, _)| tag == "h1").count(), 1, "{name}");
        assert_eq!(tags.iter().filter(|(tag, _)| tag == "main").count(), 1, "{name}");
        for (_, rest) in tags.iter().filter(|(tag, _)| tag == "th") {
            assert!(attribute(rest, "scope").is_some(), "{name}: <th{rest}>");
        }
    }
}

#[test]
fn what_people_wrote_is_escaped() {
    let (_, fault) = pages().into_iter().find(|(name, _)| name == "fault.html").unwrap();
    assert!(fault.contains("There is no target &lt;nix&gt;"));
    assert!(fault.contains("Done &lt;b&gt;") && !fault.contains("<nix>"));
}

#[test]
fn times_and_numbers_are_said_as_people_do() {
    let templates = templates();
    let said = |text: &str| {
        let mut environment = templates.0.clone();
        environment.add_template_owned("one.html", text.to_owned()).unwrap();
        environment.get_template("one.html").unwrap().render(()).unwrap()
    };
    for (text, wanted) in [
        ("{{ '2026-11-22T11:59:58Z'|ago }}", "just now"),
        ("{{ '2026-11-22T11:59:18Z'|ago }}", "42 seconds ago"),
        ("{{ '2026-11-22T10:59:18Z'|ago }}", "1 hour ago"),
        ("{{ '2026-11-25T12:00:00Z'|ago }}", "in 3 days"),
        ("{{ '2026-11-22T10:04:05.678Z'|when }}", "2026-11-22 10:04:05 UTC"),
        ("{{ 1204311|count }} {{ 12|count }} {{ 999|count }} {{ 1000|count }}", "1,204,311 12 999 1,000"),
        (
            "{{ 1|plural('directory') }}, {{ 2|plural('directory') }}, {{ 3|plural('day') }}",
            "1 directory, 2 directories, 3 days",
        ),
        ("{{ 'a/b c&é'|enc }}", "a%2Fb%20c%26%C3%A9"),
        ("{{ 'run `a <b>` & `c'|ticks }}", "run <code>a &lt;b&gt;</code> &amp; `c"),
        ("{{ '`<i>`\"x'|ticks }}", "<code>&lt;i&gt;</code>&quot;x"),
    ] {
        assert_eq!(said(text), wanted, "{text}");
    }
}

#[test]
fn the_style_and_the_macros_hold_nothing_that_no_page_uses() {
    let style = include_str!("assets/console.css");
    let style = regex::Regex::new(r"(?s)/\*.*?\*/|\{[^{}]*\}").unwrap().replace_all(style, "");
    let word = regex::Regex::new(r"[A-Za-z][A-Za-z0-9_-]*").unwrap();
    let texts: String = TEMPLATES.iter().map(|(_, text)| *text).collect();
    // Classes that a filter or a script writes.
    let made = include_str!("assets/console.js").to_owned() + include_str!("guide.rs");
    let used: std::collections::BTreeSet<&str> =
        word.find_iter(&texts).chain(word.find_iter(&made)).map(|found| found.as_str()).collect();
    for class in regex::Regex::new(r"\.([A-Za-z][A-Za-z0-9_-]*)").unwrap().captures_iter(&style) {
        assert!(used.contains(&class[1]), "no page has the class `{}`", &class[1]);
    }
    for name in regex::Regex::new(r"macro ([a-z_]+)\(").unwrap().captures_iter(&texts) {
        let calls = texts.matches(&format!("{}(", &name[1])).count();
        assert!(calls > 1, "nobody calls the macro `{}`", &name[1]);
    }
}
