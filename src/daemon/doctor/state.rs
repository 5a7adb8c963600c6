//! What the daemon says of itself.

use serde_json::Value;

use crate::model::{Clock as _, SystemClock, Timestamp};

use super::{Finding, Said};

/// A token that ends sooner than this should be replaced now.
const EXPIRY_DAYS: u64 = 14;
/// A token older than this is worth replacing.
const AGE_DAYS: u64 = 365;
/// Silence that is worth a look where `expect_every` says nothing.
const SILENCE_DAYS: u64 = 7;

pub(super) fn said(said: &Said) -> Vec<Finding> {
    let now = SystemClock.now();
    let mut found = Vec::new();
    let status = match &said.status {
        Ok(status) => status,
        Err(why) => {
            found.push(Finding::fail(
                "D012",
                why.clone(),
                "systemctl status rosterd; journalctl -u rosterd -n 50",
            ));
            return found;
        }
    };
    found.push(daemon(status));
    found.extend(list(status, "targets").iter().map(target));
    found.extend(list(status, "directories").iter().map(|one| directory(one, now)));
    if let Some(tokens) = &said.tokens {
        found.extend(list(tokens, "tokens").iter().filter_map(|one| token(one, now)));
    }
    found
}

fn daemon(status: &Value) -> Finding {
    let (version, ours) = (text(status, "version"), env!("CARGO_PKG_VERSION"));
    if !status.get("ready").and_then(Value::as_bool).unwrap_or(false) {
        let why = match text(status, "not_ready_because") {
            "" => "no reason given",
            why => why,
        };
        return Finding::fail("D012", format!("not ready: {why}"), "journalctl -u rosterd -n 50");
    }
    if version != ours {
        let what = format!("the daemon is {version}, this command {ours}");
        return Finding::warn("D012", what, "systemctl restart rosterd");
    }
    Finding::ok("D012", format!("the daemon answers, version {version}"))
}

fn target(target: &Value) -> Finding {
    let (name, state) = (text(target, "name"), text(target, "state"));
    let error = match text(target, "last_error") {
        "" => String::new(),
        error => format!(": {error}"),
    };
    let what = format!("target `{name}` is {state}{error}");
    let hint = match state {
        "in_sync" | "pending" => return Finding::ok("D013", what),
        "waiting" => "let the identity provider push",
        "held" => "rosterd plan, then rosterd approve or rosterd reject",
        "drifted" => "rosterd plan, then rosterd sync",
        "foreign" => "rosterd plan, then rosterd sync TARGET --adopt",
        "unverified" => "rosterd directory rebaseline ID --within 24h, or rosterd approve TARGET --restored",
        "failing" => return Finding::fail("D013", what, "mend what it says; it is tried again by itself"),
        "disabled" => return Finding::fail("D013", what, "mend the receiver, then change its settings"),
        _ => "rosterd status",
    };
    Finding::warn("D013", what, hint)
}

fn directory(one: &Value, now: Timestamp) -> Finding {
    let id = text(one, "id");
    let is = |key: &str| one.get(key).and_then(Value::as_bool).unwrap_or(false);
    if !is("enabled") {
        let what = format!("directory `{id}` is disabled: its access is frozen");
        return Finding::warn("D014", what, format!("rosterd directory enable {id}"));
    }
    let health = one.get("health").unwrap_or(&Value::Null);
    let what = format!("directory `{id}`: {}", text(health, "what"));
    match text(health, "state") {
        "failing" => return Finding::fail("D014", what, text(health, "hint")),
        "errors" => return Finding::warn("D014", what, text(health, "hint")),
        _ => {}
    }
    let look = "look at the provisioning log there: token, quarantine, address";
    if is("silent") {
        return Finding::warn(
            "D014",
            format!("directory `{id}` is silent for longer than `expect_every`"),
            look,
        );
    }
    let unconfirmed = one.get("unconfirmed").and_then(Value::as_u64).unwrap_or(0);
    if unconfirmed > 0 {
        let what = format!("directory `{id}`: {unconfirmed} users were not named in a re-baseline");
        return Finding::warn("D014", what, format!("rosterd directory show {id}, then rosterd plan"));
    }
    match days_since(one, "last_heard", now) {
        Some(days) if days >= SILENCE_DAYS => {
            Finding::warn("D014", format!("directory `{id}` was last heard of {days} days ago"), look)
        }
        _ => Finding::ok("D014", format!("directory `{id}` is heard of")),
    }
}

fn token(one: &Value, now: Timestamp) -> Option<Finding> {
    let id = text(one, "id");
    if !text(one, "revoked").is_empty() {
        return None;
    }
    let holder = match text(one, "directory") {
        "" => text(one, "reader"),
        directory => directory,
    };
    let replace = format!("rosterd token new {holder}, put it in, then rosterd token revoke {id}");
    if let Some(ends) = Timestamp::parse_rfc3339(text(one, "expires")) {
        if ends <= now {
            return Some(Finding::fail("D015", format!("token {id} of `{holder}` has expired"), replace));
        }
        let days = ends.since(now).as_secs() / 86_400;
        if days < EXPIRY_DAYS {
            let what = format!("token {id} of `{holder}` expires in {days} days");
            return Some(Finding::warn("D015", what, replace));
        }
    }
    let age = days_since(one, "created", now).unwrap_or(0);
    if age >= AGE_DAYS {
        return Some(Finding::warn("D015", format!("token {id} of `{holder}` is {age} days old"), replace));
    }
    Some(Finding::ok("D015", format!("token {id} of `{holder}` is {age} days old")))
}

fn days_since(value: &Value, key: &str, now: Timestamp) -> Option<u64> {
    Timestamp::parse_rfc3339(text(value, key)).map(|at| now.since(at).as_secs() / 86_400)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Level;
    use super::*;

    fn at(days: i64) -> String {
        Timestamp(SystemClock.now().0 + days * 86_400_000_000).to_string()
    }

    #[test]
    fn states_of_targets_are_told_apart() {
        let level = |state: &str| target(&json!({"name": "opa", "state": state})).level;
        assert_eq!(level("in_sync"), Level::Ok);
        assert_eq!(level("failing"), Level::Fail);
        for state in ["held", "drifted", "unverified", "something new"] {
            assert_eq!(level(state), Level::Warn, "{state}");
        }
    }

    #[test]
    fn tokens_that_end_or_are_old_are_told() {
        let level = |value: Value| token(&value, SystemClock.now()).map(|one| one.level);
        assert_eq!(level(json!({"id": "t", "expires": at(-1)})), Some(Level::Fail));
        assert_eq!(level(json!({"id": "t", "expires": at(3)})), Some(Level::Warn));
        assert_eq!(level(json!({"id": "t", "created": at(-400)})), Some(Level::Warn));
        assert_eq!(level(json!({"id": "t", "created": at(-4), "expires": at(90)})), Some(Level::Ok));
        assert_eq!(level(json!({"id": "t", "expires": at(-1), "revoked": at(-2)})), None);
    }

    #[test]
    fn quiet_and_frozen_directories_are_told() {
        let level = |value: Value| directory(&value, SystemClock.now()).level;
        assert_eq!(level(json!({"id": "a", "enabled": true, "last_heard": at(0)})), Level::Ok);
        assert_eq!(level(json!({"id": "a", "enabled": false, "last_heard": at(0)})), Level::Warn);
        assert_eq!(level(json!({"id": "a", "enabled": true, "last_heard": at(-30)})), Level::Warn);
        assert_eq!(level(json!({"id": "a", "enabled": true, "silent": true})), Level::Warn);
        let health = |state: &str| json!({"id": "a", "enabled": true, "last_heard": at(0), "health": {"state": state}});
        assert_eq!(level(health("ok")), Level::Ok);
        assert_eq!(level(health("errors")), Level::Warn);
        assert_eq!(level(health("failing")), Level::Fail);
    }
}
