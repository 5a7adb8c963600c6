//! The admin API's document: Schemathesis reads it from the running daemon, makes requests of it, right and wrong ones, and
//! holds every answer to it.

use std::process::Stdio;

use crate::harness::Python;
use crate::support::api::{self, PASSWORD};

/// What Schemathesis holds answers to: no 5xx, only statuses, types, headers and bodies that the document has, 405 with
/// `Allow` for the methods it has not. Whether nobody gets in without a password is asked by tests/daemon; asked here it
/// would only bring 429 for the rest.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,unsupported_method,allow_header_conformance";

#[test]
fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let Some(python) = Python::with(&["schemathesis"]) else { return };
    let (daemon, listen) = api::start(
        "[[role]]\nname = \"admin\"\ngroups = [\"sre\"]\n[[reader]]\nname = \"fleet\"\n\
         [[target]]\nname = \"opa\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/access.json\"\n\
         wait = { revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }\n",
    );
    daemon.forget_notes();
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("alice@example.com");
    scim.create_group("sre", &[&alice]);
    let report = daemon.path("report.ndjson");
    let out = python
        .module("schemathesis.cli")
        .args(["run", &format!("http://{listen}/api/v1/openapi.json"), "--auth", &format!("ops:{PASSWORD}")])
        .args([
            "--checks",
            CHECKS,
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "5",
            "--seed",
            "1",
        ])
        .args(["--continue-on-failure", "--warnings", "off", "--no-color", "--workers", "1"])
        .args(["--report", "ndjson", "--report-ndjson-path"])
        .arg(&report)
        .current_dir(daemon.dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{told}\n{}", String::from_utf8_lossy(&out.stderr));
    let operations = api::Api::new(listen, "ops").operations().len();
    let all = format!("Tested: {operations}");
    assert!(told.lines().any(|line| line.trim() == all), "not all {operations} were asked: {told}");
    assert!(std::fs::metadata(&report).is_ok_and(|facts| facts.len() > 10_000));
    assert!(daemon.cli(&["verify"]).status.success());
}
