use serde_json::json;

use super::super::{directory, resource};
use super::{Store, add_directory, doc, group, status, user};
use crate::model::{Origin, ResourceType};
use crate::scim::etag::Precondition;
use crate::scim::resource::Draft;
use crate::scim::schema::Registry;

#[test]
fn a_resource_is_found_in_its_own_directory_and_type_only() {
    let store = Store::new();
    let mira = store.user("mira");
    let other = add_directory(&store.mirror, "other");
    assert_eq!(store.find(&mira), Some(mira.clone()));
    let find =
        |dir: &super::DirectoryRef, kind| store.read(|tx| Ok(resource::find(tx, dir, kind, &mira.id)?));
    assert_eq!(find(&other, ResourceType::User), None);
    assert_eq!(find(&store.acme, ResourceType::Group), None);
}

#[test]
fn a_user_name_is_unique_per_directory_whatever_its_letter_case() {
    let store = Store::new();
    store.user("mira");
    let mut twin = user("MIRA");
    twin.doc.shift_remove("externalId");
    let again = twin.clone();
    let error = store.write(|tx, acme| resource::create(tx, acme, ResourceType::User, twin)).unwrap_err();
    assert_eq!(status(&error), (409, Some("uniqueness")));
    assert!(error.to_string().contains("userName"), "{error}");
    let other = add_directory(&store.mirror, "other");
    store.write(move |tx, _| resource::create(tx, &other, ResourceType::User, again)).unwrap();
    let noor = store.user("noor");
    let error = store.set(&noor, "userName", json!("Mira")).unwrap_err();
    assert_eq!(status(&error), (409, Some("uniqueness")));
    assert_eq!(store.find(&noor), Some(noor));
}

#[test]
fn an_external_id_is_unique_per_type_and_case_exact() {
    let store = Store::new();
    store.user("mira");
    let make = |name: &str, external: &str| {
        let mut draft = user(name);
        draft.doc.insert("externalId".into(), external.into());
        store.write(|tx, acme| resource::create(tx, acme, ResourceType::User, draft))
    };
    let error = make("noor", "ext-mira").unwrap_err();
    assert_eq!(status(&error), (409, Some("uniqueness")));
    assert!(error.to_string().contains("externalId"), "{error}");
    make("noor", "EXT-mira").unwrap();
}

#[test]
fn groups_share_a_name_only_when_both_have_an_external_id() {
    let store = Store::new();
    let make = |external: Option<&str>| {
        let mut draft = group("Admins", &[]);
        if let Some(external) = external {
            draft.doc.insert("externalId".into(), external.into());
        }
        store.write(|tx, acme| resource::create(tx, acme, ResourceType::Group, draft))
    };
    make(Some("1")).unwrap();
    make(Some("2")).unwrap();
    assert_eq!(status(&make(None).unwrap_err()), (409, Some("uniqueness")));
    assert_eq!(status(&make(Some("2")).unwrap_err()), (409, Some("uniqueness")));
}

#[test]
fn a_replace_clears_what_it_omits_but_keeps_active() {
    let store = Store::new();
    let mira = store.user("mira");
    let off = store.set(&mira, "active", json!(false)).unwrap();
    let id = mira.id;
    let draft = Draft { doc: doc(json!({"userName": "mira", "title": "Boss"})), members: None };
    let schema = Registry::standard().resource(ResourceType::User).clone();
    let put = store
        .write(move |tx, acme| resource::replace(tx, acme, &schema, &id, &Precondition::default(), draft))
        .unwrap();
    assert_eq!((off.version, put.version), (2, 3));
    let text: serde_json::Value = serde_json::from_str(&put.doc_text).unwrap();
    assert_eq!(text, json!({"userName": "mira", "title": "Boss", "active": false}));
}

#[test]
fn a_stale_version_is_refused_before_anything_happens() {
    let store = Store::new();
    let mira = store.user("mira");
    let id = mira.id;
    let stale = Precondition::new(Some("W/\"7\""), None);
    let error =
        store.write(move |tx, acme| resource::delete(tx, acme, ResourceType::User, &id, &stale)).unwrap_err();
    assert_eq!(status(&error), (412, None));
    assert_eq!(store.find(&mira), Some(mira));
}

#[test]
fn a_deleted_user_name_may_be_used_again_under_another_id() {
    let store = Store::new();
    let mira = store.user("mira");
    store.delete(&mira).unwrap();
    assert_eq!(status(&store.delete(&mira).unwrap_err()), (404, None));
    assert_ne!(store.user("mira").id, mira.id);
}

#[test]
fn counters_and_the_first_push_are_kept() {
    let store = Store::new();
    let seen = |store: &Store| store.read(|tx| Ok(directory::find(tx, &store.acme.id)?)).unwrap();
    assert_eq!(seen(&store).pushed_at, None);
    let mira = store.user("mira");
    store.user("noor");
    store.group("Admins", &[&mira]);
    store.delete(&mira).unwrap();
    let acme = seen(&store);
    assert_eq!((acme.users, acme.groups, acme.pushed_at), (1, 1, Some(super::START)));
}

#[test]
fn a_removed_directory_leaves_nothing_behind() {
    let store = Store::new();
    let mira = store.user("mira");
    store.group("Admins", &[&mira]);
    let id = store.acme.id.clone();
    let gone: Result<(), super::Error> =
        store.mirror.write_blocking(Origin::daemon(), move |tx| directory::remove(tx, &id));
    gone.unwrap();
    assert_eq!(store.find(&mira), None);
    let again = add_directory(&store.mirror, "acme");
    assert_ne!(again, store.acme);
    let draft = user("mira");
    store.write(move |tx, _| resource::create(tx, &again, ResourceType::User, draft)).unwrap();
    let report = store.read(|tx| Ok(super::super::verify::verify(tx)?));
    assert_eq!(report.faults, Vec::<String>::new());
}
