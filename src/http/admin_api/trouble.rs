//! How a directory's requests do, in words: what fails, and what to do about it. The same for commands, console,
//! `doctor` and metrics, since all of them read it here.

use serde_json::{Map, Value, json};

use crate::activity::{Failure, Kind, Refused, Trouble, Unknown};
use crate::model::{DirectoryId, Timestamp};

/// `health` of a directory.
pub(super) fn shown(directory: &DirectoryId, trouble: &Trouble) -> Value {
    let counts: Map<String, Value> = Kind::ALL
        .into_iter()
        .zip(trouble.last_hour)
        .map(|(kind, count)| (kind.as_str().to_owned(), count.into()))
        .collect();
    let worst = trouble.worst.as_ref();
    json!({
        "state": trouble.state.as_str(),
        "kind": worst.map(|(kind, _, _)| kind.as_str()),
        "since": worst.map(|(_, since, _)| since.to_string()),
        "last_hour": counts,
        "newest": worst.map(|(_, _, newest)| failure(newest)),
        "what": worst.map_or(String::new(), |(kind, _, newest)| what(*kind, newest)),
        "hint": worst.map_or(String::new(), |(kind, _, newest)| hint(directory, *kind, newest)),
    })
}

/// `unknown_tokens`.
pub(super) fn unknown(unknown: &Unknown) -> Value {
    json!({
        "last_hour": unknown.last_hour,
        "at": unknown.at.map(|at| at.to_string()),
        "client": unknown.client,
    })
}

fn failure(one: &Failure) -> Value {
    json!({
        "at": one.at.to_string(), "id": one.id, "request": one.request, "method": one.method, "route": one.route,
        "status": one.status, "scim_type": one.scim_type, "detail": one.detail, "token": one.token,
        "client": one.client, "refused": one.refused.map(Refused::as_str),
        "ended": one.ended.map(|at| at.to_string()),
    })
}

fn what(kind: Kind, one: &Failure) -> String {
    let token = one.token.as_deref().unwrap_or_default();
    let ended = || {
        let word = if one.refused == Some(Refused::Expired) { "expired" } else { "was revoked" };
        let at = one.ended.map(Timestamp::unix_seconds).map(|seconds| Timestamp(seconds * 1_000_000));
        at.map_or_else(|| word.to_owned(), |at| format!("{word} at {}", at.to_string().replace(".000Z", "Z")))
    };
    match kind {
        Kind::Refused if one.refused == Some(Refused::ClientCertificate) => {
            format!("its token `{token}` comes without the client certificate that the directory is tied to")
        }
        Kind::Refused => format!("the identity provider still uses the token `{token}`, which {}", ended()),
        Kind::OldToken => {
            let from = one.client.map_or_else(|| "somewhere".to_owned(), |client| client.to_string());
            format!(
                "the token `{token}`, which {}, is still used from {from}, besides one that works",
                ended()
            )
        }
        Kind::Rejected | Kind::Failed => {
            let keyword = one.scim_type.as_deref().map(|word| format!(" {word}")).unwrap_or_default();
            let detail = one.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let route = if one.route == "unknown" { "an address that is none" } else { &one.route };
            let inside = if one.status < 400 { ", with an operation that failed" } else { "" };
            format!("`{} {route}` is answered {}{inside}{keyword}{detail}", one.method, one.status)
        }
    }
}

fn hint(directory: &DirectoryId, kind: Kind, one: &Failure) -> String {
    match kind {
        Kind::Refused if one.refused == Some(Refused::ClientCertificate) => {
            "look at the certificate that the client shows (its end, its subject) and at `client_subject`; docs/tls.md"
                .to_owned()
        }
        Kind::Refused => {
            format!("rosterd token new {directory}, put it in at the identity provider, then force a full push there")
        }
        Kind::OldToken => "if that is one of your systems, give it the new token; if not, the old one was stolen, and \
                           was of no use: nothing is let in with it"
            .to_owned(),
        Kind::Failed => format!(
            "rosterd doctor; journalctl -u rosterd -g {} says why; the identity provider tries again, or force a full push there",
            one.request
        ),
        Kind::Rejected => rejected(one).to_owned(),
    }
}

/// What to do about a request that says something that cannot be done.
fn rejected(one: &Failure) -> &'static str {
    match (one.scim_type.as_deref().unwrap_or_default(), one.status) {
        ("uniqueness", _) => {
            "it is there already: have the identity provider look it up and link it, or map the attribute to one that is \
             unique; rosterd user show NAME"
        }
        ("invalidFilter", _) => {
            "match people by `userName` or `externalId` at the identity provider; docs/scim.md has the filters"
        }
        ("tooMany", _) | (_, 413) => {
            "have the identity provider send less at once, or raise `[server.limits] large_body_bytes_max`"
        }
        ("invalidValue" | "invalidSyntax" | "invalidPath" | "noTarget" | "mutability", _) => {
            "mend that attribute's mapping at the identity provider, then push the person or group again; what a vendor is \
             known for can be allowed by `quirks`: docs/idp-quirks.md"
        }
        (_, 404) if one.route == "unknown" => {
            "the base URL there is wrong: `rosterd directory show ID` has the right one"
        }
        (_, 404) => "it is not here (any more): force a full push at the identity provider",
        (_, 415) => {
            "have the identity provider send application/scim+json or application/json, not compressed"
        }
        _ => {
            "docs/troubleshooting.md, *The identity provider reports errors*, has each answer with what to do"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::State;

    fn trouble(kind: Kind, change: impl FnOnce(&mut Failure)) -> Value {
        let at = Timestamp::parse_rfc3339("2026-11-22T12:00:00.5Z").unwrap();
        let mut newest = Failure {
            at,
            id: 7,
            request: "r-1".into(),
            method: "POST".into(),
            route: "Users".into(),
            status: 401,
            scim_type: None,
            detail: None,
            token: Some("tok_a".into()),
            client: "192.0.2.7".parse().ok(),
            refused: Some(Refused::Revoked),
            ended: Some(at),
        };
        change(&mut newest);
        let worst = Some((kind, at, newest));
        shown(
            &DirectoryId::parse("acme").unwrap(),
            &Trouble { state: State::Failing, worst, last_hour: [1, 2, 3, 4] },
        )
    }

    #[test]
    fn each_failure_is_told_with_what_to_do() {
        let said = |value: &Value| value["what"].as_str().unwrap().to_owned();
        let refused = trouble(Kind::Refused, |_| {});
        assert_eq!(
            said(&refused),
            "the identity provider still uses the token `tok_a`, which was revoked at 2026-11-22T12:00:00Z"
        );
        assert!(refused["hint"].as_str().unwrap().starts_with("rosterd token new acme,"), "{refused}");
        assert_eq!(refused["last_hour"], json!({"refused": 1, "rejected": 2, "failed": 3, "old_token": 4}));
        let old = trouble(Kind::OldToken, |one| one.refused = Some(Refused::Expired));
        assert!(said(&old).contains("which expired at") && said(&old).contains("from 192.0.2.7"), "{old}");
        let taken = trouble(Kind::Rejected, |one| {
            (one.status, one.scim_type) = (409, Some("uniqueness".into()));
            one.detail = Some("attribute `userName` is in use by another user".into());
        });
        let wanted =
            "`POST Users` is answered 409 uniqueness: attribute `userName` is in use by another user";
        assert_eq!(said(&taken), wanted);
        for (kind, status) in [
            (Kind::Refused, 401),
            (Kind::OldToken, 401),
            (Kind::Rejected, 400),
            (Kind::Rejected, 405),
            (Kind::Failed, 500),
        ] {
            let value = trouble(kind, |one| one.status = status);
            assert!(value["hint"].as_str().is_some_and(|hint| hint.len() > 20), "{value}");
        }
        let well = shown(&DirectoryId::parse("acme").unwrap(), &Trouble::default());
        assert_eq!(
            (&well["state"], &well["newest"], &well["what"]),
            (&json!("ok"), &Value::Null, &json!(""))
        );
    }
}
