//! Recorded conversations of identity providers, played against the daemon; answers *and* resulting files.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use rosterd::scim::dialect::Quirk;
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
    assert!(steps > 40);
}

#[test]
fn okta_trace_passes_twice_on_one_store() {
    play_all("okta", &["okta"]);
}

#[test]
fn entra_trace_passes_twice_on_one_store() {
    play_all("entra", &["entra"]);
}

#[test]
fn entra_variants_pass_twice_on_one_store() {
    play_all("entra", &["entra-variants"]);
}

#[test]
fn okta_variants_pass_twice_on_one_store() {
    play_all("okta", &["okta-variants"]);
}

#[test]
fn onelogin_trace_passes_twice_on_one_store() {
    play_all("onelogin", &["onelogin"]);
}

#[test]
fn jumpcloud_trace_passes_twice_on_one_store() {
    play_all("jumpcloud", &["jumpcloud"]);
}

#[test]
fn google_trace_passes_twice_on_one_store() {
    play_all("google", &["google"]);
}

#[test]
fn ping_trace_passes_twice_on_one_store() {
    play_all("ping", &["ping"]);
}

#[test]
fn cyberark_trace_passes_twice_on_one_store() {
    play_all("cyberark", &["cyberark"]);
}

#[test]
fn rippling_trace_passes_twice_on_one_store() {
    play_all("rippling", &["rippling"]);
}

#[test]
fn keycloak_trace_passes_twice_on_one_store() {
    play_all("keycloak", &["keycloak"]);
}

#[test]
fn authentik_trace_passes_twice_on_one_store() {
    play_all("authentik", &["authentik"]);
}

#[test]
fn generic_trace_passes_twice_on_one_store() {
    play_all("generic", &["generic"]);
}

#[test]
fn every_trace_passes_on_a_generic_directory() {
    let names: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/traces"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 13, "{names:?}");
    play_all("generic", &names.iter().map(String::as_str).collect::<Vec<_>>());
}

/// The steps named after a quirk really need it: on a directory without quirks at least one of them comes out
/// otherwise, for each quirk.
#[test]
fn each_quirk_has_steps_that_fail_without_it() {
    let daemon = Daemon::prepare(
        "[[directory]]\nid = \"plain\"\nname = \"Plain\"\nkind = \"generic\"\ntoken_file = \"plain-token\"\nquirks = \"none\"\n",
    );
    let token = "plain-0123456789abcdef0123456789abcdef";
    std::fs::write(daemon.path("plain-token"), token).unwrap();
    std::fs::set_permissions(daemon.path("plain-token"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut daemon = daemon;
    daemon.run();
    let mut client = Client::new(daemon.address);
    let (_, failed) = trace::play(&mut client, token, &load("generic").remove(0), "plain001", |_, _| {});
    for quirk in Quirk::ALL {
        let needs = |line: &&String| {
            line.split_once('"').is_some_and(|(_, name)| {
                name.strip_prefix(quirk.name()).is_some_and(|rest| rest.starts_with([':', '"']))
            })
        };
        assert!(failed.iter().any(|line| needs(&line)), "no step needs {quirk}; failed: {failed:#?}");
    }
    // Whatever was refused, nothing broke.
    assert!(!failed.iter().any(|line| line.contains("got 5")), "{failed:#?}");
}

#[test]
fn each_quirk_that_a_request_needed_is_counted() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Quirks", "generic");
    let mut client = Client::new(daemon.address);
    trace::play(&mut client, &directory.token, &load("generic").remove(0), "counted1", |_, _| {});
    let mut admin = UnixStream::connect(daemon.path("admin.sock")).unwrap();
    admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    admin.read_to_string(&mut metrics).unwrap();
    for quirk in Quirk::ALL {
        let series = format!("rosterd_scim_quirks_total{{directory=\"{}\",quirk=\"{quirk}\"}}", directory.id);
        assert!(metrics.contains(&series), "no {series} in {metrics}");
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
