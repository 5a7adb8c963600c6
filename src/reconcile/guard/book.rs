//! The guard's book of one target: every verdict that still counts, the hold that stands, and the plans people were
//! shown. Pure; `record` stores it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::access::{Entitlement, Exception, Verdict};
use crate::mirror::target::{Holding, How, Passed};
use crate::model::{Seq, Subject, Timestamp};

use crate::reconcile::guard::Guard;
use crate::reconcile::plan::{self, Key};

/// Plans remembered by hash; one who decides about an older one has to look again.
const PLANS_MAX: usize = 256;

/// All that the guard remembers of one target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Book {
    /// Removals not carried out: held, rejected, protected.
    pub exceptions: BTreeMap<Key, Exception>,
    /// Removals let through: not applied yet, or still counted.
    pub passed: BTreeMap<Key, Passed>,
    /// The hold that stands.
    pub hold: Option<Hold>,
    /// Plan hashes, oldest first, each with the newest batch it covers.
    pub plans: Vec<(String, u64)>,
    /// The newest batch of held removals.
    pub batch: u64,
}

/// A hold. It begins when removals pass a limit and ends when nothing is held any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// When it began.
    pub began: Timestamp,
    /// People let through since although it stands.
    #[serde(with = "subjects")]
    pub urgent: BTreeSet<Subject>,
    /// Whether `notify` ran.
    pub told: bool,
    /// It holds only what a re-baseline found: other removals are judged as if it were not there.
    #[serde(default)]
    pub aside: bool,
}

impl Hold {
    /// One that begins now, its urgent budget untouched.
    pub fn at(now: Timestamp) -> Self {
        Self { began: now, urgent: BTreeSet::new(), told: false, aside: false }
    }
}

/// What a person decides about one target's held removals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let removals go.
    Approve {
        /// Those of the plan with this hash that are still held. `None`: needs `subjects`.
        plan: Option<String>,
        /// Only these people, by their name at the target, `userName`, id or `DIRECTORY/ID`; with no `plan` also what
        /// was rejected or is protected.
        subjects: Vec<String>,
    },
    /// Keep what is held.
    Reject {
        /// Only those of the plan with this hash that are still held. `None`: everything.
        plan: Option<String>,
        /// Give back too what the window let through before the hold began.
        window: bool,
    },
    /// Follow the mirror that was restored from a backup.
    Restored,
}

/// What a decision did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Decided {
    /// Removals released.
    pub released: u64,
    /// Removals rejected.
    pub rejected: u64,
    /// Entitlements given back that had been let go.
    pub given_back: u64,
}

/// Why a decision cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Neither a plan nor a person was named.
    Unnamed,
    /// No plan of this hash was ever shown, or too long ago.
    UnknownPlan(String),
    /// Nothing is held.
    NothingHeld,
    /// Nothing is kept for this person.
    UnknownSubject(String),
    /// Several people go by this name.
    Ambiguous(String, Vec<String>),
    /// The target does not wait for a word after a restore.
    NotRestored,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("name the plan by its hash, or the people"),
            Self::UnknownPlan(hash) => write!(f, "no removals were held as plan `{hash}`"),
            Self::NothingHeld => f.write_str("nothing is held"),
            Self::NotRestored => f.write_str("it does not wait for a word after a restore"),
            Self::UnknownSubject(name) => write!(f, "nothing is held, rejected or protected of `{name}`"),
            Self::Ambiguous(name, list) => write!(f, "`{name}` is {}; name one of them", list.join(" or ")),
        }
    }
}

impl std::error::Error for Refused {}

impl Book {
    /// Whether there is a verdict on this removal.
    pub fn has(&self, key: &Key) -> bool {
        self.exceptions.contains_key(key) || self.passed.contains_key(key)
    }

    /// Whether a hold stands that other removals meet.
    pub fn stands(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| !hold.aside)
    }

    /// The held removals.
    pub fn held(&self) -> impl Iterator<Item = &Exception> {
        self.exceptions.values().filter(|one| one.verdict == Verdict::Held)
    }

    /// How many removals are held.
    pub fn held_count(&self) -> u64 {
        self.held().count() as u64
    }

    /// The hash of the plan that is held now; the same for the same removals.
    pub fn hash(&self) -> String {
        hash(self.held().map(|one| (one.subject.to_string(), one.entitlement.to_string())))
    }

    /// Keeps a removal from being carried out.
    pub(crate) fn keep(&mut self, holding: &Holding, verdict: Verdict, since: Seq, batch: u64) {
        let exception = plan::exception_of(holding, verdict, since, batch);
        self.passed.remove(&plan::key_of(holding));
        self.exceptions.insert(plan::key_of(holding), exception);
    }

    /// Lets a removal through.
    pub(crate) fn pass(&mut self, passed: Passed) {
        let key = plan::key_of(&passed.holding);
        self.exceptions.remove(&key);
        self.passed.insert(key, passed);
    }

    /// Lets the exceptions go that `is_chosen`, as approved. Answers how many.
    pub(crate) fn release(&mut self, now: Timestamp, is_chosen: impl Fn(&Exception) -> bool) -> u64 {
        let chosen: Vec<Holding> = self
            .exceptions
            .values()
            .filter(|one| is_chosen(one))
            .map(|one| Holding {
                subject: one.subject.clone(),
                entitlement: one.entitlement.clone(),
                name: one.name.clone(),
                attributes: one.attributes.clone(),
            })
            .collect();
        let count = chosen.len() as u64;
        for holding in chosen {
            self.pass(Passed { holding, at: now, how: How::Approved });
        }
        if self.held().next().is_none() {
            self.hold = None;
        }
        count
    }

    /// Remembers the plan that is held now, so that a person can name it later.
    pub(crate) fn number_plan(&mut self) {
        if self.held().next().is_none() {
            return;
        }
        let hash = self.hash();
        if self.plans.last().is_none_or(|(last, _)| *last != hash) {
            self.plans.retain(|(known, _)| *known != hash);
            self.plans.push((hash, self.batch));
            let surplus = self.plans.len().saturating_sub(PLANS_MAX);
            self.plans.drain(..surplus);
        }
    }

    /// Carries out a person's decision.
    ///
    /// # Errors
    /// [`Refused`]; the book is as it was.
    pub fn decide(&mut self, guard: &Guard, decision: &Decision, now: Timestamp) -> Result<Decided, Refused> {
        let decided = match decision {
            Decision::Approve { plan, subjects } => self.approve(plan.as_deref(), subjects, now)?,
            Decision::Reject { plan, window } => self.reject(guard, plan.as_deref(), *window)?,
            // What follows from it is the run's, which knows what access is.
            Decision::Restored => Decided::default(),
        };
        self.number_plan();
        Ok(decided)
    }

    fn approve(
        &mut self,
        plan: Option<&str>,
        subjects: &[String],
        now: Timestamp,
    ) -> Result<Decided, Refused> {
        let upto = plan.map(|hash| self.batch_of(hash)).transpose()?;
        let people = subjects.iter().map(|name| self.subject(name)).collect::<Result<BTreeSet<_>, _>>()?;
        if upto.is_none() && people.is_empty() {
            return Err(Refused::Unnamed);
        }
        let released = self.release(now, |one| {
            let is_of_plan = upto.is_none_or(|upto| one.verdict == Verdict::Held && one.batch <= upto);
            is_of_plan && (people.is_empty() || people.contains(&one.subject))
        });
        Ok(Decided { released, ..Decided::default() })
    }

    fn batch_of(&self, hash: &str) -> Result<u64, Refused> {
        let found = self.plans.iter().rev().find(|(known, _)| known == hash);
        found.map(|(_, batch)| *batch).ok_or_else(|| Refused::UnknownPlan(hash.to_owned()))
    }

    /// Who goes by this name among those something is kept for.
    fn subject(&self, name: &str) -> Result<Subject, Refused> {
        let found: BTreeSet<&Subject> = self
            .exceptions
            .values()
            .filter(|one| {
                let user_name = one.attributes.get("userName").and_then(serde_json::Value::as_str);
                one.name == name
                    || user_name == Some(name)
                    || one.subject.to_string() == name
                    || one.subject.user.to_string() == name
            })
            .map(|one| &one.subject)
            .collect();
        let mut all = found.iter();
        match (all.next(), all.next()) {
            (None, _) => Err(Refused::UnknownSubject(name.to_owned())),
            (Some(only), None) => Ok((*only).clone()),
            _ => Err(Refused::Ambiguous(name.to_owned(), found.iter().map(ToString::to_string).collect())),
        }
    }

    /// What the window let through before the hold began: what a reject `window` gives back.
    pub(crate) fn given_back(&self, guard: &Guard, began: Timestamp) -> impl Iterator<Item = &Passed> {
        let window = guard.window;
        self.passed
            .values()
            .filter(move |one| one.how == How::Allowed && one.at <= began && began.since(one.at) < window)
    }

    fn reject(&mut self, guard: &Guard, plan: Option<&str>, window: bool) -> Result<Decided, Refused> {
        let upto = plan.map(|hash| self.batch_of(hash)).transpose()?;
        let is_meant =
            |one: &Exception| one.verdict == Verdict::Held && upto.is_none_or(|upto| one.batch <= upto);
        let since = self.exceptions.values().filter(|one| is_meant(one)).map(|one| one.since).min();
        let since = since.ok_or(Refused::NothingHeld)?;
        let mut decided = Decided::default();
        for exception in self.exceptions.values_mut().filter(|one| is_meant(one)) {
            exception.verdict = Verdict::Rejected;
            decided.rejected += 1;
        }
        let began = self.hold.as_ref().map(|hold| hold.began).filter(|_| window);
        if self.held().next().is_none() {
            self.hold = None;
        }
        let before: Vec<Holding> = began
            .map(|began| self.given_back(guard, began).map(|one| one.holding.clone()).collect())
            .unwrap_or_default();
        for holding in before {
            self.keep(&holding, Verdict::Rejected, since, 0);
            decided.given_back += 1;
        }
        Ok(decided)
    }
}

/// SHA-256 over who and what, sorted, in hex: the same removals have the same hash, whatever the words.
pub(crate) fn hash(removals: impl Iterator<Item = (String, String)>) -> String {
    let sorted: BTreeSet<(String, String)> = removals.collect();
    let mut hasher = Sha256::new();
    for (id, entitlement) in sorted {
        hasher.update(id);
        hasher.update(b"\0");
        hasher.update(entitlement);
        hasher.update(b"\n");
    }
    hasher.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Subjects as `DIRECTORY/ID`.
mod subjects {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::{DirectoryId, ResourceId, Subject};

    pub(crate) fn serialize<S: Serializer>(
        subjects: &BTreeSet<Subject>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        subjects.iter().map(ToString::to_string).collect::<Vec<_>>().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<Subject>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parse = |text: &String| {
            let (directory, user) = text.split_once('/')?;
            Some(Subject { directory: DirectoryId::parse(directory).ok()?, user: ResourceId::parse(user)? })
        };
        Ok(texts.iter().filter_map(parse).collect())
    }
}

/// Whether `exception` is about a role; webhooks speak of nothing else.
pub(crate) fn is_role(entitlement: &Entitlement) -> bool {
    matches!(entitlement, Entitlement::Role(_))
}
