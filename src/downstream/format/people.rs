//! Who a file lists: the holders of the roles it is about, each written in the reader's notation. Who cannot be
//! written is left out and reported. Who would be somebody else after the reader's own folding is not in the view
//! (`Format::fold`).

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{View, ViewRole, ViewUser};
use crate::model::RoleName;

use super::{Carried, LeftOut, OptionDoc, OptionKind, Options, REQUIRED, RenderError, json};

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

/// Options of an example that lists the holders of `admin`.
pub(super) fn example_of_admins() -> Options {
    Options {
        values: [("roles".to_owned(), vec!["admin"].into())].into_iter().collect(),
        ..json::placeholder_options()
    }
}

pub(super) fn is_role(text: &str) -> bool {
    RoleName::parse(text).is_ok()
}

/// How a reader takes names.
pub(super) struct Notation<'a> {
    /// Writes one name, or says why it cannot be.
    pub(super) write: &'a dyn Fn(&str) -> Result<String, String>,
}

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
    let mut people = BTreeMap::new();
    for user in &view.users {
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

/// Everybody who holds one of the roles that the option must name, as `write` writes them and sorted by name; and who
/// could not be written.
pub(super) fn listed(
    view: &View,
    options: &Options,
    format: &'static str,
    write: fn(&str) -> Result<String, &'static str>,
) -> Result<(Vec<String>, Vec<LeftOut>), RenderError> {
    if options.texts("roles").is_none() {
        return Err(missing(format, "roles"));
    }
    let mut left_out = Vec::new();
    let holders = holders(&roles(view, options));
    let notation = Notation { write: &|name| write(name).map_err(str::to_owned) };
    let people = written(view, &|user| holders.contains(user.name.as_str()), &notation, &mut left_out);
    Ok((people.into_values().map(|person| person.written).collect(), left_out))
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
