//! SCIM event tokens: PyJWT, with the keys that `rosterd events keys` prints and nothing else, takes what each kind of
//! key signs, and refuses it altered, for another audience or under another key.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Python, program};
use crate::support::daemon::Daemon;
use crate::support::http::Client;
use crate::support::receiver::Receiver;
use crate::support::wait_until;

const SCRIPT: &str = r#"
import json, sys
import jwt
asked = json.load(sys.stdin)
keys = {one.key_id: one for one in jwt.PyJWKSet.from_dict(asked["jwks"]).keys}
others = jwt.PyJWKSet.from_dict(asked["others"]).keys
def takes(token, key, audience):
    try:
        return jwt.decode(token, key, algorithms=[asked["algorithm"]], audience=audience, issuer=asked["issuer"],
                          options={"require": ["iss", "iat", "jti", "aud"]})
    except jwt.PyJWTError:
        return None
found = []
for token in asked["tokens"]:
    head = jwt.get_unverified_header(token)
    key = keys[head["kid"]]
    start, body, end = token.split(".")
    altered = ".".join([start, body[:-2] + ("AA" if body[-2:] != "AA" else "BB"), end])
    found.append({"head": head, "claims": takes(token, key, asked["audience"]),
        "refused": [takes(altered, key, asked["audience"]), takes(token, key, "https://other.example.com")]
            + [takes(token, other, asked["audience"]) for other in others]})
print(json.dumps(found))
"#;

fn key(to: &Path, args: &[&str]) {
    let openssl = program("openssl").expect("it was there");
    let made = Command::new(openssl).arg("genpkey").args(args).arg("-out").arg(to).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600)).unwrap();
}

const P256: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: [&str; 4] = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

fn check(algorithm: &str, kind: &str, args: &[&str]) {
    let Some(python) = Python::with(&["jwt", "cryptography"]) else { return };
    if program("openssl").is_none() {
        return;
    }
    let receiver = Receiver::start();
    let target = |name: &str, key: &str, events: &str| {
        format!(
            "[[target]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"{}\"\nformat = \"scim-events\"\n\
             events = [{events}]\nissuer = \"https://scim.example.com\"\naudience = \"https://hr.example.com\"\n\
             signing_key_file = \"{{dir}}/{key}\"\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n",
            receiver.url(),
        )
    };
    let (all, none) = ("\"user.*\", \"group.*\"", "\"group.deleted\"");
    let mut daemon =
        Daemon::prepare(&format!("{}{}", target("hr", "key.pem", all), target("other", "other.pem", none)));
    key(&daemon.path("key.pem"), args);
    key(&daemon.path("other.pem"), args);
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("zoë@example.com");
    scim.create_group("Crew", &[&alice]);
    scim.set_active(&alice, false);
    wait_until("all four arrived", || receiver.events().len() == 4);
    let events = receiver.events();
    let content_type =
        |name: &str, value: &str| name == "content-type" && value == "application/secevent+jwt";
    assert!(events.iter().all(|d| d.headers.iter().any(|(name, value)| content_type(name, value))));
    let accept = |name: &str, value: &str| name == "accept" && value == "application/json";
    assert!(events.iter().all(|d| d.headers.iter().any(|(name, value)| accept(name, value))));
    let tokens: Vec<String> = events.into_iter().map(|d| String::from_utf8(d.raw).unwrap()).collect();
    let keys = |target: &str| -> Value {
        let out = daemon.cli(&["events", "keys", target, "--jwks"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let jwks = keys("hr");
    assert_eq!((&jwks["keys"][0]["kty"], &jwks["keys"][0]["alg"]), (&json!(kind), &json!(algorithm)));
    let private = ["d", "p", "q", "dp", "dq", "qi"];
    assert!(private.iter().all(|name| jwks["keys"][0].get(name).is_none()), "{jwks}");
    let found = python.ask(
        SCRIPT,
        &json!({"jwks": jwks, "others": keys("other"), "algorithm": algorithm, "tokens": tokens,
            "issuer": "https://scim.example.com", "audience": "https://hr.example.com"}),
    );
    let found = found.as_array().unwrap();
    for one in found {
        assert_eq!((&one["head"]["typ"], &one["head"]["alg"]), (&json!("secevent+jwt"), &json!(algorithm)));
        assert!(one["claims"].is_object(), "PyJWT refuses it: {one}");
        assert_eq!(one["refused"], json!([null, null, null]));
    }
    let told =
        |at: usize| found[at]["claims"]["events"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let prov = |word: &str| vec![format!("urn:ietf:params:scim:event:prov:{word}")];
    assert_eq!((told(0), told(1)), (prov("create:full"), prov("create:full")));
    assert_eq!((told(2), told(3)), (prov("patch:full"), prov("deactivate")));
    let claims = &found[3]["claims"];
    assert_eq!(claims["urn:rosterd:previous"], found[2]["claims"]["jti"]);
    assert_eq!(claims["sub_id"]["uri"], format!("/Users/{alice}"));
}

#[test]
fn tokens_of_an_ed25519_key() {
    check("EdDSA", "OKP", &["-algorithm", "ED25519"]);
}

#[test]
fn tokens_of_a_p256_key() {
    check("ES256", "EC", &P256);
}

#[test]
fn tokens_of_an_rsa_key() {
    check("RS256", "RSA", &RSA);
}

/// What a token of RFC 9967 has to be, in the words of that RFC and of RFC 8417.
fn is_scim_event(claims: &Value) {
    for name in ["iss", "aud", "iat", "jti", "txn", "toe", "events", "sub_id"] {
        assert!(claims.get(name).is_some(), "no `{name}` in {claims}");
    }
    // RFC 8417 §2.2 and RFC 9967 §2.1: the subject is in `sub_id`, and an event does not expire.
    assert!(claims.get("sub").is_none() && claims.get("exp").is_none(), "{claims}");
    assert_eq!(claims["sub_id"]["format"], "scim");
    let place = claims["sub_id"]["uri"].as_str().unwrap();
    assert!(place.starts_with("/Users/") || place.starts_with("/Groups/"), "{place}");
    let known = ["create:full", "create:notice", "patch:full", "patch:notice", "put:full", "put:notice"]
        .map(|word| format!("urn:ietf:params:scim:event:prov:{word}"));
    let bare = ["prov:delete", "prov:activate", "prov:deactivate", "feed:add", "feed:remove"]
        .map(|word| format!("urn:ietf:params:scim:event:{word}"));
    for (kind, payload) in claims["events"].as_object().unwrap() {
        if bare.contains(kind) {
            assert_eq!(*payload, json!({}), "{kind}");
            continue;
        }
        assert!(known.contains(kind), "{kind} is not registered");
        let (data, names) = (payload.get("data").is_some(), payload.get("attributes").is_some());
        assert_eq!(
            (data, names),
            (kind.ends_with(":full"), kind.ends_with(":notice")),
            "{kind}: one of the two"
        );
    }
}

#[test]
fn tokens_that_a_reader_fetches() {
    let Some(python) = Python::with(&["jwt", "cryptography"]) else { return };
    if program("openssl").is_none() {
        return;
    }
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reader = |name: &str| {
        format!(
            "[[reader]]\nname = \"{name}\"\ntoken_file = \"{{dir}}/{name}-token\"\nevents = true\nsets = {{ issuer = \
             \"https://scim.example.com\", audience = \"https://hr.example.com\", signing_key_file = \"{{dir}}/{name}.pem\" }}\n"
        )
    };
    let mut daemon =
        Daemon::prepare(&format!("[publish]\nlisten = \"{address}\"\n{}{}", reader("hr"), reader("other")));
    for name in ["hr", "other"] {
        key(&daemon.path(&format!("{name}.pem")), &P256);
        let token = daemon.path(&format!("{name}-token"));
        std::fs::write(&token, format!("a-token-of-{name}-0123456789abcdefghijkl")).unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("zoë@example.com");
    let group = scim.create_group("Crew", &[&alice]);
    scim.set_active(&alice, false);
    scim.remove_member(&group, &alice);
    assert_eq!(scim.send("DELETE", &format!("/Users/{alice}"), None).status, 204);
    let headers = [
        ("Authorization", "Bearer a-token-of-hr-0123456789abcdefghijkl"),
        ("Content-Type", "application/json"),
    ];
    let body = Some(&b"{\"returnImmediately\":true}"[..]);
    let told = Client::new(address).send("POST", "/events/poll", &headers, body).unwrap().expect(200).json();
    let sets = told["sets"].as_object().unwrap();
    assert_eq!(sets.len(), 6, "{told}");
    let keys = |name: &str| -> Value {
        let out = daemon.cli(&["events", "keys", "--reader", name, "--jwks"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let tokens: Vec<&Value> = sets.values().collect();
    let found = python.ask(
        SCRIPT,
        &json!({"jwks": keys("hr"), "others": keys("other"), "algorithm": "ES256", "tokens": tokens,
            "issuer": "https://scim.example.com", "audience": "https://hr.example.com"}),
    );
    for (one, id) in found.as_array().unwrap().iter().zip(sets.keys()) {
        assert!(one["claims"].is_object(), "PyJWT refuses it: {one}");
        assert_eq!(one["refused"], json!([null, null, null]));
        assert_eq!((&one["head"]["typ"], &one["claims"]["jti"]), (&json!("secevent+jwt"), &json!(id)));
        is_scim_event(&one["claims"]);
    }
}
