//! People who may sign in over TCP: names, roles, passwords.
//!
//! INVARIANT: a password is compared by argon2id only, at most two at once, and an unknown name costs what a known
//! one does. Whoever fails too often waits, before anything is compared.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::AdminRole;
use crate::http::auth::{Buckets, Settings as Rate};
use crate::http::network;
use crate::model::{AdminName, Secret};

/// One `[[admin.user]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminUser {
    /// Key `name`.
    pub name: AdminName,
    /// Key `role`: `view`, `operate` or `admin`.
    pub role: AdminRole,
    /// What the file of key `password_file` holds.
    pub password: StoredPassword,
}

/// What a password file holds: a password, or an argon2id hash of one in PHC form.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPassword(Secret);

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword(…)")
    }
}

/// Least characters of a password that is written down plainly.
const CHARACTERS_MIN: usize = 12;
/// Longest password that is looked at.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// Memory of a hash of ours, in KiB, and how often it is gone over (OWASP's least for argon2id).
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
/// Most memory and passes of a hash that somebody else made: two of them run at once.
const MEMORY_KIB_MAX: u32 = 256 * 1_024;
const PASSES_MAX: u32 = 16;

impl FromStr for StoredPassword {
    type Err = &'static str;

    /// Says why a text can be neither.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('$') {
            let wrong = "it begins with `$` and is no argon2id hash in PHC form, such as `$argon2id$v=19$m=19456,t=2,p=1$…`";
            let hash = PasswordHash::new(text).map_err(|_| wrong)?;
            let params = Params::try_from(&hash).map_err(|_| wrong)?;
            if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || hash.salt.is_none() {
                return Err(wrong);
            }
            if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
                return Err("its argon2id hash takes more than 256 MiB or 16 passes");
            }
            if params.m_cost() < 7 * 1_024 {
                return Err("its argon2id hash takes less than 7 MiB and is guessed too quickly");
            }
        } else if text.chars().count() < CHARACTERS_MIN {
            return Err("its password has fewer than 12 characters");
        } else if text.len() > PASSWORD_BYTES_MAX || text.contains(['\n', '\r']) {
            return Err("it holds more than one line, or more than 1024 bytes");
        }
        Ok(Self(Secret::new(text.to_owned())))
    }
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl StoredPassword {
    /// The hash to compare with. Takes as long as a sign-in where the file holds a password.
    fn hash(&self) -> Option<Secret> {
        let text = self.0.expose();
        if text.starts_with('$') {
            return Some(self.0.clone());
        }
        hasher().hash_password(text.as_bytes()).ok().map(|hash| Secret::new(hash.to_string()))
    }
}

/// Somebody who signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub name: AdminName,
    /// What for.
    pub role: AdminRole,
    /// Says which password it was, without saying it: a session whose stamp is no longer its user's has ended.
    pub stamp: [u8; 32],
}

/// Why somebody may not sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Wrong name or wrong password.
    Wrong,
    /// Too many wrong ones; wait this long.
    Wait(Duration),
    /// Too many people sign in at this moment; try again after this long.
    Busy(Duration),
}

struct Known {
    user: AdminUser,
    hash: Option<Secret>,
    stamp: [u8; 32],
}

/// Everybody who may sign in. Shared by the listener and the console; replaced by a reload.
pub struct Users {
    known: arc_swap::ArcSwap<Vec<Known>>,
    /// Makes what is kept of passwords worthless outside this process.
    salt: [u8; 32],
    turns: Semaphore,
    addresses: Buckets<IpAddr>,
    names: Buckets<String>,
    recent: Mutex<Recent>,
    #[cfg(test)]
    compared: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
struct Recent {
    /// Credentials that were right, by their digest, until when.
    right: HashMap<[u8; 32], (SignedIn, Instant)>,
    /// Where people signed in from, so that a stranger who guesses at a name does not lock its owner out.
    from: HashMap<(AdminName, IpAddr), Instant>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

/// Most passwords compared at once: each takes its 19 MiB.
const TURNS: usize = 2;
/// Longest wait for a turn.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// Failing sign-ins of an address, and of a name.
const RATE: Rate = Rate { per_minute: 10, burst: 10 };
/// How long right credentials are known without comparing them again.
const REMEMBERED: Duration = Duration::from_mins(5);
/// How long an address that signed in as somebody is not measured by the failures of others with that name.
const TRUSTED: Duration = Duration::from_hours(24);
/// Most entries of each kind kept in memory.
const RECENT_MAX: usize = 1_000;

impl Users {
    /// Everybody in `users`. Takes as long as that many sign-ins: call it where blocking is fine.
    pub fn new(users: &[AdminUser]) -> Self {
        let mut salt = [0_u8; 32];
        // Without randomness digests are only as secret as the process's memory, which they never leave.
        let _ = getrandom::fill(&mut salt);
        let made = Self {
            known: arc_swap::ArcSwap::default(),
            salt,
            turns: Semaphore::new(TURNS),
            addresses: Buckets::new(RATE),
            names: Buckets::new(RATE),
            recent: Mutex::default(),
            #[cfg(test)]
            compared: std::sync::atomic::AtomicU64::new(0),
        };
        made.replace(users);
        made
    }

    /// Takes other users over. What was remembered of credentials is forgotten.
    pub fn replace(&self, users: &[AdminUser]) {
        let before = self.known.load_full();
        let known = users.iter().map(|user| {
            let same = before.iter().find(|one| one.user.password == user.password);
            let hash = same.map_or_else(|| user.password.hash(), |one| one.hash.clone());
            let stamp =
                self.digest(&[b"stamp", user.name.as_str().as_bytes(), user.password.0.expose().as_bytes()]);
            Known { user: user.clone(), hash, stamp }
        });
        self.known.store(Arc::new(known.collect()));
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).right.clear();
    }

    /// The role of `name` now, and the stamp its sessions must have; `None` if there is nobody called so any more.
    pub fn find(&self, name: &AdminName) -> Option<SignedIn> {
        self.known.load().iter().find(|one| one.user.name == *name).map(Known::signed_in)
    }

    fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut digest = Sha256::new_with_prefix(self.salt);
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    /// Lets somebody in. `address` is where the request comes from, `None` for a local proxy.
    /// # Errors
    /// Which of name and password is wrong is nobody's business.
    pub async fn sign_in(
        self: &Arc<Self>,
        name: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, Refused> {
        let from = address.map(network::counted);
        // Whoever guesses must not be answered from memory either: what was right there would let them go on.
        self.may_try(name, from, Instant::now())?;
        let digest = self.digest(&[
            b"right",
            name.as_bytes(),
            password.as_bytes(),
            from.map(|from| from.to_string()).unwrap_or_default().as_bytes(),
        ]);
        if let Some(found) = self.remembered(&digest, Instant::now()) {
            return Ok(found);
        }
        let Ok(Ok(turn)) = tokio::time::timeout(TURN_PATIENCE, self.turns.acquire()).await else {
            return Err(Refused::Busy(TURN_PATIENCE));
        };
        // Those who waited with the same credentials need not go through it again.
        let now = Instant::now();
        if let Some(found) = self.remembered(&digest, now) {
            return Ok(found);
        }
        let paid = self.charge(name, from, now)?;
        let (users, asked, presented) = (Arc::clone(self), name.to_owned(), Secret::new(password.to_owned()));
        let compared = tokio::task::spawn_blocking(move || users.compare(&asked, presented.expose())).await;
        drop(turn);
        let found = compared.ok().flatten().ok_or(Refused::Wrong)?;
        self.refund(&paid);
        // Comparing takes a while; the password or the person may have gone in that time.
        if self.find(&found.name).as_ref() != Some(&found) {
            return Err(Refused::Wrong);
        }
        self.remember(digest, &found, from, Instant::now());
        Ok(found)
    }

    /// Compares with the hash of `name`; for an unknown name with somebody's, so that it takes as long.
    pub(crate) fn compare(&self, name: &str, password: &str) -> Option<SignedIn> {
        let known = self.known.load();
        let found = known.iter().find(|one| one.user.name.as_str() == name);
        let [pick, ..] = self.digest(&[b"nobody", name.as_bytes()]);
        let nobody = known.iter().cycle().nth(usize::from(pick));
        let hash = found.or(nobody)?.hash.as_ref()?;
        let hash = PasswordHash::new(hash.expose()).ok()?;
        if password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        #[cfg(test)]
        self.compared.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let is_right = hasher().verify_password(password.as_bytes(), &hash).is_ok();
        found.filter(|_| is_right).map(Known::signed_in)
    }

    /// How many passwords have been compared with a hash.
    #[cfg(test)]
    pub(crate) fn compared(&self) -> u64 {
        self.compared.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether an attempt would be counted or refused.
    fn may_try(&self, name: &str, address: Option<IpAddr>, now: Instant) -> Result<(), Refused> {
        let of_address = address.and_then(|address| self.addresses.wait(&address, now));
        let of_name =
            || if self.is_usual(name, address, now) { None } else { self.names.wait(&counted(name), now) };
        of_address.or_else(of_name).map_or(Ok(()), |wait| Err(Refused::Wait(wait)))
    }

    /// Counts an attempt before it is made, so that many at once are counted as well.
    fn charge(&self, name: &str, address: Option<IpAddr>, now: Instant) -> Result<Paid, Refused> {
        let mut paid = Paid::default();
        if let Some(address) = address {
            self.addresses.spend(address, now).map_err(Refused::Wait)?;
            paid.address = Some(address);
        }
        if !self.is_usual(name, address, now) {
            let name = counted(name);
            if let Err(wait) = self.names.spend(name.clone(), now) {
                return Err(Refused::Wait(wait));
            }
            paid.name = Some(name);
        }
        Ok(paid)
    }

    fn refund(&self, paid: &Paid) {
        if let Some(address) = &paid.address {
            self.addresses.refund(address);
        }
        if let Some(name) = &paid.name {
            self.names.refund(name);
        }
    }

    fn remembered(&self, digest: &[u8; 32], now: Instant) -> Option<SignedIn> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found =
            recent.right.get(digest).filter(|(_, until)| *until > now).map(|(found, _)| found.clone())?;
        // Between the new users and the forgetting of what was right for the old ones there is a moment.
        (self.find(&found.name).as_ref() == Some(&found)).then_some(found)
    }

    fn is_usual(&self, name: &str, address: Option<IpAddr>, now: Instant) -> bool {
        let (Ok(name), Some(address)) = (AdminName::parse(name), address) else { return false };
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.from.get(&(name, address)).is_some_and(|until| *until > now)
    }

    fn remember(&self, digest: [u8; 32], found: &SignedIn, address: Option<IpAddr>, now: Instant) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        // A reload may have come in between; what is no longer true is not remembered. Looked at under the lock that
        // forgetting takes: what is remembered before it is forgotten, and nothing of the old comes after it.
        if self.find(&found.name).as_ref() != Some(found) {
            return;
        }
        if recent.right.len() >= RECENT_MAX {
            recent.right.retain(|_, (_, until)| *until > now);
        }
        if recent.right.len() < RECENT_MAX {
            recent.right.insert(digest, (found.clone(), now + REMEMBERED));
        }
        if recent.from.len() >= RECENT_MAX {
            recent.from.retain(|_, until| *until > now);
        }
        if let Some(address) = address
            && recent.from.len() < RECENT_MAX
        {
            recent.from.insert((found.name.clone(), address), now + TRUSTED);
        }
    }
}

impl Known {
    fn signed_in(&self) -> SignedIn {
        SignedIn { name: self.user.name.clone(), role: self.user.role, stamp: self.stamp }
    }
}

/// What of a name is counted: longer ones are nobody's and would only take room.
fn counted(name: &str) -> String {
    name.chars().take(64).collect()
}

/// What an attempt was counted against.
#[derive(Default)]
struct Paid {
    address: Option<IpAddr>,
    name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_right_for_somebody_who_is_gone_is_not_remembered_in_any_order() {
        let user = |password: &str| AdminUser {
            name: AdminName::parse("ops").unwrap(),
            role: AdminRole::Admin,
            password: password.parse().unwrap(),
        };
        let users = Arc::new(Users::new(&[user("the first password")]));
        let here = Some("192.0.2.1".parse().unwrap());
        let found = users.sign_in("ops", "the first password", here).await.unwrap();
        // A reload that has put the new ones in place and not yet forgotten the old.
        let other = Users::new(&[user("the second password")]);
        users.known.store(other.known.load_full());
        let refused = users.sign_in("ops", "the first password", here).await.unwrap_err();
        assert_eq!(refused, Refused::Wrong);
        // One whose comparison began before a reload and ends after it.
        users.remember([7; 32], &found, here, Instant::now());
        assert!(users.recent.lock().unwrap().right.keys().all(|digest| *digest != [7; 32]));
    }
}
