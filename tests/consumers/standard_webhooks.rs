//! The public Standard Webhooks library in another language takes what is sent, by the old and by the new secret while
//! they rotate, and refuses it under any other secret or altered.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::Python;
use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, SECRET};
use crate::support::wait_until;

const SCRIPT: &str = r#"
import json, sys
from standardwebhooks import Webhook
asked = json.load(sys.stdin)
def takes(secret, body):
    try:
        Webhook(secret).verify(body.encode(), asked["headers"])
        return True
    except Exception:
        return False
print(json.dumps([takes(secret, asked["body"]) for secret in asked["secrets"]] + [takes(asked["secrets"][0], asked["body"] + " ")]))
"#;

const OLD: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

#[test]
fn the_python_library_takes_old_and_new_secret_during_rotation() {
    let Some(python) = Python::with(&["standardwebhooks"]) else { return };
    let receiver = Receiver::start();
    let mut daemon = Daemon::prepare(&format!(
        "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\nevents = [\"user.*\"]\n\
         secret_file = [\"{{dir}}/new\", \"{{dir}}/old\"]\n",
        receiver.url()
    ));
    for (name, secret) in [("new", SECRET), ("old", OLD)] {
        std::fs::write(daemon.path(name), secret).unwrap();
        std::fs::set_permissions(daemon.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    daemon.scim(&directory).create_user("zoë@example.com");
    wait_until("it arrived", || !receiver.events().is_empty());
    let got = receiver.events().remove(0);
    let headers: serde_json::Map<String, Value> =
        got.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let body = String::from_utf8(got.raw).unwrap();
    let asked = json!({"headers": headers, "body": body, "secrets": [SECRET, OLD, OTHER]});
    assert_eq!(python.ask(SCRIPT, &asked), json!([true, true, false, false]));
}
