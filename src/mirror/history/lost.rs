//! Which change took an entitlement away.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{Access, Entitlement, Facts, LeftOut, Reason, Role, UserFacts};
use crate::mirror::change::{self, Kind};
use crate::mirror::engine::{Param, Row, StoreError};
use crate::mirror::tx::ReadTx;
use crate::model::{DirectoryId, ResourceId, RoleName, Seq, Subject, Timestamp};

use super::since::Cause;
use super::state::{amend, part};

/// The change in `from < seq <= to` by which `subject` lost what it held for `reasons` in `facts`, those of `from`:
/// of each reason the first change that broke it, and of those the last. `None` if no single change tells it, as when
/// the order of directories was changed.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn lost(
    tx: &mut ReadTx<'_>,
    facts: &Facts,
    subject: &Subject,
    (entitlement, role): (&Entitlement, Option<&Role>),
    reasons: &[Reason],
    (from, to): (Seq, Seq),
) -> Result<Option<Cause>, StoreError> {
    let span = Span { from, to };
    let mut last: Option<Seq> = None;
    for reason in reasons {
        let mut broken: Vec<Seq> = Vec::new();
        broken.extend(span.resource(tx, subject.user, &[Kind::UserDeactivated, Kind::UserDeleted])?);
        broken.extend(span.removed(tx, subject)?);
        broken.extend(span.decided(tx, subject, &[Kind::SubjectShut])?);
        match reason {
            Reason::Group { path } | Reason::Member { path } => {
                let members = path.iter().skip(1).copied().chain([subject.user]);
                for (group, member) in path.iter().copied().zip(members) {
                    broken.extend(span.left(tx, group, member)?);
                    broken.extend(span.resource(tx, group, &[Kind::GroupDeleted])?);
                }
                if let (Some(top), Entitlement::Role(_)) = (path.first(), entitlement) {
                    broken.extend(span.renamed(tx, *top)?);
                }
            }
            Reason::Grant { .. } => {
                broken.extend(span.decided(tx, subject, &[Kind::GrantExpired, Kind::GrantRevoked])?);
            }
            Reason::Filter => {
                let user = facts
                    .directory(&subject.directory)
                    .and_then(|directory| directory.users.iter().find(|user| user.id == subject.user));
                if let (Some(user), Some(role)) = (user, role) {
                    broken.extend(span.mismatched(tx, user, role)?);
                }
            }
        }
        if let Some(role) = role {
            broken.extend(span.config(tx, role)?);
        }
        let Some(first) = broken.into_iter().min() else { return Ok(None) };
        last = last.max(Some(first));
    }
    last.map_or(Ok(None), |seq| told(tx, seq))
}

/// The last change that took a role away from one who does not hold it now: a shut, a deactivation, or leaving one of
/// the role's groups. `None` if there was none, or it is older than what is kept.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn last_loss(
    tx: &mut ReadTx<'_>,
    access: &Access,
    subject: &Subject,
    role: &RoleName,
) -> Result<Option<Cause>, StoreError> {
    let mut last: Option<Seq> = None;
    let seq_of = |row: &dyn Row| Ok(Seq(u64::try_from(row.int(0)?).unwrap_or(0)));
    match access.left_out.get(subject) {
        Some(LeftOut::Inactive) => {
            let sql = "SELECT seq FROM change WHERE resource = ?1 AND kind = 'user.deactivated' ORDER BY seq DESC LIMIT 1";
            last = tx.first(sql, &[Param::Blob(subject.user.as_bytes())], seq_of)?;
        }
        Some(LeftOut::Shut) => {
            let sql = "SELECT seq FROM change WHERE resource IS NULL AND object = ?1 AND kind = 'subject.shut' \
                       ORDER BY seq DESC LIMIT 1";
            last = tx.first(sql, &[Param::Text(&subject.to_string())], seq_of)?;
        }
        _ => {
            for (home, group) in access.role_groups.get(role).into_iter().flatten() {
                if *home != subject.directory {
                    continue;
                }
                let sql = "SELECT seq FROM change_member WHERE member_id = ?1 AND group_id = ?2 AND op = 0 \
                           ORDER BY seq DESC LIMIT 1";
                let params = [Param::Blob(subject.user.as_bytes()), Param::Blob(group.as_bytes())];
                last = last.max(tx.first(sql, &params, seq_of)?);
            }
        }
    }
    last.map_or(Ok(None), |seq| told(tx, seq))
}

/// Whether a change in `from < seq <= to` of the identity provider's may have taken a role away: the subject, or a group
/// inside them, left one of the role's groups (`of.0`), or the subject's own attributes changed where a filter judges
/// them (`of.1`). Reads the changes of members in that span, and is asked only of who just lost a grant.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn lost_by_sync(
    tx: &mut ReadTx<'_>,
    facts: &Facts,
    of: (Option<&BTreeSet<(DirectoryId, ResourceId)>>, bool),
    subject: &Subject,
    (from, to): (Seq, Seq),
) -> Result<bool, StoreError> {
    let span = Span { from, to };
    if of.1 && span.resource(tx, subject.user, &[Kind::UserUpdated])?.is_some() {
        return Ok(true);
    }
    let mut inside: BTreeSet<ResourceId> = BTreeSet::new();
    let mut next: Vec<ResourceId> = of.0.into_iter().flatten().map(|(_, group)| *group).collect();
    let groups = facts.directories.iter().flat_map(|directory| &directory.groups);
    let nested: BTreeMap<ResourceId, &Vec<ResourceId>> =
        groups.filter(|group| !group.groups.is_empty()).map(|group| (group.id, &group.groups)).collect();
    while let Some(group) = next.pop() {
        if inside.insert(group) {
            next.extend(nested.get(&group).into_iter().copied().flatten());
        }
    }
    let sql = "SELECT group_id FROM change_member WHERE seq > ?1 AND seq <= ?2 AND op = 0 \
               AND (member_id = ?3 OR member_type = 2)";
    let params = [change::param(from), change::param(to), Param::Blob(subject.user.as_bytes())];
    let mut found = false;
    tx.query(sql, &params, &mut |row| {
        let left = row.blob(0)?;
        found |= inside.iter().any(|group| group.as_bytes() == left);
        Ok(())
    })?;
    Ok(found)
}

fn told(tx: &mut ReadTx<'_>, seq: Seq) -> Result<Option<Cause>, StoreError> {
    let sql = "SELECT at, kind, actor, request FROM change WHERE seq = ?1";
    tx.first(sql, &[change::param(seq)], |row| {
        Ok(Cause {
            seq,
            at: Timestamp(row.int(0)?),
            kind: row.text(1)?.to_owned(),
            actor: row.text(2)?.to_owned(),
            request: row.opt_text(3)?.map(str::to_owned),
        })
    })
}

/// The part of the log that is looked at.
#[derive(Clone, Copy)]
struct Span {
    from: Seq,
    to: Seq,
}

impl Span {
    fn first(self, tx: &mut ReadTx<'_>, sql: &str, more: &[Param<'_>]) -> Result<Option<Seq>, StoreError> {
        let mut params = vec![change::param(self.from), change::param(self.to)];
        params.extend_from_slice(more);
        tx.first(sql, &params, |row| Ok(Seq(u64::try_from(row.int(0)?).unwrap_or(0))))
    }

    /// The first change of these kinds of a resource.
    fn resource(
        self,
        tx: &mut ReadTx<'_>,
        id: ResourceId,
        kinds: &[Kind],
    ) -> Result<Option<Seq>, StoreError> {
        let mut first: Option<Seq> = None;
        for kind in kinds {
            let sql = "SELECT seq FROM change WHERE seq > ?1 AND seq <= ?2 AND resource = ?3 AND kind = ?4 \
                       ORDER BY seq LIMIT 1";
            let found = self.first(tx, sql, &[Param::Blob(id.as_bytes()), Param::Text(kind.as_str())])?;
            first = [first, found].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// The first time a member left a group.
    fn left(
        self,
        tx: &mut ReadTx<'_>,
        group: ResourceId,
        member: ResourceId,
    ) -> Result<Option<Seq>, StoreError> {
        let sql = "SELECT seq FROM change_member WHERE seq > ?1 AND seq <= ?2 AND member_id = ?3 AND group_id = ?4 \
                   AND op = 0 ORDER BY seq LIMIT 1";
        self.first(tx, sql, &[Param::Blob(member.as_bytes()), Param::Blob(group.as_bytes())])
    }

    /// The first time a group got another name.
    fn renamed(self, tx: &mut ReadTx<'_>, group: ResourceId) -> Result<Option<Seq>, StoreError> {
        let sql = "SELECT c.seq, v.before FROM change c JOIN change_value v ON v.seq = c.seq WHERE c.seq > ?1 \
                   AND c.seq <= ?2 AND c.resource = ?3 AND c.kind = 'group.updated' ORDER BY c.seq";
        let params = [change::param(self.from), change::param(self.to), Param::Blob(group.as_bytes())];
        let mut first = None;
        tx.query(sql, &params, &mut |row| {
            let before = part(row.opt_text(1)?);
            if first.is_none() && (before.contains_key("displayName") || before.contains_key("externalId")) {
                first = Some(Seq(u64::try_from(row.int(0)?).unwrap_or(0)));
            }
            Ok(())
        })?;
        Ok(first)
    }

    /// The removal of the directory.
    fn removed(self, tx: &mut ReadTx<'_>, subject: &Subject) -> Result<Option<Seq>, StoreError> {
        let sql = "SELECT seq FROM change WHERE resource IS NULL AND seq > ?1 AND seq <= ?2 \
                   AND kind = 'directory.removed' AND object = ?3 ORDER BY seq LIMIT 1";
        self.first(tx, sql, &[Param::Text(subject.directory.as_str())])
    }

    /// The first decision of these kinds about the subject.
    fn decided(
        self,
        tx: &mut ReadTx<'_>,
        subject: &Subject,
        kinds: &[Kind],
    ) -> Result<Option<Seq>, StoreError> {
        let mut first: Option<Seq> = None;
        for kind in kinds {
            let sql = "SELECT seq FROM change WHERE resource IS NULL AND seq > ?1 AND seq <= ?2 AND object = ?3 \
                       AND kind = ?4 ORDER BY seq LIMIT 1";
            let object = subject.to_string();
            let found = self.first(tx, sql, &[Param::Text(&object), Param::Text(kind.as_str())])?;
            first = [first, found].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// The first configuration that says something else of the role.
    fn config(self, tx: &mut ReadTx<'_>, role: &Role) -> Result<Option<Seq>, StoreError> {
        let definition = |text: &str| {
            let body = part(Some(text));
            let roles = body.get("roles").and_then(|roles| roles.as_array().cloned()).unwrap_or_default();
            roles
                .into_iter()
                .find(|one| one.get("name").and_then(|name| name.as_str()) == Some(role.name.as_str()))
        };
        let sql = "SELECT body FROM config_version WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
        let before =
            tx.first(sql, &[change::param(self.from)], |row| Ok(definition(row.text(0)?)))?.flatten();
        let sql = "SELECT seq, body FROM config_version WHERE seq > ?1 AND seq <= ?2 ORDER BY seq";
        let mut first = None;
        tx.query(sql, &[change::param(self.from), change::param(self.to)], &mut |row| {
            if first.is_none() && definition(row.text(1)?) != before {
                first = Some(Seq(u64::try_from(row.int(0)?).unwrap_or(0)));
            }
            Ok(())
        })?;
        Ok(first)
    }

    /// The first time the role's filter was false for the user.
    fn mismatched(
        self,
        tx: &mut ReadTx<'_>,
        user: &UserFacts,
        role: &Role,
    ) -> Result<Option<Seq>, StoreError> {
        let Some(filter) = &role.users else { return Ok(None) };
        let sql = "SELECT c.seq, v.before, v.after FROM change c JOIN change_value v ON v.seq = c.seq \
                   WHERE c.seq > ?1 AND c.seq <= ?2 AND c.resource = ?3 ORDER BY c.seq";
        let params = [change::param(self.from), change::param(self.to), Param::Blob(user.id.as_bytes())];
        let mut then = user.clone();
        let mut doc = (*user.doc).clone();
        let mut first = None;
        tx.query(sql, &params, &mut |row| {
            if first.is_none() {
                amend(&mut doc, row.opt_text(1)?, row.opt_text(2)?);
                then.doc = std::sync::Arc::new(doc.clone());
                if !filter.is_true_for(&then, &[]) {
                    first = Some(Seq(u64::try_from(row.int(0)?).unwrap_or(0)));
                }
            }
            Ok(())
        })?;
        Ok(first)
    }
}
