//! Webhooks: signed, durable, in order, retried.

use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, SECRET};
use crate::support::wait_until;

fn config(receiver: &Receiver, events: &str) -> String {
    format!(
        "[[role]]\nname = \"db-admin\"\ngroups = [\"Admins\"]\n[[target]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{{dir}}/hook-secret\"\nevents = [{events}]\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n",
        receiver.url()
    )
}

fn start(receiver: &Receiver, events: &str) -> Daemon {
    use std::os::unix::fs::PermissionsExt;
    let mut daemon = Daemon::prepare(&config(receiver, events));
    let secret = daemon.path("hook-secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.run();
    daemon
}

fn types(receiver: &Receiver) -> Vec<String> {
    receiver.events().iter().map(|d| d.body["type"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_grant_and_its_loss_arrive_signed_and_in_order() {
    let receiver = Receiver::start();
    let daemon = start(&receiver, "\"access.*\"");
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("alice@example.com");
    let group = scim.create_group("Admins", &[&alice]);
    wait_until("granted", || types(&receiver).iter().any(|t| t == "access.granted"));
    scim.remove_member(&group, &alice);
    wait_until("revoked", || types(&receiver).last().is_some_and(|t| t == "access.revoked"));
    assert!(receiver.all().iter().all(|d| d.verified), "a signature the public library refuses");
    assert!(!daemon.log().contains(SECRET));
}

#[test]
fn directory_events_come_once_each_in_the_order_of_the_log() {
    let receiver = Receiver::start();
    let daemon = start(&receiver, "\"user.*\", \"group.*\"");
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("alice@example.com");
    let group = scim.create_group("Admins", &[]);
    scim.add_member(&group, &alice);
    scim.add_member(&group, &alice);
    scim.set_active(&alice, false);
    scim.send("DELETE", &format!("/Groups/{group}"), None).expect(204);
    let wanted = ["user.created", "group.created", "group.user_added", "user.deactivated", "group.deleted"];
    wait_until("all five", || types(&receiver).len() >= wanted.len());
    assert_eq!(types(&receiver), wanted);
    let seqs: Vec<u64> =
        receiver.events().iter().map(|d| d.id.split('-').nth(1).unwrap().parse().unwrap()).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
}

#[test]
fn a_failing_receiver_gets_the_same_id_and_bytes_again() {
    let receiver = Receiver::start();
    receiver.answer_next(&["503 Busy\r\nRetry-After: 1"]);
    let daemon = start(&receiver, "\"user.*\"");
    let directory = daemon.add_directory("Acme", "okta");
    daemon.scim(&directory).create_user("alice@example.com");
    wait_until("the second attempt is taken", || receiver.events().len() == 1);
    let all = receiver.all();
    assert_eq!(all.len(), 2);
    assert_eq!((&all[0].id, &all[0].raw), (&all[1].id, &all[1].raw));
    assert!(all.iter().all(|d| d.verified));
}

#[test]
fn a_receiver_that_is_down_does_not_delay_a_file_and_catches_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let receiver = Receiver::start();
    let text = config(&receiver, "\"user.*\"").replace(&receiver.url(), &format!("http://{address}/hook"));
    drop(receiver);
    use std::os::unix::fs::PermissionsExt;
    let mut daemon = Daemon::prepare(&format!(
        "{text}\n[[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/access.json\"\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n"
    ));
    std::fs::write(daemon.path("hook-secret"), SECRET).unwrap();
    std::fs::set_permissions(daemon.path("hook-secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    daemon.scim(&directory).create_user("alice@example.com");
    wait_until("the file follows", || daemon.read("access.json").contains("alice@example.com"));
    wait_until("the webhook says it fails", || !daemon.target("hook")["last_error"].is_null());
    let receiver = Receiver::on(std::net::TcpListener::bind(address).unwrap());
    wait_until("delivered once it is back", || types(&receiver) == ["user.created"]);
}

/// Every event names the one that arrived before it, and no id comes twice.
fn is_chained(receiver: &Receiver) {
    let mut previous = serde_json::Value::Null;
    for one in receiver.events() {
        let data = &one.body["data"];
        assert_eq!(data["previous"], previous, "{}", one.body);
        previous = serde_json::json!([data["epoch"], data["seq"], data["n"]]);
    }
}

#[test]
fn under_manual_a_shut_is_told_at_once_and_everything_else_waits_for_sync() {
    for events in ["\"access.*\"", "\"access.*\", \"user.*\", \"group.*\", \"subject.*\""] {
        let receiver = Receiver::start();
        let text =
            config(&receiver, events).replace("type = \"webhook\"", "type = \"webhook\"\napply = \"manual\"");
        let mut daemon = Daemon::prepare(&text);
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(daemon.path("hook-secret"), SECRET).unwrap();
        std::fs::set_permissions(daemon.path("hook-secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
        daemon.run();
        daemon.cli(&["sync", "hook"]);
        let directory = daemon.add_directory("Acme", "okta");
        let mut scim = daemon.scim(&directory);
        let (alice, bob) = (scim.create_user("alice@example.com"), scim.create_user("bob@example.com"));
        let group = scim.create_group("Admins", &[&alice, &bob]);
        daemon.cli_json(&["sync", "hook"]);
        let count = |kind: &str| types(&receiver).iter().filter(|told| *told == kind).count();
        wait_until("both are told", || count("access.granted") == 2);
        let before = types(&receiver).len();

        // Carol comes and bob goes, which waits; alice is shut out, which does not.
        let carol = scim.create_user("carol@example.com");
        scim.add_member(&group, &carol);
        scim.remove_member(&group, &bob);
        let done = daemon.cli_json(&["shut", "alice@example.com", "--reason", "stolen laptop"]);
        assert_eq!(done["still_in"], serde_json::json!([]), "the webhook followed");
        wait_until("the shut is told", || count("access.revoked") == 1);
        wait_until("nothing is on its way", || daemon.target("hook")["open"] == 0);
        assert_eq!(types(&receiver).len(), before + 1, "{:?}", types(&receiver));
        let told = receiver.events().pop().unwrap().body;
        assert_eq!(told["data"]["subject"]["name"], "alice@example.com");
        assert_eq!(daemon.target("hook")["state"], "pending", "the rest waits");
        // Another start tells it no second time.
        daemon.kill();
        daemon.run();
        daemon.cli_json(&["open", "alice@example.com"]);
        daemon.cli_json(&["shut", "alice@example.com", "--reason", "again"]);

        daemon.cli_json(&["sync", "hook"]);
        wait_until("the rest is told", || {
            count("access.granted") == 3 && count("access.revoked") == 2 && daemon.target("hook")["open"] == 0
        });
        let names: Vec<String> = receiver.events()[before + 1..]
            .iter()
            .filter(|d| d.body["type"].as_str().unwrap().starts_with("access."))
            .map(|d| d.body["data"]["subject"]["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["bob@example.com", "carol@example.com"]);
        let kept = if events.contains("user") { 3 } else { 0 };
        assert_eq!((count("user.created"), count("subject.shut")), (kept, kept.min(2)));
        is_chained(&receiver);
        assert!(receiver.all().iter().all(|d| d.verified) && receiver.all().len() == receiver.events().len());
    }
}
