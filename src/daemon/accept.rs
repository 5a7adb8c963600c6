//! Takes a config into the mirror: the directories and tokens it makes, and the config itself as a change.
//!
//! What the config no longer names is never purged: its directory is disabled, its tokens are revoked (DESIGN §4).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::access::OnRename;
use crate::config::{self, Config};
use crate::mirror::token::{self, Holder};
use crate::mirror::{self, ReadTx, WriteTx, config_version, directory};
use crate::model::{DirectoryId, Seq};

use super::Error;

/// Makes the mirror follow `config`, all or nothing; says the change that records it, if anything changed.
/// # Errors
/// `Contradiction` where a directory exists with another kind, or a token belongs to somebody else.
pub(super) fn accept(tx: &mut WriteTx<'_>, config: &Config) -> Result<Option<Seq>, Error> {
    let before = config_version::latest(tx)?.map(|(_, body)| body).unwrap_or_default();
    for wanted in &config.directories {
        ensure(tx, wanted, named_by(&before, &wanted.id))?;
    }
    for dropped in dropped(tx, config, &before)? {
        disable(tx, &dropped)?;
    }
    readers(tx, config)?;
    Ok(config_version::accept(tx, &body(config))?)
}

/// Gives each reader the tokens the config brings, and takes those of readers it no longer names. Tokens made by
/// command stay; while the config does not name their reader they open nothing.
fn readers(tx: &mut WriteTx<'_>, config: &Config) -> Result<(), Error> {
    let is_dropped = |name: &String| !config.readers.iter().any(|one| one.name == *name);
    let known: BTreeSet<String> = token::list(tx, None)?
        .into_iter()
        .filter(|one| one.configured)
        .filter_map(|one| one.reader)
        .collect();
    for name in known.into_iter().filter(is_dropped) {
        token::configure(tx, Holder::Reader(&name), &[])?;
    }
    for reader in &config.readers {
        token::configure(tx, Holder::Reader(&reader.name), &reader.tokens)?;
    }
    Ok(())
}

/// One directory as the config wants it. `known`: the last accepted config named it already; what an operator did
/// to it since then (disabled it) stays.
fn ensure(tx: &mut WriteTx<'_>, wanted: &config::Directory, known: bool) -> Result<(), Error> {
    match directory::find(tx, &wanted.id)? {
        None => {
            directory::add(tx, &wanted.id, &wanted.name, wanted.kind)?;
        }
        Some(found) if found.kind != wanted.kind => {
            return Err(Error::Contradiction(format!(
                "directory `{}` exists as kind `{}`, the config says `{}`; choose another id, or remove the directory \
                 first: rosterd directory remove {}",
                wanted.id, found.kind, wanted.kind, wanted.id
            )));
        }
        Some(found) => {
            if found.name != wanted.name {
                directory::rename(tx, &wanted.id, &wanted.name)?;
            }
            if !found.enabled && !known {
                directory::set_enabled(tx, &wanted.id, true)?;
            }
        }
    }
    let tokens: Vec<_> = wanted.token.iter().cloned().collect();
    token::configure(tx, Holder::Directory(&wanted.id), &tokens)?;
    Ok(())
}

fn disable(tx: &mut WriteTx<'_>, id: &DirectoryId) -> Result<(), Error> {
    tracing::warn!(directory = %id, "the config no longer names this directory; it is disabled, not removed");
    directory::set_enabled(tx, id, false)?;
    token::configure(tx, Holder::Directory(id), &[])?;
    Ok(())
}

/// Directories that the last accepted config named and this one does not.
fn dropped(
    tx: &mut ReadTx<'_>,
    config: &Config,
    before: &Value,
) -> Result<Vec<DirectoryId>, mirror::StoreError> {
    let all = directory::list(tx)?;
    let gone =
        |id: &DirectoryId| named_by(before, id) && !config.directories.iter().any(|kept| kept.id == *id);
    Ok(all.into_iter().filter(|found| found.enabled && gone(&found.id)).map(|found| found.id).collect())
}

fn named_by(body: &Value, id: &DirectoryId) -> bool {
    let directories = body.get("directories").and_then(Value::as_array);
    directories
        .is_some_and(|all| all.iter().any(|one| one.get("id").and_then(Value::as_str) == Some(id.as_str())))
}

/// What of a config can alter what a target should hold: roles, the order and claims of the directories, each
/// target's subject key. No secret, no path, nothing that only steers how.
fn body(config: &Config) -> Value {
    let roles: Vec<Value> = config
        .roles
        .iter()
        .map(|role| {
            let mut body = json!({
                "name": role.name,
                "groups": role.groups.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "users": role.users.as_ref().map(|filter| &filter.text),
                "directories": role.directories,
                "protected": role.protected,
            });
            // The default is not written, so that configs accepted before there was the key stay the same.
            if role.on_rename == OnRename::Release
                && let Some(body) = body.as_object_mut()
            {
                body.insert("on_rename".to_owned(), role.on_rename.as_str().into());
            }
            body
        })
        .collect();
    let directories: Vec<Value> =
        config.directories.iter().map(|one| json!({ "id": one.id, "claims": one.claims })).collect();
    let targets: Vec<Value> = config
        .targets
        .iter()
        .map(|target| json!({ "name": target.name, "subject": target.subject.to_string() }))
        .collect();
    json!({ "roles": roles, "directories": directories, "targets": targets })
}
