//! What of events the configuration takes and refuses.

use crate::config::tests::read_in;
use crate::config::{Loaded, Problems, Secrets};
use crate::downstream::webhook::SigningSecret;
use crate::reconcile::{TargetKind, WebhookSettings};

const SECRET: &str = "secret_file = \"secret\"";

/// Reads a webhook with these keys besides, in a folder that holds a template and keys.
fn load(keys: &str) -> Result<Loaded, Problems> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let private = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    private("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    private(
        "secret-a",
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
    );
    private("token", "Bearer abc");
    // The key of the example in RFC 8410 section 10.3.
    private(
        "key.pem",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
         -----END PRIVATE KEY-----\n",
    );
    private("body.j2", "{\"text\": {{ text | json }}, \"who\": {{ data.user.userName | json }}}");
    let head = "[[target]]\nname = \"a\"\ntype = \"webhook\"\nurl = \"https://a.example.com/\"\n";
    read_in(folder.path(), &format!("{head}{keys}\n"), Secrets::Required)
}

fn webhook(keys: &str) -> WebhookSettings {
    let config = load(keys).unwrap_or_else(|problems| panic!("{problems}")).config;
    match config.targets.into_iter().next().unwrap().kind {
        TargetKind::Webhook(webhook) => webhook,
        TargetKind::File(_) => panic!("no webhook"),
    }
}

fn http(webhook: &WebhookSettings) -> &crate::downstream::webhook::Settings {
    match &webhook.send {
        crate::reconcile::Sending::Http(http) => http,
        crate::reconcile::Sending::Exec(_) => panic!("no webhook"),
    }
}

fn wrong(keys: &str, words: &str) {
    let problems = load(keys).map(|_| ()).unwrap_err().to_string();
    assert!(problems.contains(words), "{keys}: {problems}");
}

#[test]
fn each_form_has_its_media_type_and_its_own_keys() {
    assert_eq!(webhook(SECRET).body.content_type(), "application/json");
    let cloud = webhook(&format!("{SECRET}\nformat = \"cloudevents\"\nsource = \"urn:x\""));
    assert_eq!(cloud.body.content_type(), "application/cloudevents+json");
    let scim = "format = \"scim-events\"\nissuer = \"https://i\"\naudience = [\"a\", \"b\"]\n";
    let signed = format!("{scim}signing_key_file = \"key.pem\"");
    let tokens = webhook(&signed);
    assert_eq!(tokens.body.content_type(), "application/secevent+jwt");
    assert!(http(&tokens).secrets.is_empty());
    let words: Vec<&str> = tokens.events.kinds().map(crate::reconcile::event::Kind::family).collect();
    assert!(!words.is_empty() && words.iter().all(|family| matches!(*family, "user" | "group")), "{words:?}");
    wrong(&format!("{signed}\nevents = [\"access.*\"]"), "no form as a SCIM event");
    wrong(&format!("{SECRET}\nissuer = \"x\""), "belongs to `format = \"scim-events\"`");
    wrong(scim, "`target.a.signing_key_file` is missing");
    wrong(&format!("{scim}signing_key_file = \"secret\""), "not a PEM file");
    wrong("format = \"cloudevents\"", "`target.a.secret_file` is missing");
}

#[test]
fn a_filter_is_bound_to_the_schema_when_the_config_is_read() {
    let told = webhook(&format!("{SECRET}\nfilter = 'userType eq \"Contractor\"'"));
    assert!(told.events != webhook(SECRET).events);
    wrong(&format!("{SECRET}\nfilter = 'userTyp eq \"x\"'"), "not a SCIM filter over users");
}

#[test]
fn a_template_is_tried_on_every_type_it_will_meet() {
    let told = webhook("template = \"body.j2\"\nevents = [\"user.*\"]");
    assert!(http(&told).secrets.is_empty());
    let mixed = "template = \"body.j2\"\nevents = [\"user.*\", \"group.created\"]";
    wrong(mixed, "tried on a made-up `group.created`");
    wrong("template = \"body.j2\"\nformat = \"standard\"", "both `format` and `template`");
    wrong("template = \"gone.j2\"", "cannot read the template");
}

#[test]
fn headers_are_added_and_ours_are_refused() {
    let both = "headers = { X-Routing = \"r\" }\nheaders_file = { authorization = \"token\" }";
    let headers = http(&webhook(&format!("{SECRET}\n{both}"))).headers.clone();
    assert_eq!((headers[0].0.as_str(), headers[0].1.to_str().unwrap()), ("x-routing", "r"));
    assert_eq!(headers[1].1.to_str().unwrap(), "Bearer abc");
    assert!(headers[1].1.is_sensitive() && !format!("{:?}", headers[1].1).contains("abc"));
    for (header, words) in [
        ("headers = { Host = \"x\" }", "writes the header `host` itself"),
        ("headers = { webhook-id = \"x\" }", "writes the header `webhook-id` itself"),
        ("headers = { a = \"x\" }\nheaders_file = { A = \"token\" }", "set twice"),
    ] {
        wrong(&format!("{SECRET}\n{header}"), words);
    }
}

#[test]
fn old_and_new_secret_of_either_kind_stand_side_by_side() {
    let secrets = http(&webhook("secret_file = [\"secret-a\", \"secret\"]")).secrets.clone();
    let public: Vec<Option<String>> = secrets.iter().map(SigningSecret::public).collect();
    assert!(matches!(&public[..], [Some(key), None] if key.starts_with("whpk_")), "{public:?}");
}
