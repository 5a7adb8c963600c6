//! Since when, and by which change, a subject holds a role.
//!
//! Of each reason that stands, the change that completed it: the last one among the memberships on the way, the user's
//! activation, the group's name and the configuration of the role. Of several ways through nested groups the oldest
//! counts, and of several reasons the oldest one that stands. An earlier spell that ended is not counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::access::{
    Access, DirectoryFacts, Entitlement, Facts, GroupFacts, GroupRule, Reason, Role, UserFacts,
};
use crate::mirror::change::{self, id_of};
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::ReadTx;
use crate::model::{ResourceId, RoleName, Seq, Subject, Timestamp};

use super::base;
use super::state::{amend, part};

/// The change by which something is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Its number.
    pub seq: Seq,
    /// When it was made.
    pub at: Timestamp,
    /// What it did.
    pub kind: String,
    /// Who made it, as `model::Actor` prints it.
    pub actor: String,
    /// In which request.
    pub request: Option<String>,
}

/// A position and, where the log no longer holds it, what the base keeps of it.
#[derive(Debug, Clone)]
struct Mark {
    seq: Seq,
    kept: Option<Arc<Cause>>,
}

impl Mark {
    fn of(seq: Seq) -> Self {
        Self { seq, kept: None }
    }

    fn later(self, other: Self) -> Self {
        if other.seq > self.seq { other } else { self }
    }
}

/// What was looked up already, for one state; a review asks for thousands of subjects.
#[derive(Debug, Default)]
pub struct Causes {
    /// For each group, who came into it when.
    edges: HashMap<ResourceId, Arc<HashMap<ResourceId, Mark>>>,
    /// For each group of a role, since when each user is in it, directly or through nesting.
    reached: HashMap<ResourceId, Arc<HashMap<ResourceId, Mark>>>,
    names: HashMap<(ResourceId, RoleName), Mark>,
    roles: HashMap<RoleName, Mark>,
    told: HashMap<Seq, Option<Cause>>,
}

/// The change by which `subject` holds `entitlement` in `access`; `None` if it is older than what is kept, or if the
/// subject does not hold it. `role` is the entitlement's own, if it is one.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn since(
    tx: &mut ReadTx<'_>,
    causes: &mut Causes,
    (facts, access): (&Facts, &Access),
    subject: &Subject,
    entitlement: &Entitlement,
    role: Option<&Role>,
) -> Result<Option<Cause>, StoreError> {
    let Some(reasons) = access.held.get(subject).and_then(|held| held.get(entitlement)) else {
        return Ok(None);
    };
    let mut best: Option<Mark> = None;
    for reason in reasons {
        let mark = causes.of_reason(tx, facts, subject, role, reason)?;
        best = Some(match best {
            Some(best) if best.seq <= mark.seq => best,
            _ => mark,
        });
    }
    match best {
        Some(mark) => causes.tell(tx, &mark),
        None => Ok(None),
    }
}

impl Causes {
    /// The change that completed one reason; `None` if it is older than what is kept.
    ///
    /// # Errors
    /// [`StoreError`] from the engine.
    pub fn reason(
        &mut self,
        tx: &mut ReadTx<'_>,
        facts: &Facts,
        subject: &Subject,
        role: Option<&Role>,
        reason: &Reason,
    ) -> Result<Option<Cause>, StoreError> {
        let mark = self.of_reason(tx, facts, subject, role, reason)?;
        self.tell(tx, &mark)
    }

    fn of_reason(
        &mut self,
        tx: &mut ReadTx<'_>,
        facts: &Facts,
        subject: &Subject,
        role: Option<&Role>,
        reason: &Reason,
    ) -> Result<Mark, StoreError> {
        let Some(directory) = facts.directory(&subject.directory) else { return Ok(Mark::of(Seq::ZERO)) };
        let upto = facts.seq;
        let config = match role {
            Some(role) => self.role(tx, upto, role)?,
            None => Mark::of(Seq::ZERO),
        };
        match reason {
            Reason::Group { path } | Reason::Member { path } => {
                let Some(&top) = path.first() else { return Ok(config) };
                let within = self.within(tx, directory, upto, top)?;
                let joined = within.get(&subject.user).cloned().unwrap_or(Mark::of(Seq::ZERO));
                let named = match role {
                    Some(role) => self.named(tx, upto, top, role)?,
                    None => Mark::of(Seq::ZERO),
                };
                Ok(joined.later(activated(tx, upto, subject.user)?).later(named).later(config))
            }
            Reason::Filter => {
                let user = directory.users.iter().find(|user| user.id == subject.user);
                let (Some(user), Some(role)) = (user, role) else { return Ok(config) };
                let matched = matching(tx, upto, directory, role, user)?;
                Ok(matched.later(activated(tx, upto, subject.user)?).later(config))
            }
            Reason::Grant { id } => Ok(Mark::of(Seq(id.0))),
        }
    }

    /// Since when the configuration says of the role what it says.
    fn role(&mut self, tx: &mut ReadTx<'_>, upto: Seq, role: &Role) -> Result<Mark, StoreError> {
        if let Some(known) = self.roles.get(&role.name) {
            return Ok(known.clone());
        }
        let sql = "SELECT seq, body FROM config_version WHERE seq <= ?1 ORDER BY seq DESC";
        let mut newest: Option<Value> = None;
        let mut found = Seq::ZERO;
        let mut differs = false;
        tx.query(sql, &[change::param(upto)], &mut |row| {
            if differs {
                return Ok(());
            }
            let body: Value = serde_json::from_str(row.text(1)?).unwrap_or(Value::Null);
            let roles = body.get("roles").and_then(Value::as_array).cloned().unwrap_or_default();
            let is_it = |one: &Value| one.get("name").and_then(Value::as_str) == Some(role.name.as_str());
            let mine = roles.into_iter().find(is_it).unwrap_or(Value::Null);
            match &newest {
                Some(known) if *known != mine => differs = true,
                _ => {
                    newest = Some(mine);
                    found = Seq(u64::try_from(row.int(0)?).unwrap_or(0));
                }
            }
            Ok(())
        })?;
        let mark = Mark::of(found);
        self.roles.insert(role.name.clone(), mark.clone());
        Ok(mark)
    }

    /// Since when the group is called as the role calls it.
    fn named(
        &mut self,
        tx: &mut ReadTx<'_>,
        upto: Seq,
        group: ResourceId,
        role: &Role,
    ) -> Result<Mark, StoreError> {
        let key = (group, role.name.clone());
        if let Some(known) = self.names.get(&key) {
            return Ok(known.clone());
        }
        let by_id = role.groups.iter().any(|rule| matches!(rule, GroupRule::Id(id) if *id == group));
        // A rule that followed its group keeps the time of the name it was written for.
        let is_called = |value: &Value| {
            let name = value.as_str().unwrap_or_default();
            role.groups.iter().any(|rule| matches!(rule, GroupRule::DisplayName(rule) if rule == name))
        };
        let sql = "SELECT c.seq, v.after, c.kind = 'group.created' FROM change c LEFT JOIN change_value v \
                   ON v.seq = c.seq WHERE c.resource = ?1 AND c.seq <= ?2 AND c.value_digest IS NOT NULL \
                   ORDER BY c.seq DESC";
        let mut found = None;
        tx.query(sql, &[Param::Blob(group.as_bytes()), change::param(upto)], &mut |row| {
            if found.is_none() {
                let after = part(row.opt_text(1)?);
                let says =
                    after.get("displayName").is_some_and(is_called) || after.contains_key("externalId");
                if row.int(2)? == 1 || (says && !by_id) {
                    found = Some(Seq(u64::try_from(row.int(0)?).unwrap_or(0)));
                }
            }
            Ok(())
        })?;
        let mark = Mark::of(found.unwrap_or(Seq::ZERO));
        self.names.insert(key, mark.clone());
        Ok(mark)
    }

    /// Since when each user is in `top`: of all ways down, the one that was whole first.
    fn within(
        &mut self,
        tx: &mut ReadTx<'_>,
        directory: &DirectoryFacts,
        upto: Seq,
        top: ResourceId,
    ) -> Result<Arc<HashMap<ResourceId, Mark>>, StoreError> {
        if let Some(known) = self.reached.get(&top) {
            return Ok(Arc::clone(known));
        }
        let groups: HashMap<ResourceId, &GroupFacts> =
            directory.groups.iter().map(|group| (group.id, group)).collect();
        // For each group below `top`: since when it is connected to it, by the best way so far.
        let mut connected: HashMap<ResourceId, Mark> = HashMap::from([(top, Mark::of(Seq::ZERO))]);
        let mut waiting = vec![top];
        while let Some(group) = waiting.pop() {
            let (Some(facts), Some(here)) = (groups.get(&group), connected.get(&group).cloned()) else {
                continue;
            };
            let edges = self.edges(tx, upto, group)?;
            for child in &facts.groups {
                let mark = edge(&edges, child).later(here.clone());
                if connected.get(child).is_none_or(|known| mark.seq < known.seq) {
                    connected.insert(*child, mark);
                    waiting.push(*child);
                }
            }
        }
        let mut users: HashMap<ResourceId, Mark> = HashMap::new();
        for (group, here) in &connected {
            let Some(facts) = groups.get(group) else { continue };
            let edges = self.edges(tx, upto, *group)?;
            for user in &facts.users {
                let mark = edge(&edges, user).later(here.clone());
                if users.get(user).is_none_or(|known| mark.seq < known.seq) {
                    users.insert(*user, mark);
                }
            }
        }
        let users = Arc::new(users);
        self.reached.insert(top, Arc::clone(&users));
        Ok(users)
    }

    /// When each member that ever came into `group` came in last.
    fn edges(
        &mut self,
        tx: &mut ReadTx<'_>,
        upto: Seq,
        group: ResourceId,
    ) -> Result<Arc<HashMap<ResourceId, Mark>>, StoreError> {
        if let Some(known) = self.edges.get(&group) {
            return Ok(Arc::clone(known));
        }
        let mut found: HashMap<ResourceId, Mark> = HashMap::new();
        let sql = "SELECT member_id, seq, at, actor, request FROM base_member WHERE group_id = ?1";
        tx.query(sql, &[Param::Blob(group.as_bytes())], &mut |row| {
            let seq = Seq(u64::try_from(row.int(1)?).unwrap_or(0));
            let cause = Cause {
                seq,
                at: Timestamp(row.int(2)?),
                kind: "group.updated".to_owned(),
                actor: row.text(3)?.to_owned(),
                request: row.opt_text(4)?.map(str::to_owned),
            };
            found.insert(id_of(row.blob(0)?)?, Mark { seq, kept: Some(Arc::new(cause)) });
            Ok(())
        })?;
        let sql = "SELECT member_id, max(seq) FROM change_member WHERE group_id = ?1 AND seq <= ?2 AND op = 1 \
                   GROUP BY member_id";
        tx.query(sql, &[Param::Blob(group.as_bytes()), change::param(upto)], &mut |row| {
            let seq = Seq(u64::try_from(row.int(1)?).unwrap_or(0));
            found.insert(id_of(row.blob(0)?)?, Mark::of(seq));
            Ok(())
        })?;
        let found = Arc::new(found);
        self.edges.insert(group, Arc::clone(&found));
        Ok(found)
    }

    fn tell(&mut self, tx: &mut ReadTx<'_>, mark: &Mark) -> Result<Option<Cause>, StoreError> {
        if let Some(kept) = &mark.kept {
            return Ok(Some(Cause::clone(kept)));
        }
        if let Some(known) = self.told.get(&mark.seq) {
            return Ok(known.clone());
        }
        let sql = "SELECT at, kind, actor, request FROM change WHERE seq = ?1";
        let found = tx.first(sql, &[change::param(mark.seq)], |row| {
            Ok(Cause {
                seq: mark.seq,
                at: Timestamp(row.int(0)?),
                kind: row.text(1)?.to_owned(),
                actor: row.text(2)?.to_owned(),
                request: row.opt_text(3)?.map(str::to_owned),
            })
        })?;
        self.told.insert(mark.seq, found.clone());
        Ok(found)
    }
}

fn edge(edges: &HashMap<ResourceId, Mark>, member: &ResourceId) -> Mark {
    edges.get(member).cloned().unwrap_or(Mark::of(Seq::ZERO))
}

/// When the user became active last.
fn activated(tx: &mut ReadTx<'_>, upto: Seq, user: ResourceId) -> Result<Mark, StoreError> {
    let sql = "SELECT seq FROM change WHERE resource = ?1 AND seq <= ?2 AND kind IN \
               ('user.created', 'user.reactivated') ORDER BY seq DESC LIMIT 1";
    let params = [Param::Blob(user.as_bytes()), change::param(upto)];
    let found = tx.first(sql, &params, |row| Ok(Seq(u64::try_from(row.int(0)?).unwrap_or(0))))?;
    if let Some(seq) = found {
        return Ok(Mark::of(seq));
    }
    let sql = "SELECT active_seq FROM base_resource WHERE id = ?1";
    let kept = tx.first(sql, &[Param::Blob(user.as_bytes())], |row| {
        Ok(Seq(u64::try_from(row.int(0)?).unwrap_or(0)))
    })?;
    Ok(Mark::of(kept.unwrap_or(Seq::ZERO)))
}

/// When the role's filter became true for the user: its document is taken back change by change until it was not. What
/// the filter asks of groups is asked of those of now.
fn matching(
    tx: &mut ReadTx<'_>,
    upto: Seq,
    directory: &DirectoryFacts,
    role: &Role,
    user: &UserFacts,
) -> Result<Mark, StoreError> {
    let Some(filter) = &role.users else { return Ok(Mark::of(Seq::ZERO)) };
    let groups = groups_of(directory, user.id);
    let base = base::base(tx)?;
    let sql = "SELECT c.seq, v.before, v.after, c.kind = 'user.created' FROM change c LEFT JOIN change_value v \
               ON v.seq = c.seq WHERE c.resource = ?1 AND c.seq <= ?2 ORDER BY c.seq DESC";
    let mut then = user.clone();
    let mut doc = (*user.doc).clone();
    let mut found: Option<Seq> = None;
    let mut oldest = base.seq;
    tx.query(sql, &[Param::Blob(user.id.as_bytes()), change::param(upto)], &mut |row| {
        if found.is_some() {
            return Ok(());
        }
        let seq = Seq(u64::try_from(row.int(0)?).unwrap_or(0));
        oldest = seq;
        amend(&mut doc, row.opt_text(2)?, row.opt_text(1)?);
        then.doc = Arc::new(doc.clone());
        if row.int(3)? == 1 || !filter.is_true_for(&then, &groups) {
            found = Some(seq);
        }
        Ok(())
    })?;
    Ok(Mark::of(found.unwrap_or(if base.seq > Seq::ZERO { Seq::ZERO } else { oldest })))
}

/// Ids of the groups a user is in, directly or through nesting.
fn groups_of(directory: &DirectoryFacts, user: ResourceId) -> Vec<String> {
    let mut reached: HashSet<ResourceId> = HashSet::new();
    let mut waiting: Vec<ResourceId> =
        directory.groups.iter().filter(|group| group.users.contains(&user)).map(|group| group.id).collect();
    while let Some(id) = waiting.pop() {
        if reached.insert(id) {
            waiting.extend(
                directory.groups.iter().filter(|group| group.groups.contains(&id)).map(|group| group.id),
            );
        }
    }
    reached.into_iter().map(|id| id.to_string()).collect()
}
