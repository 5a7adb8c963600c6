//! Roles as Unix groups and their holders as accounts, with numbers that the mirror keeps for ever; for every format of
//! account files.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{View, ViewRole, ViewUser};
use crate::model::{UnixIdOwner, UnixIdWanted};

use super::people::{self, Notation, Person};
use super::{LeftOut, OptionDoc, OptionKind, Options, REQUIRED, account};

/// Below are the system's own.
const ID_MIN: u64 = 1_000;
/// The two above mean "none" to the kernel and to programs with signed numbers.
const ID_MAX: u64 = 2_147_483_646;

/// Where gids come from.
pub(super) const GIDS: OptionDoc = OptionDoc {
    name: "gids",
    kind: OptionKind::Range(ID_MIN, ID_MAX),
    default: REQUIRED,
    description: "The gids that may be given to roles, such as `[60000, 60499]`; each keeps its own for ever.",
};

/// Where uids come from.
pub(super) const UIDS: OptionDoc = OptionDoc {
    name: "uids",
    kind: OptionKind::Range(ID_MIN, ID_MAX),
    default: REQUIRED,
    description: "The uids that may be given to people, such as `[60500, 64999]`; each keeps its own for ever.",
};

/// What roles are called as Unix groups.
pub(super) const NAMES: OptionDoc = OptionDoc {
    name: "names",
    kind: OptionKind::Map("the name of a Unix group that is not the system's", is_group),
    default: "the role's own name",
    description: "What the Unix group of a role is called, such as `{ \"Site-Reliability\" = \"sre\" }`.",
};

/// A name that a group or an account of ours may have.
pub(super) fn is_group(name: &str) -> bool {
    account::account(name).is_ok()
}

/// A number that a group or an account of ours may have.
pub(super) fn is_id(id: u64) -> bool {
    (ID_MIN..=ID_MAX).contains(&id) && !matches!(id, 65_534 | 65_535)
}

/// The roles the target is about, by what their groups are called. Whose name no group may have, or another role's
/// group has, is left out.
pub(super) fn groups<'a>(
    view: &'a View,
    options: &'a Options,
    left_out: &mut Vec<LeftOut>,
) -> BTreeMap<&'a str, &'a ViewRole> {
    let names = options.map("names");
    let mut groups: BTreeMap<&str, &ViewRole> = BTreeMap::new();
    for role in people::roles(view, options) {
        let name = names.get(role.name.as_str()).copied().unwrap_or(role.name.as_str());
        let why = if !is_group(name) {
            "it has no name of its own that a Unix group may have; set one in `names`"
        } else if groups.contains_key(name) {
            "another role is the Unix group of that name; set one in `names`"
        } else {
            groups.insert(name, role);
            continue;
        };
        left_out.push(people::refused_role(&role.name, why.into()));
    }
    groups
}

/// The groups with their gids; who has none waits for one.
pub(super) fn numbered<'a>(
    groups: &BTreeMap<&'a str, &'a ViewRole>,
    options: &Options,
    left_out: &mut Vec<LeftOut>,
) -> BTreeMap<&'a str, (u32, &'a ViewRole)> {
    let mut numbered = BTreeMap::new();
    for (name, role) in groups {
        match options.ids.get(&UnixIdOwner::Role(role.name.clone())) {
            Some(gid) => {
                numbered.insert(*name, (*gid, *role));
            }
            None => left_out.push(people::refused_role(&role.name, used_up("gids"))),
        }
    }
    numbered
}

/// The holders of these roles as accounts. A name that a group has is nobody's.
pub(super) fn accounts<'a>(
    view: &'a View,
    groups: &BTreeMap<&'a str, &'a ViewRole>,
    left_out: &mut Vec<LeftOut>,
) -> BTreeMap<&'a str, Person<'a>> {
    let roles: Vec<&ViewRole> = groups.values().copied().collect();
    let listed: BTreeSet<&str> = people::holders(&roles);
    let write = |name: &str| account::account(name).map_err(str::to_owned);
    let wanted = |user: &ViewUser| listed.contains(user.name.as_str());
    people::written(view, &wanted, &Notation { write: &write }, left_out)
}

/// What to say of one for whom no number is left.
pub(super) fn used_up(option: &str) -> String {
    format!("no number is left in `{option}`; give the target a longer range, numbers are never used again")
}

/// Who needs a gid.
pub(super) fn wanted_gids(view: &View, options: &Options) -> Vec<UnixIdWanted> {
    let Some(range) = options.range("gids") else { return Vec::new() };
    let groups = groups(view, options, &mut Vec::new());
    let owners = groups.into_values().map(|role| UnixIdOwner::Role(role.name.clone()));
    owners.map(|owner| UnixIdWanted { owner, range: range.clone() }).collect()
}
