//! `[admin]` and `[[admin.user]]`: the socket of the commands, the listener for people, and who they are.

use std::path::PathBuf;

use super::reader::{Table, Value, what};
use super::secret::Files;
use super::server::{addresses, networks, public_url};
use super::tls::tls_settings;
use crate::http::admin_api::{AdminName, AdminRole, AdminUser, StoredPassword};
use crate::http::listener::{self, Address};
use crate::http::network::Network;
use crate::http::tls;

/// `[admin]`: how operators reach the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Key `socket`: where the commands connect.
    pub socket: listener::Settings,
    /// The console and the API over TCP. Off unless `listen` is set.
    pub web: Option<AdminWeb>,
}

/// What of `[admin]` is about people with a browser or a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminWeb {
    /// Key `listen`.
    pub listener: listener::Settings,
    /// Key `tls`, unless a proxy in front of us does it.
    pub tls: Option<tls::Settings>,
    /// Key `public_url`: the address people use, where it is not one of `listen`. Default none.
    pub public_url: Option<String>,
    /// Key `trusted_proxies`: whose `Forwarded` headers are believed. Default none.
    pub trusted_proxies: Vec<Network>,
    /// Key `allow_from`: who may connect at all. Default empty: everybody.
    pub allow_from: Vec<Network>,
    /// `[[admin.user]]`.
    pub users: Vec<AdminUser>,
}

/// The socket's path without a config.
const SOCKET_PATH: &str = "/run/rosterd/admin.sock";

/// Reads `[admin]`.
pub(super) fn admin(section: Option<Table<'_>>, files: &Files) -> Admin {
    let mut path = PathBuf::from(SOCKET_PATH);
    let mut web = None;
    if let Some(section) = section {
        if let Some(value) = section.get("socket")
            && let Some(text) = value.text()
        {
            path = PathBuf::from(text);
            // The kernel's limit for a unix socket's name is 108 bytes with its end mark (unix(7)).
            if !path.is_absolute() || text.len() > 107 {
                value.fail(what(format!("`{}` must be an absolute path of at most 107 bytes", value.path())));
            }
        }
        web = self::web(&section, files);
        section.finish();
    }
    let addresses = vec![Address::Unix(path)];
    Admin { socket: listener::Settings { addresses, name: "admin", unix_mode: 0o660 }, web }
}

fn web(section: &Table<'_>, files: &Files) -> Option<AdminWeb> {
    let listen = section.get("listen");
    let tls = section.get("tls");
    let insecure = section.get("insecure").and_then(|value| value.bool()).unwrap_or_default();
    let public_url = section.get("public_url").and_then(|value| value.parsed(public_url));
    let trusted_proxies = networks(section.get("trusted_proxies"));
    let allow_from = networks(section.get("allow_from"));
    let sections = section.tables("user");
    super::document::unique(&sections, "name");
    let is_anybody = !sections.is_empty();
    let users = sections.into_iter().filter_map(|section| user(section, files)).collect();
    let has_tls = tls.is_some();
    let tls = tls.and_then(|value| tls_settings(&value, files, true));
    let listen = listen?;
    if !is_anybody {
        listen.fail(
            what(format!("`{}` is set and nobody may sign in there", listen.path()))
                .help("add `[[admin.user]]` with `name`, `password_file` and `role`"),
        );
    }
    let is_guarded = has_tls || insecure || !trusted_proxies.is_empty();
    let addresses = addresses(&listen, is_guarded);
    let listener = listener::Settings { addresses, name: "console", unix_mode: 0o660 };
    Some(AdminWeb { listener, tls, public_url, trusted_proxies, allow_from, users })
}

/// Reads one `[[admin.user]]`; `None` after a report.
fn user(section: Table<'_>, files: &Files) -> Option<AdminUser> {
    let name = section
        .require("name", "what the person signs in as, and what the log calls them")
        .and_then(|value| value.parsed(AdminName::parse));
    let password = section
        .require(
            "password_file",
            "name a file with a password of at least 12 characters, or its argon2id hash",
        )
        .and_then(|value| password(&value, files));
    let words = AdminRole::ALL.map(|role| (role.as_str(), role));
    let role = section
        .require("role", "say what the person may do: `view`, `operate` or `admin`")
        .and_then(|value| value.word(&words));
    section.finish();
    Some(AdminUser { name: name?, role: role?, password: password? })
}

fn password(value: &Value<'_>, files: &Files) -> Option<StoredPassword> {
    let secret = files.secret(value)?;
    match secret.expose().parse() {
        Ok(password) => Some(password),
        Err(why) => {
            value.fail(what(format!("the file behind `{}` holds no usable password: {why}", value.path())).help(
                "write a password of at least 12 characters into it, or an argon2id hash such as from `argon2`",
            ));
            None
        }
    }
}
