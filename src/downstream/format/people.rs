//! Who a file lists: the holders of the roles it is about, each written in the reader's notation. Who cannot be
//! written, and who would be somebody else after the reader's own folding, is left out and reported.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{View, ViewRole, ViewUser};
use crate::model::RoleName;

use super::{Carried, LeftOut, OptionDoc, OptionKind, Options, REQUIRED, RenderError};

/// The option that narrows a file to some roles.
pub(super) const ROLES: OptionDoc = OptionDoc {
    name: "roles",
    kind: OptionKind::Texts("the name of a role", is_role),
    default: "every role",
    description: "Only what holders of these roles need is written.",
};

/// The same where a file that lists everybody would be a mistake.
pub(super) const ROLES_REQUIRED: OptionDoc = OptionDoc {
    default: REQUIRED,
    description: "Holders of any of these roles are listed, such as `[\"db-admin\"]`.",
    ..ROLES
};

pub(super) fn is_role(text: &str) -> bool {
    RoleName::parse(text).is_ok()
}

/// How a reader takes names.
pub(super) struct Notation<'a> {
    /// Writes one name, or says why it cannot be.
    pub(super) write: &'a dyn Fn(&str) -> Result<String, String>,
    /// What two names that the reader takes for one have in common, and what to call that; `None`: it compares bytes.
    pub(super) fold: Option<Folding>,
}

/// What it is called, and what it makes of a name.
pub(super) type Folding = (&'static str, fn(&str) -> String);

/// One user as the file will have it.
pub(super) struct Person<'a> {
    pub(super) user: &'a ViewUser,
    pub(super) written: String,
}

/// The roles that the target is about, sorted by name.
pub(super) fn roles<'a>(view: &'a View, options: &Options) -> Vec<&'a ViewRole> {
    let wanted = options.texts("roles");
    let is_wanted = |role: &&ViewRole| wanted.as_ref().is_none_or(|list| list.contains(&role.name.as_str()));
    view.roles.iter().filter(is_wanted).collect()
}

/// Everybody who holds one of the roles, by name.
pub(super) fn holders<'a>(roles: &[&'a ViewRole]) -> BTreeSet<&'a str> {
    roles.iter().flat_map(|role| role.members.iter().map(String::as_str)).collect()
}

/// Those of `wanted` that can be written, by name.
pub(super) fn written<'a>(
    view: &'a View,
    wanted: &dyn Fn(&ViewUser) -> bool,
    notation: &Notation<'_>,
    left_out: &mut Vec<LeftOut>,
) -> BTreeMap<&'a str, Person<'a>> {
    let winners = notation.fold.map(|(_, fold)| winners(view, fold));
    let mut people = BTreeMap::new();
    for user in &view.users {
        if let (Some((what, fold)), Some(winners)) = (notation.fold, &winners)
            && let Some(holder) = winners.get(&fold(&user.name))
            && holder.id != user.id
        {
            let why = format!("{what}, the name is that of {}, who had it first", holder.subject());
            left_out.push(refused(user, why));
            continue;
        }
        if !wanted(user) {
            continue;
        }
        match (notation.write)(&user.name) {
            Ok(written) => {
                people.insert(user.name.as_str(), Person { user, written });
            }
            Err(why) => left_out.push(refused(user, why)),
        }
    }
    people
}

/// Who keeps a name that several would share: who was created first. Everybody counts, also who is not listed, since
/// the reader would take them for whoever is.
fn winners(view: &View, fold: fn(&str) -> String) -> BTreeMap<String, &ViewUser> {
    let mut winners: BTreeMap<String, &ViewUser> = BTreeMap::new();
    for user in &view.users {
        let holder = winners.entry(fold(&user.name)).or_insert(user);
        if (user.id, &user.directory) < (holder.id, &holder.directory) {
            *holder = user;
        }
    }
    winners
}

/// A user left out for `why`.
pub(super) fn refused(user: &ViewUser, why: String) -> LeftOut {
    LeftOut { what: Carried::User(user.subject()), text: user.name.clone(), why }
}

/// A role left out for `why`.
pub(super) fn refused_role(role: &RoleName, why: String) -> LeftOut {
    LeftOut { what: Carried::Role(role.clone()), text: role.to_string(), why }
}

/// The lines of a file with their numbers, and that it ends as it must.
pub(super) fn lines(bytes: &[u8]) -> Result<impl Iterator<Item = (usize, &str)>, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("no newline at the end".into());
    }
    let is_unfit = |c: char| c != '\n' && super::fit::unfit_char(c).is_some();
    if let Some(n) = text.split('\n').position(|line| line.contains(is_unfit)) {
        return Err(format!("line {} holds a control character", n.saturating_add(1)));
    }
    Ok(text.split_terminator('\n').enumerate().map(|(n, line)| (n.saturating_add(1), line)))
}

/// What to say when an option is missing that `check_options` asks for.
pub(super) fn missing(format: &str, option: &str) -> RenderError {
    RenderError {
        name: format.to_owned(),
        line: None,
        what: format!("the option `{option}` is not set"),
        hint: "set it in the target's `options`",
    }
}

/// A quoted token in which `"` and `\` are escaped by `\`, and what follows it.
pub(super) fn backslashed(text: &str) -> Option<(String, &str)> {
    let mut token = String::new();
    let mut rest = text.strip_prefix('"')?.chars();
    loop {
        match rest.next()? {
            '"' => return Some((token, rest.as_str())),
            '\\' => match rest.next()? {
                c @ ('"' | '\\') => token.push(c),
                _ => return None,
            },
            c => token.push(c),
        }
    }
}

/// A quoted token in which a quote is doubled, and what follows it.
pub(super) fn undoubled(text: &str, quote: char) -> Option<(String, &str)> {
    let mut token = String::new();
    let mut rest = text.strip_prefix(quote)?;
    loop {
        let (head, tail) = rest.split_once(quote)?;
        token.push_str(head);
        match tail.strip_prefix(quote) {
            Some(tail) => {
                token.push(quote);
                rest = tail;
            }
            None => return Some((token, tail)),
        }
    }
}
