//! `[[directory]]`: identity providers that the config names.

use std::time::Duration;

use super::problem::nearest;
use super::reader::{Table, Value, what};
use super::secret::Files;
use super::server::span;
use crate::http::client_certificate::Subject;
use crate::model::{DirectoryId, DirectoryKind, Secret};
use crate::scim::dialect::{Quirk, Quirks};
use crate::telemetry::escape;

/// One `[[directory]]`. Directories are also made by command; those in the config come first, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Key `id`.
    pub id: DirectoryId,
    /// Key `name`: for people. Default: the id.
    pub name: String,
    /// Key `kind`.
    pub kind: DirectoryKind,
    /// Key `token_file`: a token of at least 32 characters that this directory accepts besides those made by
    /// command. Default none.
    pub token: Option<Secret>,
    /// Key `claims`: patterns with `*`; users whose userName matches none are left out. Empty: any.
    pub claims: Vec<String>,
    /// Key `expect_every`: an identity provider that is quiet for longer is warned about. Default none.
    pub expect_every: Option<Duration>,
    /// Key `quirks`: which habits of identity providers are tolerated. `None`: those of the kind.
    pub quirks: Option<Quirks>,
    /// Key `client_subject`: this directory's tokens count only on connections whose client showed a certificate of
    /// one of these subjects. Default none: tokens alone are enough.
    pub client_subjects: Vec<Subject>,
}

/// Shortest token that a config may bring (DESIGN §4).
const TOKEN_CHARS_MIN: usize = 32;

/// Shortest and longest `expect_every`: below, every pause would be a silence.
const EXPECT_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24 * 30));

/// Reads one `[[directory]]`; `None` after a report if it has no usable id or kind.
/// `asks_clients`: the listener asks clients for certificates.
pub(super) fn directory(section: Table<'_>, files: &Files, asks_clients: bool) -> Option<Directory> {
    let id = section
        .require("id", "a short name of a-z, 0-9 and -, such as `acme-okta`")
        .and_then(|value| value.parsed(DirectoryId::parse));
    let kinds = DirectoryKind::ALL.map(|kind| (kind.as_str(), kind));
    let kind =
        section.require("kind", "which identity provider pushes here").and_then(|value| value.word(&kinds));
    let name = section.get("name");
    let token = section.get("token_file");
    let claims = section.get("claims");
    let quirks = section.get("quirks");
    let expect_every = section.get("expect_every");
    let subject = section.get("client_subject");
    section.planned("on_rename", "it belongs to a `[[role]]`");
    section.finish();

    let name = name.and_then(|value| {
        let text = value.text()?;
        let fits =
            !text.trim().is_empty() && text.chars().count() <= 128 && !text.chars().any(char::is_control);
        if !fits {
            value.fail(what(format!(
                "`{}` must have 1 to 128 characters, none a control character",
                value.path()
            )));
        }
        fits.then(|| text.to_owned())
    });
    let token = token.and_then(|value| self::token(&value, files));
    let claims = claims.and_then(|value| value.texts().map(|texts| (value, texts))).map_or_else(
        Vec::new,
        |(value, texts)| {
            if texts.iter().any(|text| text.trim().is_empty()) {
                value.fail(what(format!("`{}` holds an empty pattern, which nobody matches", value.path())));
            }
            texts
        },
    );
    let expect_every = expect_every.and_then(|value| span(&value, EXPECT_EVERY));
    let client_subjects = subject.map_or_else(Vec::new, |value| subjects(&value, asks_clients));
    let (id, kind) = (id?, kind?);
    let quirks = quirks.and_then(|value| quirks_of(&value, kind));
    let name = name.unwrap_or_else(|| id.to_string());
    Some(Directory { id, name, kind, token, claims, expect_every, quirks, client_subjects })
}

/// The subjects that a directory is tied to. Where nobody is asked for a certificate, nobody could push.
fn subjects(value: &Value<'_>, asks_clients: bool) -> Vec<Subject> {
    if !asks_clients {
        value.fail(
            what(format!("`{}` needs certificates of clients, and nobody is asked for one", value.path()))
                .help("set `client_ca` in `[server] tls`"),
        );
    }
    let subjects = value.list_or_one();
    if subjects.is_empty() {
        value
            .fail(what(format!("`{}` is empty; leave it out if any client may use the token", value.path())));
    }
    subjects.iter().filter_map(|value| value.parsed(str::parse)).collect()
}

/// The token in the file that `value` names. `None` after a report.
pub(super) fn token(value: &Value<'_>, files: &Files) -> Option<Secret> {
    let secret = files.secret(value)?;
    let text = secret.expose();
    let fits = text.len() >= TOKEN_CHARS_MIN && text.bytes().all(|b| b.is_ascii_graphic());
    if !fits {
        value.fail(
            what(format!("the token behind `{}` is too weak or holds odd characters", value.path()))
                .help("use at least 32 visible ASCII characters, such as from `rosterd token new`"),
        );
    }
    fits.then_some(secret)
}

fn quirks_of(value: &Value<'_>, kind: DirectoryKind) -> Option<Quirks> {
    if value.is_text() {
        return value.word(&[("none", Quirks::NONE)]);
    }
    let table = value.table()?;
    let names = Quirk::ALL.map(Quirk::name);
    let mut quirks = Quirks::for_kind(kind);
    for (name, value) in table.entries() {
        if let Ok(quirk) = name.parse::<Quirk>() {
            quirks = quirks.with(quirk, value.bool()?);
            continue;
        }
        let unknown = what(format!("there is no quirk `{}`", escape(name)));
        value.fail_key(match nearest(name, names) {
            Some(near) => unknown.help(format!("did you mean `{near}`?")),
            None => unknown.help(format!("known: {}", names.join(", "))),
        });
    }
    (quirks != Quirks::for_kind(kind)).then_some(quirks)
}
