use super::*;
use crate::model::{DirectoryId, RequestId, TokenId};

/// Minutes after an arbitrary noon.
fn at(minutes: i64) -> Timestamp {
    Timestamp(Timestamp::parse_rfc3339("2026-11-20T12:00:00Z").unwrap().0 + minutes * MINUTE_MICROS)
}

/// A good request of the token `tok_b` at a minute.
fn row(minutes: i64) -> Row {
    let entry = super::super::Entry {
        request: RequestId::parse("r-1").unwrap(),
        at: at(minutes),
        took: Duration::ZERO,
        directory: DirectoryId::parse("acme").ok(),
        token: TokenId::parse("tok_b").ok(),
        refused: None,
        ended: None,
        client: "192.0.2.7".parse().ok(),
        method: "POST",
        route: "Users",
        target: "/scim/v2/Users".to_owned(),
        agent: None,
        status: 201,
        quirks: Vec::new(),
        request_bytes: 0,
        answer_bytes: 0,
        error: None,
        raw: None,
    };
    super::super::entry::row(1, entry, None)
}

fn get(minutes: i64) -> Row {
    Row { method: "GET".to_owned(), status: 200, ..row(minutes) }
}

fn failed(minutes: i64, status: u16) -> Row {
    Row { status, scim_type: Some("uniqueness".to_owned()), ..row(minutes) }
}

/// A request with a token that ended at a minute.
fn refused(minutes: i64, token: &str, ended: i64) -> Row {
    let (refused, ended) = (Some(Refused::Revoked), Some(at(ended)));
    Row { status: 401, token: Some(token.to_owned()), refused, ended, ..row(minutes) }
}

fn after(rows: &[Row]) -> Troubles {
    let mut troubles = Troubles::default();
    for row in rows {
        troubles.note(row);
    }
    troubles
}

fn seen(troubles: &Troubles, now: i64) -> (State, Option<(Kind, i64)>, [u64; 4]) {
    let trouble = troubles.of("acme", at(now), at(-1_000), None);
    let since = |at: Timestamp| (at.0 - self::at(0).0) / MINUTE_MICROS;
    (trouble.state, trouble.worst.map(|(kind, from, _)| (kind, since(from))), trouble.last_hour)
}

#[test]
fn a_failed_push_stands_until_a_push_succeeds_and_a_look_up_does_not_mend_it() {
    let mut troubles = after(&[row(0), failed(1, 409), failed(3, 409)]);
    let failing = (State::Failing, Some((Kind::Rejected, 1)), [0, 2, 0, 0]);
    assert_eq!(seen(&troubles, 4), failing);
    troubles.note(&get(5));
    assert_eq!(seen(&troubles, 6), failing);
    // Nobody tries again: it stands, though the hour is over.
    assert_eq!(seen(&troubles, 300), (State::Failing, Some((Kind::Rejected, 1)), [0; 4]));
    troubles.note(&row(7));
    assert_eq!(seen(&troubles, 8), (State::Errors, Some((Kind::Rejected, 1)), [0, 2, 0, 0]));
    assert_eq!(seen(&troubles, 64), (State::Ok, None, [0; 4]));
    // What comes after an hour without is another trouble.
    troubles.note(&failed(100, 400));
    assert_eq!(seen(&troubles, 101), (State::Failing, Some((Kind::Rejected, 100)), [0, 1, 0, 0]));
    assert_eq!(seen(&troubles, 100 + 7 * 24 * 60), (State::Ok, None, [0; 4]), "it is forgotten in a week");
}

#[test]
fn a_failed_look_up_is_mended_by_one() {
    let troubles = after(&[Row { status: 400, ..get(0) }, get(1)]);
    assert_eq!(seen(&troubles, 2).0, State::Errors);
    let troubles = after(&[Row { status: 400, ..get(0) }]);
    assert_eq!(seen(&troubles, 2).0, State::Failing);
}

#[test]
fn answers_that_are_no_mistake_are_none() {
    let absent = Row { status: 404, route: "Users/{id}".to_owned(), ..get(0) };
    let gone = Row { method: "DELETE".to_owned(), ..absent.clone() };
    let moved = Row { status: 412, ..row(0) };
    let busy = Row { status: 429, ..row(0) };
    let disabled = Row { status: 503, refused: Some(Refused::Disabled), ..row(0) };
    let me = Row { status: 501, ..get(0) };
    let troubles = after(&[absent.clone(), gone, moved, busy, disabled, me]);
    assert_eq!(seen(&troubles, 1), (State::Ok, None, [0; 4]));
    for mistake in [
        Row { method: "PATCH".to_owned(), ..absent.clone() },
        Row { route: "unknown".to_owned(), ..absent },
        Row { status: 413, ..row(0) },
        // One operation of a bulk request.
        Row { status: 200, detail: Some("no".to_owned()), ..row(0) },
    ] {
        assert_eq!(
            seen(&after(std::slice::from_ref(&mistake)), 1).1,
            Some((Kind::Rejected, 0)),
            "{mistake:?}"
        );
    }
    assert_eq!(seen(&after(&[Row { status: 503, ..row(0) }]), 1).1, Some((Kind::Failed, 0)));
}

#[test]
fn the_provider_whose_token_ends_fails_until_it_has_another() {
    // It speaks with `tok_b`, which is revoked at minute 5; a request that was under way is answered just after.
    let mut troubles = after(&[row(1), row(5), refused(6, "tok_b", 5), refused(7, "tok_b", 5)]);
    assert_eq!(seen(&troubles, 8), (State::Failing, Some((Kind::Refused, 6)), [2, 0, 0, 0]));
    // Another that was tried once before, and not saved there, does not hide it.
    troubles = after(&[Row { token: Some("tok_c".to_owned()), ..row(1) }, refused(6, "tok_b", 5)]);
    assert_eq!(seen(&troubles, 8).0, State::Failing);
    troubles.note(&Row { token: Some("tok_c".to_owned()), ..get(9) });
    assert_eq!(seen(&troubles, 10), (State::Ok, None, [1, 0, 0, 0]));
}

#[test]
fn who_has_an_old_token_cannot_make_a_directory_fail_that_uses_another() {
    // The provider moved on to `tok_b` after `tok_a` had ended; it is quiet, and a thief is not.
    let mut troubles = after(&[row(10)]);
    for minute in 20..30 {
        troubles.note(&refused(minute, "tok_a", 5));
    }
    assert_eq!(seen(&troubles, 30), (State::Errors, Some((Kind::OldToken, 20)), [0, 0, 0, 10]));
    assert_eq!(seen(&troubles, 100), (State::Ok, None, [0; 4]));
    // Nor can he hide that the provider's own is refused, before or after.
    troubles.note(&refused(101, "tok_b", 40));
    troubles.note(&refused(102, "tok_a", 5));
    let found = troubles.of("acme", at(103), at(-1_000), None);
    let (kind, _, newest) = found.worst.unwrap();
    assert_eq!((found.state, kind, newest.token.as_deref()), (State::Failing, Kind::Refused, Some("tok_b")));
    assert_eq!(found.last_hour, [1, 0, 0, 1]);
    // After a restart without a log the mirror alone knows that it was heard of since.
    let troubles = after(&[refused(20, "tok_a", 5)]);
    assert_eq!(troubles.of("acme", at(21), at(-1_000), Some(at(10))).state, State::Errors);
    assert_eq!(troubles.of("acme", at(21), at(-1_000), Some(at(5))).state, State::Failing);
    assert_eq!(troubles.of("acme", at(21), at(-1_000), Some(at(21))).state, State::Ok);
}

#[test]
fn a_stranger_charges_no_directory() {
    let stranger =
        Row { directory: None, token: None, refused: Some(Refused::Unknown), status: 401, ..row(0) };
    let mut troubles = Troubles::default();
    for minute in 0..200 {
        for _ in 0..10 {
            troubles.note(&Row { at: at(minute), ..stranger.clone() });
        }
    }
    assert!(troubles.directories.is_empty());
    let unknown = troubles.unknown(at(199));
    assert_eq!(
        (unknown.last_hour, unknown.at, unknown.client),
        (600, Some(at(199)), "192.0.2.7".parse().ok())
    );
    assert_eq!(troubles.unknown(at(300)), Unknown::default());
    assert_eq!(seen(&troubles, 199), (State::Ok, None, [0; 4]));
}

#[test]
fn the_worst_is_told_first_and_another_directory_of_the_same_id_starts_anew() {
    let certificate = Row { refused: Some(Refused::ClientCertificate), status: 401, ..row(3) };
    let troubles = after(&[failed(0, 409), row(1), failed(2, 500), certificate]);
    assert_eq!(seen(&troubles, 4), (State::Failing, Some((Kind::Refused, 3)), [1, 1, 1, 0]));
    let troubles = after(&[failed(0, 409), row(1), failed(2, 500)]);
    assert_eq!(seen(&troubles, 4).1, Some((Kind::Failed, 2)), "what stands goes before what passed");
    assert_eq!(troubles.of("acme", at(4), at(3), None).state, State::Ok);
    assert_eq!(troubles.of("other", at(4), at(-1_000), None), Trouble::default());
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut troubles = Troubles::default();
    for n in 0..DIRECTORIES_MAX + 100 {
        troubles.note(&Row { directory: Some(format!("d{n}")), ..failed(i64::try_from(n).unwrap(), 409) });
    }
    assert_eq!(troubles.directories.len(), DIRECTORIES_MAX);
    assert!(!troubles.directories.contains_key("d0") && troubles.directories.contains_key("d4100"));
}
