use std::time::Duration;

use serde_json::json;

use super::super::marks::Client;
use super::super::{Error, Refusal, config_version, directory, token};
use super::{Store, add_directory};
use crate::model::{Origin, Secret, Timestamp};
use token::Holder;

fn mint(store: &Store, expires: Option<Timestamp>) -> (token::Token, Secret) {
    store.write(move |tx, acme| token::mint(tx, Holder::Directory(&acme.id), "note", expires)).unwrap()
}

fn presented(store: &Store, text: &str) -> token::Presented {
    store.read(|tx| Ok(token::authenticate(tx, text)?))
}

fn principal(store: &Store, text: &str) -> Option<token::Principal> {
    match presented(store, text) {
        token::Presented::Live(principal) => Some(principal),
        _ => None,
    }
}

#[test]
fn a_token_that_ended_is_known_for_whose_it_was_and_since_when() {
    let store = Store::new();
    let ends = super::START.plus(Duration::from_mins(10));
    let (first, text) = mint(&store, Some(ends));
    let (other, short) = mint(&store, Some(ends));
    store.clock.advance(Duration::from_mins(5));
    let id = first.id.clone();
    store.write(move |tx, _| token::revoke(tx, &id)).unwrap();
    store.clock.advance(Duration::from_mins(6));
    let ended = |token: &token::Token, at, revoked| token::Presented::Ended {
        token: token.id.clone(),
        directory: store.acme.id.clone(),
        at,
        revoked,
    };
    let half = super::START.plus(Duration::from_mins(5));
    assert_eq!(presented(&store, text.expose()), ended(&first, half, true));
    assert_eq!(presented(&store, short.expose()), ended(&other, ends, false));
    store.write(move |tx, _| token::revoke(tx, &other.id)).unwrap();
    assert!(matches!(presented(&store, short.expose()), token::Presented::Ended { revoked: false, .. }));
    assert_eq!(presented(&store, &"y".repeat(40)), token::Presented::Unknown);
    store.write(|tx, acme| directory::remove(tx, &acme.id)).unwrap();
    assert_eq!(presented(&store, text.expose()), token::Presented::Unknown, "nothing is left of it");
}

#[test]
fn a_minted_token_has_prefix_and_checksum_and_speaks_for_its_directory() {
    let store = Store::new();
    let (made, secret) = mint(&store, None);
    let text = secret.expose();
    assert!(token::is_well_formed(text), "{text}");
    assert_eq!(text.len(), 44);
    let found = principal(&store, text).unwrap();
    assert_eq!((found.token, found.directory, found.enabled), (made.id, store.acme.clone(), true));
    let mut mistyped = text.to_owned();
    let last = if mistyped.pop() == Some('a') { 'b' } else { 'a' };
    mistyped.push(last);
    assert!(!token::is_well_formed(&mistyped));
    for bad in ["", "x", "rosterd_", &mistyped, &format!("{text} "), &"y".repeat(40), "rosterd_ä"] {
        assert_eq!(principal(&store, bad), None, "{bad}");
    }
}

#[test]
fn revoked_expired_and_removed_tokens_are_refused_at_once() {
    let store = Store::new();
    let (first, text) = mint(&store, None);
    let (_, short) = mint(&store, Some(super::START.plus(Duration::from_mins(1))));
    assert!(principal(&store, short.expose()).is_some());
    store.clock.advance(Duration::from_mins(1));
    assert_eq!(principal(&store, short.expose()), None);
    let id = first.id.clone();
    store.write(move |tx, _| token::revoke(tx, &id)).unwrap();
    assert_eq!(principal(&store, text.expose()), None);
    let seq = store.seq();
    store.write(move |tx, _| token::revoke(tx, &first.id)).unwrap();
    assert_eq!(store.seq(), seq, "revoking again changes nothing");
    let (_, third) = mint(&store, None);
    let removed = store.write(|tx, acme| directory::remove(tx, &acme.id));
    removed.unwrap();
    assert_eq!(principal(&store, third.expose()), None);
}

#[test]
fn a_disabled_directory_is_seen_in_the_principal() {
    let store = Store::new();
    let (_, text) = mint(&store, None);
    store.write(|tx, acme| directory::set_enabled(tx, &acme.id, false)).unwrap();
    assert!(!principal(&store, text.expose()).unwrap().enabled);
}

#[test]
fn configured_tokens_follow_the_configuration() {
    let store = Store::new();
    let (a, b) = ("a".repeat(32), "b".repeat(40));
    let set = |secrets: &[&str]| {
        let secrets: Vec<_> = secrets.iter().map(|text| Secret::new((*text).to_owned())).collect();
        store.write(move |tx, acme| token::configure(tx, Holder::Directory(&acme.id), &secrets))
    };
    set(&[&a]).unwrap();
    let seq = store.seq();
    set(&[&a]).unwrap();
    assert_eq!(store.seq(), seq);
    set(&[&b]).unwrap();
    assert!(principal(&store, &a).is_none() && principal(&store, &b).is_some());
    set(&[&a, &b]).unwrap();
    assert!(principal(&store, &a).is_some() && principal(&store, &b).is_some());
    assert!(matches!(set(&["short"]).unwrap_err(), Error::Refused(Refusal::Invalid(_))));
    let other = add_directory(&store.mirror, "other");
    let twice = store.write(move |tx, _| {
        token::configure(tx, Holder::Directory(&other.id), &[Secret::new("a".repeat(32))])
    });
    assert!(matches!(twice.unwrap_err(), Error::Refused(Refusal::Invalid(_))));
}

#[test]
fn readers_and_directories_never_pass_for_each_other() {
    let store = Store::new();
    let (_, text) = mint(&store, None);
    let (_, reader) = store.write(|tx, _| token::mint(tx, Holder::Reader("opa"), "", None)).unwrap();
    assert_eq!(principal(&store, reader.expose()), None);
    let as_reader = |text: &str| store.read(|tx| Ok(token::authenticate_reader(tx, text)?));
    assert_eq!(as_reader(reader.expose()).unwrap().name, "opa");
    assert_eq!(as_reader(text.expose()), None);
}

#[test]
fn last_use_and_last_push_are_flushed_in_one_small_write() {
    let store = Store::new();
    let (made, text) = mint(&store, None);
    let found = principal(&store, text.expose()).unwrap();
    store.clock.advance(Duration::from_secs(5));
    let client = Client::new("192.0.2.7".parse().ok(), Some("SCIM\u{7}Probe/1.0"));
    store.mirror.note_use(&found, false, client.clone());
    store.clock.advance(Duration::from_secs(5));
    store.mirror.note_use(&found, true, client.clone());
    assert_eq!(store.mirror.last_push(&store.acme), Some(super::START.plus(Duration::from_secs(10))));
    let seq = store.seq();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.mirror.flush_marks()).unwrap();
    assert_eq!(store.seq(), seq, "marks are no changes");
    let tokens = store.read(|tx| Ok(token::list(tx, Some(&store.acme))?));
    assert_eq!((&tokens[0].id, tokens[0].last_used_at.is_some()), (&made.id, true));
    let acme = store.read(|tx| Ok(directory::find(tx, &store.acme.id)?)).unwrap();
    assert_eq!(acme.last_push_at, store.mirror.last_push(&store.acme));
    assert_eq!((tokens[0].last_client.clone(), client.agent()), (client.clone(), Some("SCIMProbe/1.0")));
    let contact = acme.contact.clone().unwrap();
    let five = super::START.plus(Duration::from_secs(5));
    assert_eq!(
        (contact.first_at, contact.tested_at, contact.client.clone()),
        (five, Some(five), client.clone())
    );
    assert_eq!(store.mirror.contact(&acme), Some(contact), "memory and store agree");
    // Later requests move the last one alone.
    store.clock.advance(Duration::from_secs(5));
    store.mirror.note_use(&found, false, Client::new(None, None));
    runtime.block_on(store.mirror.flush_marks()).unwrap();
    let acme = store.read(|tx| Ok(directory::find(tx, &store.acme.id)?)).unwrap();
    let contact = acme.contact.unwrap();
    assert_eq!((contact.first_at, contact.tested_at, contact.client.address()), (five, Some(five), None));
}

#[test]
fn a_config_version_is_a_change_only_when_it_differs() {
    let store = Store::new();
    let accept = |body: serde_json::Value| -> Option<crate::model::Seq> {
        let done: Result<_, Error> =
            store.mirror.write_blocking(Origin::daemon(), move |tx| Ok(config_version::accept(tx, &body)?));
        done.unwrap()
    };
    assert!(accept(json!({"roles": ["a"]})).is_some());
    assert_eq!(accept(json!({"roles": ["a"]})), None);
    assert!(accept(json!({"roles": ["b"]})).is_some());
    let latest = store.read(|tx| Ok(config_version::latest(tx)?)).unwrap();
    assert_eq!(latest.1, json!({"roles": ["b"]}));
}

#[test]
fn directories_are_added_once_renamed_and_given_free_ids() {
    let store = Store::new();
    let id = store.acme.id.clone();
    let twice = store.write(move |tx, _| directory::add(tx, &id, "Again", crate::model::DirectoryKind::Okta));
    assert!(matches!(twice.unwrap_err(), Error::Refused(Refusal::Exists(_))));
    let renamed = store.write(|tx, acme| directory::rename(tx, &acme.id, "Other")).unwrap();
    assert_eq!(renamed.name, "Other");
    let free = |name: &str| store.read(|tx| Ok(directory::free_id(tx, name)?)).to_string();
    assert_eq!(free("Acme"), "acme-2");
    assert_eq!(free("  Größe & Söhne (EU) "), "gr-e-s-hne-eu");
    assert_eq!(free("??"), "directory");
}
