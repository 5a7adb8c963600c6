//! What the pages of targets, plans, deliveries, history and grants are given in tests: nothing, the usual, far too
//! much, and what somebody who means harm would send. Each is made from the API's JSON by the page's own functions.

use serde_json::{Value, json};

use super::{deliveries, grants, history, plan, target, targets};
use crate::http::console::call::Fault;

/// What no page may print as it stands.
const EVIL: &str = "<script>alert(1)</script>\"'><img/src=x/onerror=alert(1)>{{ 7*7 }}\u{202e}";

const AT: &str = "2026-11-22T11:40:00.000Z";

/// How much there is of everything, and what people are called.
#[derive(Clone, Copy)]
struct Kind {
    many: usize,
    name: &'static str,
    /// In the older daemon's JSON much is missing.
    is_bare: bool,
}

const KINDS: [Kind; 4] = [
    Kind { many: 0, name: "opa", is_bare: true },
    Kind { many: 3, name: "opa", is_bare: false },
    Kind { many: 60, name: "opa", is_bare: false },
    Kind { many: 2, name: EVIL, is_bare: false },
];

fn many(kind: Kind, make: impl Fn(usize) -> Value) -> Vec<Value> {
    (0..kind.many).map(make).collect()
}

fn line(kind: Kind, n: usize) -> Value {
    json!({
        "subject": format!("{}{n}@example.com", kind.name), "id": format!("acme-okta/0199-{n}"),
        "entitlement": "role:db-admin", "label": kind.name, "why": format!("no longer a member {}", kind.name),
    })
}

/// One target of the API in a state.
fn target_json(kind: Kind, state: &str, shape: &str) -> Value {
    if kind.is_bare {
        return json!({ "name": "opa", "type": shape, "state": state });
    }
    let hook = json!({ "lag_events": 12, "lag_seconds": 4_000, "circuit": "open", "done": 4, "retried": 2 });
    json!({
        "name": kind.name, "type": shape, "state": state, "applied_seq": 1_204, "last_success": AT,
        "last_error": kind.name, "held_removals": kind.many, "open": 4, "parked": 2,
        "traffic": if shape == "webhook" { hook } else { Value::Null },
        "problems": many(kind, |n| format!("{} {n} is left out", kind.name).into()),
        "format": "json", "place": format!("/srv/{}", kind.name), "apply": "manual", "on_drift": "report",
        "schedule": "*/15 * * * *", "via_installer": true, "published": true, "lag_changes": 3, "lag_seconds": 90,
        "path": format!("/srv/{}", kind.name), "holds": 4_000, "pinned_to": if state == "pinned" { json!(7) } else { Value::Null },
        "files": many(kind, |n| format!("{}{n}", kind.name).into()),
        "reload_pending": true,
        "versions": many(Kind { many: kind.many.min(5), ..kind }, |n| json!({"seq": 7 + n, "at": AT, "digest": "ab".repeat(32), "total": n})),
        "runs": many(Kind { many: kind.many.min(20), ..kind }, |n| json!({
            "at": AT, "started": AT, "duration_ms": 12, "cause": "sync", "by": "admin:ops", "seq": n, "outcome": "failed",
            "added": 1, "removed": 2, "changed": 0, "held": 4, "error": kind.name,
        })),
        "drift": many(Kind { many: kind.many.min(20), ..kind }, |_| json!({
            "path": kind.name, "what": "changed", "uid": 0, "user": kind.name, "modified": AT, "bytes": 12,
            "noticed": AT, "repaired": false, "found": kind.name, "expected": "ab".repeat(32),
        })),
    })
}

fn plan_json(kind: Kind) -> Value {
    json!({ "targets": [{
        "name": kind.name, "hash": "ab".repeat(32), "held": true, "total": 9,
        "add": many(kind, |n| line(kind, n)), "remove": many(kind, |n| line(kind, n)),
        "kept": many(kind, |n| line(kind, n)), "held_removals": many(kind, |n| line(kind, n)),
        "change": many(kind, |n| json!({"from": kind.name, "to": format!("{}{n}", kind.name), "id": "acme/1"})),
    }]})
}

fn held_json(kind: Kind) -> Value {
    if kind.is_bare {
        return json!({ "removals": 0, "people": 0, "persons": [] });
    }
    json!({
        "target": kind.name, "hash": "ab".repeat(32), "removals": kind.many * 2, "people": kind.many, "since": AT,
        "until": AT, "set_aside": false, "let_through": 5, "in_window": 12, "matches": kind.many, "next": 200, "newer": 1,
        "limits": {"max_removals": ["10%", "500"], "min_removals": 5, "window_seconds": 3_600, "urgent": 5,
            "hold": "all", "max_hold_seconds": 86_400, "max_hold_then": "apply"},
        "scopes": [{"kind": "target", "name": "", "lost": 40, "total": 200, "over": ["10%"], "emptied": false},
            {"kind": "role", "name": kind.name, "lost": 40, "total": 40, "over": ["10%"], "emptied": true},
            {"kind": "directory", "name": "acme", "lost": 4, "total": 400, "over": [], "emptied": false}],
        "persons": many(Kind { many: kind.many.min(1_000), ..kind }, |n| json!({
            "subject": format!("{}{n}", kind.name), "id": format!("acme-okta/{}{n}", kind.name), "new": n == 1,
            "removals": [{"entitlement": "role:x", "label": kind.name, "why": kind.name, "seq": 7, "at": AT},
                {"entitlement": "role:y", "label": "y", "why": "gone", "seq": null, "at": null}],
        })),
    })
}

fn file_json(kind: Kind, diff_of: Option<&str>) -> Value {
    json!({
        "path": "/srv/x", "files_total": kind.many,
        "files": many(Kind { many: kind.many.min(500), ..kind }, |n| json!({"name": format!("{}{n}", kind.name), "written": null})),
        "file": {
            "name": kind.name, "path": format!("/srv/{}", kind.name), "there": "file", "bytes": 70_000, "mode": "0640",
            "uid": 0, "user": kind.name, "modified": AT, "digest": "ab".repeat(32), "written": "cd".repeat(32),
            "as_written": diff_of.is_none(), "lines": many(Kind { many: kind.many.min(500), ..kind }, |_| kind.name.into()),
            "truncated": true, "binary": false, "masked": 2, "note": kind.name,
            "diff": [{"sign": "+", "text": kind.name}, {"sign": "-", "text": "a"}, {"sign": "~", "text": ""},
                {"sign": " ", "text": "b"}],
            "diff_of": diff_of,
        },
    })
}

fn change_json(kind: Kind, n: usize) -> Value {
    json!({
        "seq": n, "at": AT, "kind": (["guard.approved", "user.updated", "group.updated", "subject.shut"][n % 4]),
        "directory": "acme", "resource": if n.is_multiple_of(4) { Value::Null } else { json!("0199") }, "object": kind.name,
        "name": kind.name, "actor": "admin:ops", "request": kind.name, "erased": n == 1,
        "before": {"title": kind.name, "emails": [{"value": kind.name}]}, "after": {"title": null, "reason": kind.name},
        "members": [{"op": "add", "group": "g", "member": "m", "type": "user", "group_name": kind.name,
            "member_name": kind.name}],
        "members_total": 4_000,
    })
}

const STATES: [&str; 12] = [
    "in_sync",
    "pending",
    "held",
    "failing",
    "drifted",
    "foreign",
    "pinned",
    "disabled",
    "needs_snapshot",
    "unverified",
    "orphaned",
    "waiting",
];

fn of_targets(kind: Kind, all: &mut Vec<(&'static str, Value)>) {
    let list: Vec<Value> = STATES
        .iter()
        .enumerate()
        .map(|(n, state)| target_json(kind, state, if n % 2 == 0 { "file" } else { "webhook" }))
        .collect();
    let list = json!({ "targets": if kind.many == 0 { Vec::new() } else { list } });
    all.push(("targets.html", targets::context(&list, "")));
    all.push(("targets_now.html", targets::context(&list, "waiting")));
    let (planned, fault) = (plan_json(kind), Fault::new(500, kind.name, ""));
    let decided: Vec<Value> =
        (0..kind.many.min(4)).map(|n| super::view::change(&change_json(kind, n))).collect();
    // Every state once is enough where there is much of everything.
    let states = if kind.many > 50 { STATES.get(2..4) } else { Some(STATES.as_slice()) };
    for state in states.unwrap_or_default() {
        for shape in ["file", "webhook"] {
            let one = target_json(kind, state, shape);
            let file = file_json(kind, (*state == "drifted").then_some("present"));
            let context = target::context(&one, Ok(&planned), Ok(&file), &decided);
            all.push(("target_now.html", context.clone()));
            all.push(("target.html", context));
        }
    }
    let one = target_json(kind, "orphaned", "file");
    all.push(("target.html", target::context(&one, Err(&fault), Err(&fault), &[])));
    let (file, shown) = (file_json(kind, Some("repaired")), super::view::target(&one));
    all.push((
        "target_file.html",
        json!({"target": shown, "file": target::presented(&file, "x"), "after": "a"}),
    ));
    all.push((
        "target_file.html",
        json!({"target": shown, "file": target::presented(&json!({}), ""), "after": ""}),
    ));
    for order in ["adopt", "unpin", "forget", "restored", "rollback"] {
        if let Ok(context) = target::asked(&one, order, "8", Some(&planned), Some(&file)) {
            all.push(("target_ask.html", context));
        }
        if let Ok(context) = target::asked(&one, order, "8", None, None) {
            all.push(("target_ask.html", context));
        }
    }
    let held = held_json(kind);
    let mut shown = plan::context(&one, &held, Some(&planned), ("a", "400"));
    all.push(("plan.html", shown.clone()));
    shown["stale"] = json!({"was": 9, "now": 4, "newer": 1});
    shown["decided"] = plan::done(&json!({"what": "approve", "released": 4, "seq": 9, "error": kind.name}));
    shown["decisions"] = decided.into();
    all.push(("plan.html", shown.clone()));
    shown["decided"] =
        plan::done(&json!({"what": "reject", "rejected": 1, "given_back": 1, "held_removals": 2}));
    all.push(("plan.html", shown));
    for what in ["all", "chosen", "reject"] {
        let chosen = format!("acme-okta/{}1", kind.name);
        let context = plan::asked(&one, &held, what, &[chosen.as_str()]).unwrap();
        all.push(("plan_ask.html", context));
    }
}

fn of_deliveries(kind: Kind, all: &mut Vec<(&'static str, Value)>) {
    let one = |n: usize| {
        json!({
            "id": format!("{}/1-{n}-0", kind.name), "target": kind.name, "event": format!("1-{n}-0"), "kind": "user.created",
            "resource": kind.name, "resource_name": if n.is_multiple_of(2) { json!(kind.name.repeat(2)) } else { Value::Null }, "at": AT, "state": (["parked", "pending", "done", "held"][n % 4]), "batch": "1-9-0",
            "attempts": 3, "next_at": AT, "finished_at": AT, "last_status": 503, "last_error": kind.name,
            "content_type": kind.name, "body": json!({"a": kind.name, "b": ["x".repeat(100)]}).to_string(),
            "tried": [{"at": AT, "status": 503, "latency_ms": 7, "outcome": "retried", "error": kind.name, "answer": kind.name},
                {"at": AT, "status": null, "latency_ms": 7, "outcome": "parked", "error": null, "answer": ""}],
        })
    };
    let hook = target_json(kind, "failing", "webhook");
    let list = json!({ "targets": if kind.many == 0 { Vec::new() } else { vec![hook.clone()] } });
    let found =
        json!({ "deliveries": many(Kind { many: kind.many.min(1_000), ..kind }, one), "next": "app/1-2-0" });
    let filter =
        [("target", kind.name), ("state", "parked"), ("kind", kind.name), ("resource", ""), ("before", "x")];
    all.push(("deliveries.html", deliveries::context(&list, &found, &filter)));
    all.push(("deliveries.html", deliveries::context(&list, &json!({}), &[])));
    for n in 0..4 {
        all.push(("delivery.html", deliveries::delivery(&one(n))));
        all.push(("delivery_skip.html", deliveries::delivery(&one(n))));
    }
    all.push((
        "delivery.html",
        deliveries::delivery(
            &json!({"id": "app/1-1-0", "body": format!("{}\n{}", kind.name, "é".repeat(80_000))}),
        ),
    ));
    for order in ["resume", "replay", "snapshot"] {
        all.push(("delivery_ask.html", deliveries::asked(&hook, order, kind.name, kind.name)));
    }
}

fn of_the_past(kind: Kind, all: &mut Vec<(&'static str, Value)>) {
    let changes = many(Kind { many: kind.many.min(200), ..kind }, |n| change_json(kind, n));
    let filter = [
        ("subject", kind.name),
        ("group", ""),
        ("kind", kind.name),
        ("actor", kind.name),
        ("since", ""),
        ("until", ""),
    ];
    let found = json!({ "changes": changes, "next": 7, "begins_after": 4 });
    all.push(("history.html", history::context(&found, &filter, "9")));
    let none = filter.map(|(name, _)| (name, ""));
    all.push(("history.html", history::context(&json!({"changes": [], "next": null}), &none, "")));
    let holders = many(kind, |n| {
        json!({
            "subject": "acme/1", "directory": "acme", "id": "1", "user_name": format!("{}{n}", kind.name),
            "display_name": kind.name, "why": [kind.name], "since": {"seq": 4, "at": AT, "actor": "admin:ops"},
        })
    });
    let at = json!({ "seq": 4, "at": AT, "roles": [{"role": "x", "protected": true, "holders": holders}], "problems": [kind.name] });
    all.push(("access.html", history::held(&at, kind.name, "")));
    all.push(("access.html", history::held(&json!({}), "", "")));
    let moved = many(kind, |n| {
        json!({
            "subject": kind.name, "id": format!("acme/{n}"), "entitlement": "role:x", "label": kind.name, "why": [kind.name],
            "change": {"seq": 4, "at": AT, "actor": "token:tok_x"},
        })
    });
    let diff = json!({ "from": {"seq": 1, "at": AT}, "to": {"seq": 9, "at": AT}, "add": moved, "remove": moved, "problems": [] });
    all.push(("access_diff.html", history::between(&diff, kind.name, "now")));
    all.push(("access_diff.html", history::between(&json!({}), "", "")));
}

fn of_grants(kind: Kind, all: &mut Vec<(&'static str, Value)>) {
    let given = many(kind, |n| {
        json!({
            "id": format!("grant_{n}"), "subject": "acme/1", "user_name": kind.name, "role": kind.name, "reason": kind.name,
            "actor": "admin:ops", "at": AT, "until": AT, "ended": if n == 1 { json!(AT) } else { Value::Null },
        })
    });
    let shut = many(kind, |n| {
        json!({
            "subject": format!("acme/{n}"), "user_name": kind.name, "reason": kind.name, "actor": "uid:0", "at": AT, "seq": 4,
        })
    });
    let context = grants::context(
        &json!({ "grants": given, "roles": if kind.is_bare { json!([]) } else { json!([kind.name, "crew"]) } }),
        &json!({ "shut": shut }),
        |_| 3_700,
    );
    if let Some(one) = context["grants"].get(0) {
        all.push(("grant_revoke.html", json!({ "grant": one })));
    }
    if let Some(one) = context["shut"].get(0) {
        all.push(("shut_open.html", json!({ "shut": one })));
    }
    all.push(("grants.html", context));
    all.push(("shut.html", json!({ "subject": kind.name, "reason": kind.name })));
}

/// Every template of these pages with everything it may be given.
pub(in crate::http::console) fn all() -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    for kind in KINDS {
        of_targets(kind, &mut all);
        of_deliveries(kind, &mut all);
        of_the_past(kind, &mut all);
        of_grants(kind, &mut all);
    }
    all
}

/// Whether what somebody wrote to do harm stands there as it was.
pub(in crate::http::console) fn is_harmed(page: &str) -> bool {
    page.contains("<script>alert") || page.contains("<img/src=x") || page.contains("49\u{202e}")
}
