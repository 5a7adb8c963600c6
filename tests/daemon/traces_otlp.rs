//! Traces by OTLP: a collector of the test's own hears of a request, the commit it caused, the run and the delivery.

use crate::support::daemon::Daemon;

#[cfg(not(feature = "otlp"))]
#[test]
fn a_program_without_traces_refuses_the_key_and_says_how_to_get_them() {
    let daemon = Daemon::prepare("[log]\notlp = { endpoint = \"http://127.0.0.1:4318\" }\n");
    let out = daemon.cli(&["check"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(78), "{said}");
    assert!(said.contains("cargo install --locked --features otlp rosterd"), "{said}");
}

#[test]
fn plain_http_to_a_collector_elsewhere_is_refused() {
    let daemon = Daemon::prepare("[log]\notlp = { endpoint = \"http://collector.example.com:4318\" }\n");
    let out = daemon.cli(&["check"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(78), "{said}");
    assert!(said.contains("https unless it is on this machine"), "{said}");
}

#[cfg(feature = "otlp")]
mod built_in {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use crate::support::daemon::Daemon;
    use crate::support::receiver::Receiver;
    use crate::support::wait_until;

    /// A collector that takes everything and keeps the bodies.
    fn collector() -> (std::net::SocketAddr, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let keep = Arc::clone(&heard);
        // Lives as long as the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, keep) = (stream.unwrap(), Arc::clone(&keep));
                std::thread::spawn(move || {
                    while let Some(body) = request(&mut stream) {
                        keep.lock().unwrap().extend(body);
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    }
                });
            }
        });
        (address, heard)
    }

    fn request(stream: &mut impl Read) -> Option<Vec<u8>> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        assert!(head.starts_with("post /v1/traces "), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let length = head.split("content-length: ").nth(1)?.split('\r').next()?.parse().ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        Some(body)
    }

    #[test]
    fn a_collector_hears_of_requests_commits_runs_and_deliveries() {
        let (address, heard) = collector();
        let receiver = Receiver::start();
        let mut daemon = Daemon::prepare(&format!(
            "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n\
             [[target]]\nname = \"opa\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out.json\"\n\
             [[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\nsecret_file = \"secret\"\n\
             [log]\notlp = {{ endpoint = \"http://{address}\" }}\n",
            receiver.url()
        ));
        let secret = daemon.path("secret");
        std::fs::write(&secret, crate::support::receiver::SECRET).unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        daemon.run();
        let directory = daemon.add_directory("Acme", "okta");
        let mut scim = daemon.scim(&directory);
        let user = scim.create_user("secretname@example.com");
        scim.create_group("Crew", &[&user]);
        wait_until("the file is written", || daemon.read("out.json").contains("secretname"));
        wait_until("the webhook came", || !receiver.all().is_empty());
        assert_eq!(daemon.stop(), Some(0));
        // The end sends what is left.
        let heard = heard.lock().unwrap();
        let text = String::from_utf8_lossy(&heard);
        let words = [
            "rosterd",
            "scim request",
            "mirror commit",
            "target run",
            "delivery",
            "http.route",
            "in_sync",
            "acme",
        ];
        for word in words {
            assert!(text.contains(word), "no `{word}` in {} bytes of traces", heard.len());
        }
        assert!(!text.contains("secretname"), "what a client sent is no part of a trace");
        // The log is as it is without: spans are no part of its lines.
        assert!(!daemon.log().contains("mirror commit"), "{}", daemon.log());
    }
}
