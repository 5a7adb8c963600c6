//! Why a subject holds a role, or why not.

use serde::Serialize;

use crate::model::{DirectoryId, ResourceId, RoleName, Subject};

use crate::scim::filter::Bound;

use super::{Access, Entitlement, Facts, LeftOut, Reason, Role, UserFacts};

/// The answer of `rosterd explain` for one subject and one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The subject, `DIRECTORY/ID`.
    pub subject: String,
    /// The role.
    pub role: RoleName,
    /// Whether the subject holds it.
    pub holds: bool,
    /// One line for each reason it is held, or for each reason it is not.
    pub why: Vec<String>,
}

/// Why `subject` holds `role`, or why not. `None` if there is no such role.
pub fn explain(
    facts: &Facts,
    access: &Access,
    roles: &[Role],
    subject: &Subject,
    role: &RoleName,
) -> Option<Explanation> {
    let found = roles.iter().find(|known| known.name == *role)?;
    let entitlement = Entitlement::Role(found.name.clone());
    let reasons = access.held.get(subject).and_then(|held| held.get(&entitlement));
    let why = match reasons {
        Some(reasons) => reasons.iter().map(|reason| say(facts, subject, Some(found), reason)).collect(),
        None => why_not(facts, access, subject, found),
    };
    Some(Explanation { subject: subject.to_string(), role: role.clone(), holds: reasons.is_some(), why })
}

/// One reason as a line for a person; also the `why` of a plan.
pub fn say(facts: &Facts, subject: &Subject, role: Option<&Role>, reason: &Reason) -> String {
    match reason {
        Reason::Filter => {
            let text = role.and_then(|role| role.users.as_ref()).map_or("", |filter| filter.text.as_str());
            format!("matches the filter `{text}`")
        }
        Reason::Group { path } | Reason::Member { path } => {
            format!("member of {}", path_text(facts, &subject.directory, path))
        }
        Reason::Grant { id } => match facts.grants.iter().find(|grant| grant.id == *id) {
            Some(grant) => format!("granted until {} by grant {id}: {}", grant.until, grant.reason),
            None => format!("granted by grant {id}"),
        },
    }
}

/// `"Outer" > "Inner"`: from the named group down to the one with the direct member.
pub fn path_text(facts: &Facts, directory: &DirectoryId, path: &[ResourceId]) -> String {
    let groups = facts.directory(directory).map_or(&[][..], |found| found.groups.as_slice());
    let name = |id: &ResourceId| {
        let group = groups.iter().find(|group| group.id == *id);
        group.map_or_else(|| id.to_string(), |group| format!("\"{}\"", group.display_name))
    };
    path.iter().map(name).collect::<Vec<_>>().join(" > ")
}

/// What is said of one whom a re-baseline left behind.
pub const UNCONFIRMED: &str =
    "the identity provider did not name the user again before the re-baseline closed";

/// `shut out (change 17): left on bad terms`.
pub fn shut_text(facts: &Facts, subject: &Subject) -> String {
    let user = facts
        .directory(&subject.directory)
        .and_then(|one| one.users.iter().find(|user| user.id == subject.user));
    match facts.shut(subject, user.map(|user| user.user_name.as_str())) {
        Some(shut) => format!("shut out until `rosterd open` (change {}): {}", shut.seq, shut.reason),
        None => "shut out until `rosterd open`".to_owned(),
    }
}

fn why_not(facts: &Facts, access: &Access, subject: &Subject, role: &Role) -> Vec<String> {
    let Some(directory) = facts.directory(&subject.directory) else {
        return vec![format!("directory `{}` does not exist", subject.directory)];
    };
    if !directory.users.iter().any(|user| user.id == subject.user) {
        return vec![format!("directory `{}` has no such user", subject.directory)];
    }
    match access.left_out.get(subject) {
        Some(LeftOut::Shut) => return vec![shut_text(facts, subject)],
        Some(LeftOut::Inactive) => return vec!["the user is not active".to_owned()],
        Some(LeftOut::Unconfirmed) => return vec![UNCONFIRMED.to_owned()],
        Some(LeftOut::Unclaimed) => {
            return vec![format!("the name is outside the `claims` of directory `{}`", directory.id)];
        }
        Some(LeftOut::Owned(owner)) => {
            return vec![format!("the name belongs to {owner}, whose directory stands first")];
        }
        None => {}
    }
    if !role.reaches(&directory.id) {
        return vec![format!("role `{}` does not reach directory `{}`", role.name, directory.id)];
    }
    let mut lines = Vec::new();
    for (home, group) in access.role_groups.get(&role.name).into_iter().flatten() {
        if *home == directory.id {
            lines.push(format!("not a member of {}", path_text(facts, home, &[*group])));
        }
    }
    for problem in &access.problems {
        if problem.role_of_group() == Some(&role.name) {
            lines.push(problem.to_string());
        }
    }
    let user = directory.users.iter().find(|user| user.id == subject.user);
    if let (Some(filter), Some(user)) = (&role.users, user) {
        lines.push(format!("does not match the filter `{}`: {}", filter.text, saw(&filter.bound, user)));
    }
    if lines.is_empty() {
        lines.push(format!("role `{}` names neither a group nor a filter", role.name));
    }
    lines
}

/// Longest value shown.
const VALUE_CHARS_MAX: usize = 80;

/// What a filter saw: each attribute that it asks for, with the user's value.
fn saw(filter: &Bound, user: &UserFacts) -> String {
    let mut names: Vec<(String, String)> = Vec::new();
    gather(filter, user, &mut names);
    if names.is_empty() {
        return "it asks for nothing".to_owned();
    }
    names.dedup();
    names.iter().map(|(name, value)| format!("{name} is {value}")).collect::<Vec<_>>().join(", ")
}

fn gather(filter: &Bound, user: &UserFacts, into: &mut Vec<(String, String)>) {
    match filter {
        Bound::And(all) | Bound::Or(all) => all.iter().for_each(|one| gather(one, user, into)),
        Bound::Not(inner) => gather(inner, user, into),
        Bound::Const(_) => {}
        Bound::Compare { path, .. } | Bound::Present(path) | Bound::Element { path, .. } => {
            let name = match &path.sub {
                Some(sub) if !path.multi_valued => format!("{}.{sub}", path.attribute),
                _ => path.attribute.clone(),
            };
            let home = match &path.extension {
                Some(urn) => user.doc.get(urn).and_then(|part| part.get(&path.attribute)),
                None => user.doc.get(&path.attribute),
            };
            let found = match &path.sub {
                Some(sub) if !path.multi_valued => home.and_then(|value| value.get(sub)),
                _ => home,
            };
            let value = match (path.attribute.as_str(), found) {
                (_, Some(value)) => short(&value.to_string()),
                ("id", None) => user.id.to_string(),
                ("groups" | "meta", None) => "kept by the server".to_owned(),
                (_, None) => "absent".to_owned(),
            };
            into.push((name, value));
        }
    }
}

fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if text.chars().nth(VALUE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
