//! Every template, rendered with samples, held to the rules of the page.

use serde_json::{Value, json};

use super::template::{TEMPLATES, Templates};
use crate::model::Timestamp;

/// What each template is given; several rows for several ways to look. Owners of pages add theirs.
const SAMPLES: &[(&str, &str)] = &[
    ("sign_in.html", include_str!("templates/samples/sign_in.json")),
    ("fault.html", include_str!("templates/samples/fault.json")),
    ("overview.html", include_str!("templates/samples/overview.json")),
    ("overview_now.html", include_str!("templates/samples/overview.json")),
    ("activity.html", include_str!("templates/samples/activity.json")),
    ("activity_now.html", include_str!("templates/samples/activity.json")),
    ("activity_request.html", include_str!("templates/samples/activity_request.json")),
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
    SAMPLES
        .iter()
        .map(|(name, sample)| {
            let mut context: Value = serde_json::from_str(sample).unwrap_or_else(|e| panic!("{name}: {e}"));
            context["ui"] = ui(*name != "sign_in.html");
            let text = templates.render(name, &context).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            ((*name).to_owned(), text)
        })
        .collect()
}

#[test]
fn every_template_has_a_sample_and_renders() {
    let rendered = pages();
    for (name, _) in TEMPLATES.iter().filter(|(name, _)| !matches!(*name, "layout.html" | "parts.html")) {
        assert!(rendered.iter().any(|(one, _)| one == name), "{name} has no sample");
    }
}
