//! Recorded conversations of identity providers, played against the daemon; answers *and* resulting files.

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::http::Client;
use crate::support::{trace, wait_until};

fn load(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/traces/{name}.json", env!("CARGO_MANIFEST_DIR"));
    match serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() {
        Value::Array(traces) => traces,
        one => vec![one],
    }
}

fn play_all(kind: &str, names: &[&str]) {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Traces", kind);
    let mut client = Client::new(daemon.address);
    let mut steps = 0;
    for (round, name) in names.iter().chain(names).enumerate() {
        for one in load(name) {
            let (passed, failed) =
                trace::play(&mut client, &directory.token, &one, &format!("r{round:07x}"), |_, _| {});
            assert!(failed.is_empty(), "{kind} {name}: {failed:#?}");
            steps += passed;
        }
    }
    println!("{kind}: {steps} passed, 0 failed");
    assert!(steps > 90);
}

#[test]
fn both_traces_pass_twice_on_every_kind_of_directory() {
    let kinds = [
        "okta",
        "entra",
        "generic",
        "google",
        "onelogin",
        "jumpcloud",
        "ping",
        "cyberark",
        "rippling",
        "keycloak",
        "authentik",
    ];
    for kind in kinds {
        play_all(kind, &["okta", "entra"]);
    }
}

/// After each step of a whole conversation the policy file ends up as the directory says.
#[test]
fn the_policy_file_follows_the_okta_trace() {
    let daemon = Daemon::start(
        "[[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/access.json\"\nwait = { revoke = \"10ms\", min = \"20ms\", max = \"200ms\" }\n",
    );
    let directory = daemon.add_directory("Okta", "okta");
    let mut client = Client::new(daemon.address);
    let one = load("okta").remove(0);
    let mut checked = 0;
    let (_, failed) = trace::play(&mut client, &directory.token, &one, "filetrac", |step, _| {
        // Steps that answer 2xx to a write; whom the file must and must not name follows from the step's own story.
        let (must, must_not): (&[&str], &[&str]) = match step + 1 {
            8 => (&["dana.filetrac@example.com"], &[]),
            18 => (&[], &["dana.filetrac@example.com"]),
            21 => (&["dana.filetrac@example.com"], &[]),
            32 => (&["Okta Crew filetrac", "dana.filetrac@example.com", "erin.filetrac@example.com"], &[]),
            34 => (&["Okta Crew East filetrac"], &["Okta Crew filetrac"]),
            47 => (&[], &["Okta Crew East filetrac"]),
            51 => (&[], &["dana.filetrac", "erin.filetrac", "fritz.filetrac"]),
            _ => return,
        };
        checked += 1;
        wait_until(&format!("the file after step {}", step + 1), || {
            let text = daemon.read("access.json");
            must.iter().all(|m| text.contains(m))
                && !must_not.iter().any(|m| text.contains(m))
                && !text.is_empty()
        });
    });
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(checked, 7);
}
