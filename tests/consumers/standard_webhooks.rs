//! The public Standard Webhooks library in another language takes what is sent, by the old and by the new secret while
//! they rotate, and refuses it under any other secret or altered.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
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

const ASYMMETRIC: &str = r#"
import base64, json, sys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
asked = json.load(sys.stdin)
headers, body = asked["headers"], asked["body"]
signatures = [part[4:] for part in headers["webhook-signature"].split() if part.startswith("v1a,")]
def takes(public, body):
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public[len("whpk_"):]))
    message = f'{headers["webhook-id"]}.{headers["webhook-timestamp"]}.{body}'.encode()
    for signature in signatures:
        try:
            key.verify(base64.b64decode(signature), message)
            return True
        except InvalidSignature:
            pass
    return False
print(json.dumps([len(signatures), [takes(key, body) for key in asked["keys"]], takes(asked["keys"][0], body + " ")]))
"#;

#[test]
fn ed25519_signatures_fit_the_keys_that_are_handed_out_beside_a_shared_secret() {
    let Some(python) = Python::with(&["cryptography", "standardwebhooks"]) else { return };
    let receiver = Receiver::start();
    let mut daemon = Daemon::prepare(&format!(
        "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\nevents = [\"user.*\"]\n\
         secret_file = [\"{{dir}}/new\", \"{{dir}}/old\", \"{{dir}}/shared\"]\n",
        receiver.url()
    ));
    // Any 32 bytes are a seed.
    let seed = |byte: u8| format!("whsk_{}", base64::engine::general_purpose::STANDARD.encode([byte; 32]));
    for (name, secret) in [("new", seed(7)), ("old", seed(8)), ("shared", SECRET.to_owned())] {
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
    let keys = daemon.cli_json(&["events", "keys", "app"])["targets"][0]["whpk"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 2, "{keys}");
    let asked = json!({"headers": headers, "body": body, "keys": keys});
    assert_eq!(python.ask(ASYMMETRIC, &asked), json!([2, [true, true], false]));
    // Of both kinds in one header the public library finds its own.
    let asked = json!({"headers": headers, "body": body, "secrets": [SECRET, OTHER]});
    assert_eq!(python.ask(SCRIPT, &asked), json!([true, false, false]));
}
