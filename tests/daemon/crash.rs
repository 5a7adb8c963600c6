//! kill -9 at random moments: every answered write is there, the file converges, the receiver misses nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, leftovers};
use crate::support::receiver::{Receiver, SECRET};
use crate::support::{Random, seed, wait_until};

const KILLS: usize = 12;

#[test]
fn kill_9_at_any_moment_loses_no_answered_write_and_everything_converges() {
    use std::os::unix::fs::PermissionsExt;
    let mut random = Random::new(seed());
    let receiver = Receiver::start();
    let mut daemon = Daemon::prepare(&format!(
        "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n[[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out/access.json\"\nwait = {{ revoke = \"1ms\", min = \"5ms\", max = \"50ms\" }}\n[[target]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{{dir}}/hook-secret\"\nevents = [\"user.*\", \"group.*\"]\nwait = {{ revoke = \"1ms\", min = \"5ms\", max = \"50ms\" }}\n",
        receiver.url()
    ));
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    std::fs::write(daemon.path("hook-secret"), SECRET).unwrap();
    std::fs::set_permissions(daemon.path("hook-secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let group = daemon.scim(&directory).create_group("Crew", &[]);
    let (mut users, mut members) = (BTreeSet::new(), BTreeSet::new());
    // A write whose answer never came may or may not be there.
    let mut unsure = BTreeSet::new();
    let mut number = 0;
    for _ in 0..KILLS {
        let deadline = Instant::now() + Duration::from_millis(20 + random.below(250));
        let mut scim = daemon.scim(&directory);
        while Instant::now() < deadline {
            number += 1;
            let name = format!("u{number}@example.com");
            let body = serde_json::json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "active": true});
            let Some(id) = scim
                .try_send("POST", "/Users", Some(&body))
                .ok()
                .filter(|r| r.status == 201)
                .map(|r| crate::support::daemon::id_of(&r))
            else {
                unsure.insert(name);
                break;
            };
            users.insert(name.clone());
            if random.below(3) > 0 {
                scim.add_member(&group, &id);
                members.insert(name);
            }
        }
        let victim = daemon.process_id();
        daemon.kill();
        println!("killed {victim} after {number} users");
        daemon.run();
    }
    let mut scim = daemon.scim(&directory);
    for name in &users {
        let found = scim
            .get(&format!("/Users?filter=userName%20eq%20%22{}%22", name.replace('@', "%40")))
            .expect(200)
            .json();
        assert_eq!(found["totalResults"], 1, "{name} was answered and is gone");
    }
    let in_group =
        scim.get(&format!("/Groups/{group}")).expect(200).json()["members"].as_array().unwrap().len();
    assert_eq!(in_group, members.len());
    wait_until("the file names every member", || {
        let text = daemon.read("out/access.json");
        members.iter().all(|m| text.contains(m.as_str()))
    });
    wait_until("the receiver has every user", || {
        let events = receiver.events();
        let created: BTreeSet<String> =
            events.iter().filter(|d| d.body["type"] == "user.created").map(|d| d.body.to_string()).collect();
        users.iter().all(|u| created.iter().any(|c| c.contains(&format!("\"{u}\""))))
    });
    let order: Vec<(u64, u64)> = receiver
        .events()
        .iter()
        .map(|d| {
            let mut parts = d.id.split('-').skip(1).map(|p| p.parse::<u64>().unwrap());
            (parts.next().unwrap(), parts.next().unwrap())
        })
        .collect();
    assert!(order.is_sorted(), "out of order");
    assert!(receiver.all().iter().all(|d| d.verified));
    // The way back beside the file goes a moment after the file itself is seen.
    wait_until("nothing of the writing is left over", || leftovers(&daemon.path("out")).is_empty());
    println!(
        "{KILLS} kills, {} answered users, {} members, {} unanswered, 0 lost",
        users.len(),
        members.len(),
        unsure.len()
    );
    assert_eq!(daemon.stop(), Some(0));
}
