//! Users with their groups and roles as relations, for stores to which a file only adds (OpenFGA, SpiceDB): options,
//! types and the two halves of a change, what to hold and what to drop.

use std::collections::BTreeSet;
use std::fmt;

use crate::access::View;

use super::escape::Refused;
use super::fit::{self, Kind};
use super::{LeftOut, OptionDoc, OptionKind, Options, RenderError};

/// One relation: an object, how, and the user.
#[expect(clippy::struct_field_names, reason = "both stores call it so")]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Relation {
    /// `type:id`.
    pub(super) object: String,
    pub(super) relation: String,
    /// `type:id`.
    pub(super) user: String,
}

/// `object#relation@user`. Neither an object nor a relation has a `#` or `@` of its own before these, so that it is
/// read back as it was written.
impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}@{}", self.object, self.relation, self.user)
    }
}

impl Relation {
    /// What [`Relation`] prints.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (object, rest) = text.split_once('#')?;
        let (relation, user) = rest.split_once('@')?;
        let is_whole = [object, user]
            .iter()
            .all(|one| one.split_once(':').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty()));
        (is_whole && !relation.is_empty()).then(|| Self {
            object: object.to_owned(),
            relation: relation.to_owned(),
            user: user.to_owned(),
        })
    }
}

/// A store, as far as its ids and words are its own.
pub(super) struct Store {
    pub(super) format: &'static str,
    /// The id of a name behind its type, or why there is none.
    pub(super) id: fn(&Options, Kind, &str) -> Result<String, Refused>,
}

/// The options that both stores have, of words in the store's own shape.
pub(super) const fn words(shape: &'static str, fits: fn(&str) -> bool) -> [OptionDoc; 5] {
    const fn word(
        name: &'static str,
        default: &'static str,
        description: &'static str,
        kind: OptionKind,
    ) -> OptionDoc {
        OptionDoc { name, kind, default, description }
    }
    let kind = OptionKind::Shaped(shape, fits);
    [
        word("group_relation", "\"member\"", "Relation of a user to a group.", kind),
        word("group_type", "\"group\"", "Type of groups.", kind),
        word("role_relation", "\"assignee\"", "Relation of a user to a role.", kind),
        word("role_type", "\"role\"", "Type of roles.", kind),
        word("user_type", "\"user\"", "Type of users.", kind),
    ]
}

fn type_of(options: &Options, kind: Kind) -> &str {
    match kind {
        Kind::User => options.text("user_type", "user"),
        Kind::Group => options.text("group_type", "group"),
        Kind::Role => options.text("role_type", "role"),
    }
}

/// `type:id`, as long as the type is the target's.
pub(super) fn full(options: &Options, kind: Kind, id: &str) -> String {
    format!("{}:{id}", type_of(options, kind))
}

/// Every relation that should be, and who cannot be carried.
pub(super) fn wanted(
    view: &View,
    options: &Options,
    store: &Store,
) -> Result<(BTreeSet<Relation>, Vec<LeftOut>), RenderError> {
    // A user must never meet a group or a role of the same name.
    let types: BTreeSet<&str> =
        [Kind::User, Kind::Group, Kind::Role].into_iter().map(|kind| type_of(options, kind)).collect();
    if types.len() < 3 {
        return Err(RenderError {
            name: store.format.into(),
            line: None,
            what: "two kinds have one type".into(),
            hint: "set user_type, group_type and role_type to different words",
        });
    }
    let (view, left_out) = fit::without_refused(view, &|kind, name| (store.id)(options, kind, name).err());
    // What was not refused has an id.
    let full =
        |kind: Kind, name: &str| full(options, kind, &(store.id)(options, kind, name).unwrap_or_default());
    let mut found = BTreeSet::new();
    for user in &view.users {
        let groups = user.groups.iter().map(|name| (Kind::Group, "group_relation", "member", name));
        let roles = user.roles.iter().map(|name| (Kind::Role, "role_relation", "assignee", name));
        for (kind, option, default, name) in groups.chain(roles) {
            found.insert(Relation {
                object: full(kind, name),
                relation: options.text(option, default).to_owned(),
                user: full(Kind::User, &user.name),
            });
        }
    }
    Ok((found, left_out))
}

/// What the mirror remembers of the file: only where it also says what to drop.
pub(super) fn remembered(view: &View, options: &Options, store: &Store) -> Option<BTreeSet<String>> {
    if options.text("form", "changes") != "changes" {
        return None;
    }
    let (wanted, _) = wanted(view, options, store).ok()?;
    Some(wanted.iter().map(ToString::to_string).collect())
}

/// What the store is to drop, from the options; never what it is to hold.
pub(super) fn deletes(options: &Options, wanted: &BTreeSet<Relation>) -> BTreeSet<Relation> {
    let all = options.deletes.iter().filter_map(|text| Relation::parse(text));
    all.filter(|one| !wanted.contains(one)).collect()
}

/// One request a line, each of at most `most` relations: what goes first, then what is.
pub(super) fn requests(
    format: &str,
    (wanted, deletes): (&BTreeSet<Relation>, &BTreeSet<Relation>),
    most: usize,
    request: &dyn Fn(bool, &[&Relation]) -> serde_json::Value,
) -> Result<Vec<u8>, RenderError> {
    let mut bytes = Vec::new();
    for (is_delete, relations) in [(true, deletes), (false, wanted)] {
        let relations: Vec<&Relation> = relations.iter().collect();
        for some in relations.chunks(most) {
            bytes.append(&mut super::lines::json_line(format, &request(is_delete, some))?);
        }
    }
    Ok(bytes)
}

/// What one line says: relations, each with whether it is taken away.
type Reads<'a> = &'a dyn Fn(&serde_json::Value) -> Result<Vec<(bool, Relation)>, String>;

/// Reads the lines of [`requests`] by `read`, which gives each relation of a request and whether it goes.
pub(super) fn check_requests(text: &str, most: usize, read: Reads<'_>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut has_write = false;
    for (n, line) in super::lines::numbered(text) {
        let wrong = |why: String| format!("line {n}: {why}");
        let request = crate::scim::json::parse(line.as_bytes()).map_err(|error| wrong(error.detail))?;
        let found = read(&request).map_err(wrong)?;
        if found.is_empty() || found.len() > most {
            return Err(wrong(format!("not 1 to {most} relations")));
        }
        for (is_delete, relation) in found {
            if is_delete && has_write {
                return Err(wrong("what goes must come before what is".into()));
            }
            has_write |= !is_delete;
            if !seen.insert(relation.to_string()) {
                return Err(wrong(format!("`{relation}` stands twice")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn half_a_relation_is_none() {
        for bad in ["", "a:b#c", "a:b#c@", "a:b#c@d", "a#c@d:e", ":b#c@d:e", "a:#c@d:e", "a:b#@d:e"] {
            assert_eq!(Relation::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_relation_is_read_back_as_it_was_written(
            object in "[^:#\\s]{1,20}", relation in "[a-z]{1,9}", user in "[^:#\\s]{1,20}"
        ) {
            let one = Relation { object: format!("role:{object}"), relation, user: format!("user:{user}") };
            prop_assert_eq!(Relation::parse(&one.to_string()), Some(one));
        }
    }
}
