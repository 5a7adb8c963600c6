//! The service manager's side: readiness, reload, watchdog, stop; without systemd as PID 1.

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::wait_until;

#[test]
fn ready_status_and_stopping_are_told_and_term_ends_with_0() {
    let mut daemon = Daemon::prepare("");
    daemon.spawn();
    let ready = daemon.wait_note("READY=1");
    if !ready.contains("STATUS=") {
        daemon.wait_note("STATUS=");
    }
    daemon.signal(Signal::TERM);
    daemon.wait_note("STOPPING=1");
    assert_eq!(daemon.wait_exit(), Some(0));
}

#[test]
fn hangup_reloads_and_says_reloading_with_the_monotonic_time_in_one_message() {
    let mut daemon = Daemon::start("");
    daemon.signal(Signal::HUP);
    let note = daemon.wait_note("RELOADING=1");
    assert!(note.contains("MONOTONIC_USEC="), "{note:?}");
    daemon.wait_note("READY=1");
}

#[test]
fn a_bad_config_is_refused_by_reload_and_the_old_one_stays() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    std::fs::write(
        daemon.config(),
        std::fs::read_to_string(daemon.config()).unwrap().replace("listen", "lisen"),
    )
    .unwrap();
    let out = daemon.cli(&["reload"]);
    assert_ne!(out.status.code(), Some(0));
    daemon.scim(&directory).get("/Users").expect(200);
}

#[test]
fn reload_brings_a_new_target_to_life() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    daemon.scim(&directory).create_user("alice@example.com");
    daemon.write_config(
        "[[target]]\nname = \"late\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/late.json\"\n",
    );
    let out = daemon.cli(&["reload"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    wait_until("the new target is written", || daemon.read("late.json").contains("alice@example.com"));
}

#[test]
fn the_watchdog_is_fed() {
    let mut daemon = Daemon::prepare("");
    daemon.environment("WATCHDOG_USEC", "600000");
    daemon.run();
    daemon.wait_note("WATCHDOG=1");
    daemon.wait_note("WATCHDOG=1");
}

const LATE: &str =
    "[[target]]\nname = \"late\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/late.json\"\n";

#[test]
fn a_saved_config_that_only_adds_applies_itself() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    daemon.scim(&directory).create_user("alice@example.com");
    daemon.write_config(LATE);
    wait_until("the new target is written", || daemon.read("late.json").contains("alice@example.com"));
}

#[test]
fn a_saved_config_that_takes_away_is_held_until_reload() {
    let role = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n";
    let daemon = Daemon::start(&format!("{role}{LATE}"));
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("alice@example.com");
    scim.create_group("Crew", &[&alice]);
    wait_until("alice holds the role", || daemon.read("late.json").contains("\"crew\""));
    daemon.write_config(LATE);
    wait_until("the log says that it is held", || daemon.log().contains("held until `rosterd reload`"));
    assert!(daemon.read("late.json").contains("\"crew\""));
    assert!(daemon.cli(&["reload"]).status.success());
    wait_until("reload takes the role away", || !daemon.read("late.json").contains("\"crew\""));
}

#[test]
fn a_supervisor_that_reads_nothing_holds_nothing_up_and_hears_everything_in_order_later() {
    let mut daemon = Daemon::start("");
    let turns = 25;
    for _ in 0..turns {
        let reloaded = daemon.cli(&["reload"]);
        assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    }
    // Orders to targets are answered, too.
    assert!(daemon.cli(&["sync"]).status.success());
    let words = |note: &str| {
        let first = note.lines().next().unwrap_or_default();
        ["READY=1", "RELOADING=1", "STOPPING=1"].into_iter().find(|word| *word == first)
    };
    let mut heard = Vec::new();
    wait_until("the supervisor hears of every reload", || {
        heard.extend(daemon.next_note().as_deref().and_then(words));
        heard.len() == 2 * turns
    });
    daemon.signal(Signal::TERM);
    wait_until("the supervisor hears of the stop", || {
        heard.extend(daemon.next_note().as_deref().and_then(words));
        heard.last() == Some(&"STOPPING=1")
    });
    // The READY of the start was taken by the test's own waiting for it.
    let wanted: Vec<&str> =
        (0..turns).flat_map(|_| ["RELOADING=1", "READY=1"]).chain(["STOPPING=1"]).collect();
    assert_eq!(heard, wanted);
    assert_eq!(daemon.wait_exit(), Some(0));
}
