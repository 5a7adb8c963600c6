//! Differences of access as events.

use serde_json::{Map, Value, json};

use crate::access::Entitlement;
use crate::mirror::target::Holding;
use crate::model::{Seq, Timestamp};

use super::kind::Kind;
use super::{Event, Person, cut};

/// `access.granted` or `access.revoked` for one entitlement.
pub fn of_access(holding: &Holding, label: &str, why: &str, granted: bool, seq: Seq, at: Timestamp) -> Event {
    let kind = if granted { Kind::AccessGranted } else { Kind::AccessRevoked };
    told(kind, holding, label, why, seq, at)
}

/// One entitlement, said under a type of the `access` family.
pub(super) fn told(kind: Kind, holding: &Holding, label: &str, why: &str, seq: Seq, at: Timestamp) -> Event {
    let user = holding.subject.user;
    let role = match &holding.entitlement {
        Entitlement::Role(name) => name.to_string(),
        Entitlement::Group(..) => label.to_owned(),
    };
    let mut data = Map::new();
    data.insert("directory".into(), holding.subject.directory.to_string().into());
    data.insert(
        "subject".into(),
        json!({"id": user, "ref": format!("/Users/{user}"), "name": cut(&holding.name)}),
    );
    data.insert("entitlement".into(), holding.entitlement.to_string().into());
    data.insert("role".into(), role.into());
    data.insert("label".into(), cut(label).into());
    data.insert("why".into(), cut(why).into());
    let person = Person { directory: holding.subject.directory.clone(), user, before: None, after: None };
    Event { kind, seq, n: None, resource: Some(user.to_string()), at, person: Some(person), data }
}

impl Event {
    /// A text of its data, for tests and messages.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.data.get(name).and_then(Value::as_str)
    }
}
