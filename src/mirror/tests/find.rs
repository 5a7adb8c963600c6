use super::super::find::{self, Wanted};
use super::super::{member, query};
use super::{Store, add_directory};
use crate::model::ResourceType;
use serde_json::json;

fn names(store: &Store, text: &str, active: Option<bool>) -> Vec<String> {
    let wanted = Wanted { text: text.to_owned(), active };
    let found =
        store.read(|tx| Ok(find::by_beginning(tx, &store.acme, ResourceType::User, &wanted, 0, 100)?));
    found
        .items
        .iter()
        .map(|one| serde_json::from_str::<serde_json::Value>(&one.doc_text).unwrap()["userName"].clone())
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_beginning_finds_by_each_name_and_by_nothing_else() {
    let store = Store::new();
    let (ada, bob) = (store.user("ada@example.com"), store.user("bob@example.com"));
    store.set(&ada, "displayName", json!("Ärmel Lovelace")).unwrap();
    store.set(&bob, "externalId", json!("HR-77")).unwrap();
    store.set(&bob, "emails", json!([{"value": "Robert@example.org", "type": "work"}])).unwrap();
    store.group("ada's crew", &[]);
    assert_eq!(names(&store, "ADA", None), ["ada@example.com"]);
    assert_eq!(names(&store, " ärmel l", None), ["ada@example.com"]);
    assert_eq!(names(&store, "HR-7", None), ["bob@example.com"]);
    assert_eq!(names(&store, "hr-7", None), Vec::<String>::new(), "an externalId is exact about case");
    assert_eq!(names(&store, "robert@", None), ["bob@example.com"]);
    assert_eq!(names(&store, "example.com", None), Vec::<String>::new(), "beginnings only");
    assert_eq!(names(&store, "%", None), Vec::<String>::new());
    assert_eq!(names(&store, "", None).len(), 2);
    store.set(&bob, "active", json!(false)).unwrap();
    assert_eq!(names(&store, "", Some(false)), ["bob@example.com"]);
    assert_eq!(names(&store, "bob", Some(true)), Vec::<String>::new());
    let other = add_directory(&store.mirror, "other");
    let wanted = Wanted { text: "ada".into(), active: None };
    let found = store.read(|tx| Ok(find::by_beginning(tx, &other, ResourceType::User, &wanted, 0, 9)?));
    assert_eq!(found.items, []);
}

#[test]
fn pages_follow_each_other_without_a_gap() {
    let store = Store::new();
    let all: Vec<_> = (0..7).map(|n| store.user(&format!("u{n}@example.com"))).collect();
    for (text, total) in [("", 7), ("u", 7), ("u3", 1)] {
        let wanted = Wanted { text: text.into(), active: None };
        let (mut after, mut seen) = (0, Vec::new());
        loop {
            let found = store
                .read(|tx| Ok(find::by_beginning(tx, &store.acme, ResourceType::User, &wanted, after, 3)?));
            seen.extend(found.items.iter().map(|one| one.id));
            match found.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(seen.len(), total, "{text}");
    }
    let group = store.group("Crew", &all.iter().collect::<Vec<_>>());
    let (first, next) = store.read(|tx| Ok(member::members_page(tx, &store.acme, &group, 0, 4)?));
    let (rest, end) = store.read(|tx| Ok(member::members_page(tx, &store.acme, &group, next.unwrap(), 4)?));
    let seen: Vec<_> = first.iter().chain(&rest).map(|one| one.id).collect();
    assert_eq!((seen, end), (all.iter().map(|one| one.id).collect(), None));
    let (page, next) =
        store.read(|tx| Ok(query::page_behind(tx, &store.acme, ResourceType::User, None, 0, 5)?));
    assert_eq!((page.len(), next), (5, Some(page[4].rid)));
}

#[test]
fn the_oldest_is_named() {
    let store = Store::new();
    assert_eq!(store.read(|tx| Ok(find::oldest(tx, &store.acme, ResourceType::User)?)), None);
    let first = store.user("ada@example.com");
    store.user("bob@example.com");
    let found = store.read(|tx| Ok(find::oldest(tx, &store.acme, ResourceType::User)?)).unwrap();
    assert_eq!((found.id, found.label.as_str()), (first.id, "D ada@example.com"));
}
