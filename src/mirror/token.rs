//! Credentials: bearer tokens of directories, and readers. Only the SHA-256 of a token is kept.
//!
//! A minted token is `rosterd_`, 30 base62 characters (178 bits) and 6 more of CRC-32 over them, so that
//! scanners can recognise one and a mistyped one is refused without asking the store. A slow hash would guard
//! nothing: there is no dictionary of such texts.

use sha2::{Digest as _, Sha256};

use crate::model::{DirectoryId, DirectoryKind, Secret, Timestamp, TokenId};

use super::change::{self, CONFIG_CHAIN, Entry, Kind};
use super::directory::DirectoryRef;
use super::engine::{Param, Row, StoreError};
use super::marks::Client;
use super::tx::{ReadTx, WriteTx};
use super::{Error, Refusal};

/// What every minted token starts with.
pub const PREFIX: &str = "rosterd_";
/// Fewest characters of a token that the configuration brings.
pub const CONFIGURED_MIN: usize = 32;
/// Longest credential looked at.
const PRESENTED_MAX: usize = 4_096;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Who a directory's bearer token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token used.
    pub token: TokenId,
    /// The one directory it reaches.
    pub directory: DirectoryRef,
    /// Which identity provider speaks.
    pub kind: DirectoryKind,
    /// False: answer 503.
    pub enabled: bool,
}

/// What a presented bearer token of a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// It works.
    Live(Principal),
    /// It was one of this directory's. For the operator to know; who presents it is told nothing.
    Ended {
        /// The token.
        token: TokenId,
        /// Whose it was.
        directory: DirectoryId,
        /// Since when it is refused.
        at: Timestamp,
        /// Whether a person or the configuration ended it; else its time was over.
        revoked: bool,
    },
    /// Malformed, of a reader, or none that is known.
    Unknown,
}

/// Who a reader's credential speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The credential used.
    pub token: TokenId,
    /// The reader's name in the configuration.
    pub name: String,
}

/// Whom a new token serves.
#[derive(Debug, Clone, Copy)]
pub enum Holder<'a> {
    /// An identity provider.
    Directory(&'a DirectoryId),
    /// A reader, by name.
    Reader(&'a str),
}

/// A token as listed; never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Public name.
    pub id: TokenId,
    /// Its directory, if it is one's.
    pub directory: Option<DirectoryId>,
    /// Its reader, if it is one's.
    pub reader: Option<String>,
    /// What the operator wrote beside it.
    pub note: String,
    /// True when the configuration brought it.
    pub configured: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Last use, as far as flushed.
    pub last_used_at: Option<Timestamp>,
    /// Who used it last, as far as flushed.
    pub last_client: Client,
}

/// Makes a token. The [`Secret`] is shown once and cannot be had again.
///
/// # Errors
/// [`Refusal::Absent`] for an unknown directory, [`Refusal::Invalid`] for an expiry in the past.
pub fn mint(
    tx: &mut WriteTx<'_>,
    holder: Holder<'_>,
    note: &str,
    expires_at: Option<Timestamp>,
) -> Result<(Token, Secret), Error> {
    if expires_at.is_some_and(|at| at <= tx.now()) {
        return Err(Refusal::Invalid("the token would expire before now".into()).into());
    }
    let secret = Secret::new(new_text()?);
    let token = store(tx, holder, &secret, note, expires_at, false)?;
    Ok((token, secret))
}

/// Makes the tokens that the configuration brings for one holder exactly `secrets`: new ones are stored, those it
/// no longer names are revoked. Minted ones are left alone.
///
/// # Errors
/// [`Refusal::Absent`] for an unknown directory, [`Refusal::Invalid`] for a secret under 32 characters or one
/// that another holder has.
pub fn configure(tx: &mut WriteTx<'_>, holder: Holder<'_>, secrets: &[Secret]) -> Result<(), Error> {
    let mut wanted = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let text = secret.expose();
        if text.chars().count() < CONFIGURED_MIN || text.len() > PRESENTED_MAX {
            return Err(Refusal::Invalid("a configured token has 32 characters or more".into()).into());
        }
        wanted.push(digest(text));
    }
    let (dir, reader) = columns(tx, holder)?;
    let sql = "SELECT id, hash FROM token WHERE source = 'config' AND revoked_at IS NULL \
               AND (dir = ?1 OR reader = ?2)";
    let params = [Param::opt_int(dir.as_ref().map(|d| d.key)), Param::opt_text(reader)];
    let live = tx.all(sql, &params, |row| Ok((row.text(0)?.to_owned(), row.blob(1)?.to_vec())))?;
    for (id, hash) in &live {
        if !wanted.iter().any(|digest| digest.as_slice() == hash.as_slice()) {
            revoke(tx, &token_id(id)?)?;
        }
    }
    for (secret, hash) in secrets.iter().zip(&wanted) {
        if live.iter().any(|(_, known)| known.as_slice() == hash.as_slice()) {
            continue;
        }
        store(tx, holder, secret, "from the configuration", None, true)?;
    }
    Ok(())
}

/// Revokes a token; effective with the next request. Revoking again changes nothing.
///
/// # Errors
/// [`Refusal::Absent`].
pub fn revoke(tx: &mut WriteTx<'_>, id: &TokenId) -> Result<Token, Error> {
    let sql = format!("{COLUMNS} WHERE t.id = ?1");
    let found = tx.first(&sql, &[Param::Text(id.as_str())], |row| Ok((token_of(row)?, row.opt_int(10)?)))?;
    let (mut token, dir) = found.ok_or_else(|| Refusal::Absent(format!("no token `{id}`")))?;
    if token.revoked_at.is_some() {
        return Ok(token);
    }
    let now = tx.now();
    let sql = "UPDATE token SET revoked_at = ?2 WHERE id = ?1";
    tx.execute(sql, &[Param::Text(id.as_str()), Param::Int(now.0)])?;
    log(tx, dir, &Kind::TokenRevoked, id, None)?;
    token.revoked_at = Some(now);
    Ok(token)
}

/// All tokens, of one directory or of everybody, oldest first, revoked and expired ones included.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn list(tx: &mut ReadTx<'_>, directory: Option<&DirectoryRef>) -> Result<Vec<Token>, StoreError> {
    match directory {
        Some(directory) => {
            let sql = format!("{COLUMNS} WHERE t.dir = ?1 ORDER BY t.key");
            tx.all(&sql, &[Param::Int(directory.key)], token_of)
        }
        None => tx.all(&format!("{COLUMNS} ORDER BY t.key"), &[], token_of),
    }
}

/// What a presented bearer token of a directory is. One look-up, whatever comes of it.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn authenticate(tx: &mut ReadTx<'_>, presented: &str) -> Result<Presented, StoreError> {
    let Some(hash) = plausible(presented) else { return Ok(Presented::Unknown) };
    let now = tx.now().0;
    let sql = "SELECT t.id, t.expires_at, d.key, d.id, d.kind, d.enabled, t.revoked_at FROM token t \
               JOIN directory d ON d.key = t.dir WHERE t.hash = ?1";
    let found = tx.first(sql, &[Param::Blob(&hash)], |row| {
        let bug = |e: crate::model::IdError| StoreError::Bug(e.to_string());
        let (token, directory) = (token_id(row.text(0)?)?, DirectoryId::parse(row.text(3)?).map_err(bug)?);
        let (revoked, expired) = (row.opt_int(6)?, row.opt_int(1)?.filter(|at| *at <= now));
        // A token that had expired before it was revoked is told of as expired: then it stopped working.
        if let Some(at) = [revoked, expired].into_iter().flatten().min() {
            let revoked = revoked == Some(at);
            return Ok(Presented::Ended { token, directory, at: Timestamp(at), revoked });
        }
        Ok(Presented::Live(Principal {
            token,
            directory: DirectoryRef { key: row.int(2)?, id: directory },
            kind: row.text(4)?.parse().map_err(bug)?,
            enabled: row.int(5)? == 1,
        }))
    })?;
    Ok(found.unwrap_or(Presented::Unknown))
}

/// Whom a presented reader credential speaks for; `None` for anything else, directories' tokens included.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn authenticate_reader(tx: &mut ReadTx<'_>, presented: &str) -> Result<Option<Reader>, StoreError> {
    let Some(hash) = plausible(presented) else { return Ok(None) };
    let now = tx.now().0;
    let sql = "SELECT id, expires_at, reader FROM token WHERE hash = ?1 AND revoked_at IS NULL \
               AND reader IS NOT NULL";
    let found = tx.first(sql, &[Param::Blob(&hash)], |row| {
        if row.opt_int(1)?.is_some_and(|at| at <= now) {
            return Ok(None);
        }
        Ok(Some(Reader { token: token_id(row.text(0)?)?, name: row.text(2)?.to_owned() }))
    })?;
    Ok(found.flatten())
}

/// True for text shaped like a minted token with the right checksum.
pub fn is_well_formed(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX) else { return false };
    let Some((random, sum)) = rest.split_at_checked(30) else { return false };
    rest.len() == 36 && random.bytes().all(|b| b.is_ascii_alphanumeric()) && checksum(random) == sum
}

/// Digest to look up, unless the text cannot be a token of ours at all.
fn plausible(presented: &str) -> Option<[u8; 32]> {
    let minted = presented.starts_with(PREFIX);
    let good = if minted { is_well_formed(presented) } else { presented.len() >= CONFIGURED_MIN };
    (good && presented.len() <= PRESENTED_MAX).then(|| digest(presented))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn checksum(random: &str) -> String {
    let mut sum = crc32fast::hash(random.as_bytes());
    let mut text = [b'0'; 6];
    for slot in text.iter_mut().rev() {
        *slot = ALPHABET.get((sum % 62) as usize).copied().unwrap_or(b'0');
        sum /= 62;
    }
    text.iter().map(|b| char::from(*b)).collect()
}

/// `count` base62 characters, each equally likely: bytes over the largest multiple of 62 are thrown away.
fn random_text(count: usize) -> Result<String, StoreError> {
    let mut text = String::with_capacity(count);
    let mut bytes = [0_u8; 64];
    while text.len() < count {
        getrandom::fill(&mut bytes).map_err(|e| StoreError::Bug(format!("no randomness: {e}")))?;
        let fair = bytes.iter().filter(|b| **b < 248).filter_map(|b| ALPHABET.get(usize::from(*b % 62)));
        text.extend(fair.take(count - text.len()).map(|b| char::from(*b)));
    }
    Ok(text)
}

fn new_text() -> Result<String, StoreError> {
    let random = random_text(30)?;
    let sum = checksum(&random);
    Ok(format!("{PREFIX}{random}{sum}"))
}

fn token_id(text: &str) -> Result<TokenId, StoreError> {
    TokenId::parse(text).map_err(|e| StoreError::Bug(e.to_string()))
}

/// The two columns that say whose a token is.
fn columns<'a>(
    tx: &mut ReadTx<'_>,
    holder: Holder<'a>,
) -> Result<(Option<DirectoryRef>, Option<&'a str>), Error> {
    match holder {
        Holder::Reader(name) => Ok((None, Some(name))),
        Holder::Directory(id) => {
            let found = super::directory::find(tx, id)?;
            let found = found.ok_or_else(|| Refusal::Absent(format!("no directory `{id}`")))?;
            Ok((Some(found.reference), None))
        }
    }
}

fn store(
    tx: &mut WriteTx<'_>,
    holder: Holder<'_>,
    secret: &Secret,
    note: &str,
    expires_at: Option<Timestamp>,
    configured: bool,
) -> Result<Token, Error> {
    let (dir, reader) = columns(tx, holder)?;
    let id = token_id(&format!("tok_{}", random_text(12)?))?;
    let now = tx.now();
    let source = if configured { "config" } else { "minted" };
    let hash = digest(secret.expose());
    // A configured token that was dropped and named again lives again under its old row's digest.
    tx.execute(
        "DELETE FROM token WHERE hash = ?1 AND source = 'config' AND revoked_at IS NOT NULL",
        &[Param::Blob(&hash)],
    )?;
    let params = [
        Param::Text(id.as_str()),
        Param::Blob(&hash),
        Param::opt_int(dir.as_ref().map(|d| d.key)),
        Param::opt_text(reader),
        Param::Text(note),
        Param::Text(source),
        Param::Int(now.0),
        Param::opt_int(expires_at.map(|at| at.0)),
    ];
    let sql = "INSERT INTO token (id, hash, dir, reader, note, source, created_at, expires_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    if tx.execute(sql, &params)? == 0 {
        return Err(Refusal::Invalid("the token is in use already; each holder needs its own".into()).into());
    }
    let token = Token {
        id,
        directory: dir.as_ref().map(|d| d.id.clone()),
        reader: reader.map(str::to_owned),
        note: note.to_owned(),
        configured,
        created_at: now,
        expires_at,
        revoked_at: None,
        last_used_at: None,
        last_client: Client::default(),
    };
    let after = serde_json::json!({
        "directory": token.directory.as_ref().map(DirectoryId::as_str),
        "reader": token.reader, "note": note, "source": source,
        "expires": expires_at.map(|at| at.to_string()),
    });
    log(tx, dir.map(|d| d.key), &Kind::TokenCreated, &token.id, Some(&after.to_string()))?;
    Ok(token)
}

fn log(
    tx: &mut WriteTx<'_>,
    dir: Option<i64>,
    kind: &Kind,
    id: &TokenId,
    after: Option<&str>,
) -> Result<(), StoreError> {
    let chain = dir.unwrap_or(CONFIG_CHAIN);
    let entry = Entry { chain, kind: kind.as_str(), object: Some(id.as_str()), after, ..Entry::default() };
    change::append(tx, &entry).map(|_| ())
}

const COLUMNS: &str = "SELECT t.id, d.id, t.reader, t.note, t.source, t.created_at, t.expires_at, \
    t.revoked_at, t.last_used_at, t.key, t.dir, t.last_address, t.last_agent FROM token t LEFT JOIN directory d ON d.key = t.dir";

fn token_of(row: &dyn Row) -> Result<Token, StoreError> {
    let directory = row.opt_text(1)?.map(DirectoryId::parse).transpose();
    Ok(Token {
        id: token_id(row.text(0)?)?,
        directory: directory.map_err(|e| StoreError::Bug(e.to_string()))?,
        reader: row.opt_text(2)?.map(str::to_owned),
        note: row.text(3)?.to_owned(),
        configured: row.text(4)? == "config",
        created_at: Timestamp(row.int(5)?),
        expires_at: row.opt_int(6)?.map(Timestamp),
        revoked_at: row.opt_int(7)?.map(Timestamp),
        last_used_at: row.opt_int(8)?.map(Timestamp),
        last_client: Client::stored(row.opt_text(11)?, row.opt_text(12)?),
    })
}
