//! Turns what a config says into what each part wants to be started with.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{self, Config, Content, Quirks as Named, Target};
use crate::downstream::format::{self, Options, Template, Validate};
use crate::http::admin_api::Snapshot;
use crate::mirror;
use crate::model::DirectoryId;
use crate::reconcile::cron::Cron;
use crate::reconcile::events::EventFilter;
use crate::reconcile::schedule::Wait;
use crate::reconcile::{
    self, Apply, DirectorySettings, Drift, FileSettings, OnIllegal, TargetKind, TargetSettings,
    WebhookSettings,
};
use crate::scim::dialect::{Quirk, Quirks};
use crate::scim::schema::Registry;

use super::Error;

/// The mirror's settings.
pub(super) fn mirror(config: &Config) -> mirror::Settings {
    mirror::Settings::at(config.mirror.path.clone())
}

/// The quirks of directories that the config treats unlike their kind.
pub(super) fn quirks(config: &Config) -> Result<HashMap<DirectoryId, Quirks>, Error> {
    let mut all = HashMap::new();
    for directory in &config.directories {
        match &directory.quirks {
            Named::OfKind => {}
            Named::None => {
                all.insert(directory.id.clone(), Quirks::NONE);
            }
            Named::Changed(changes) => {
                let mut quirks = Quirks::for_kind(directory.kind);
                for (name, on) in changes {
                    let quirk: Quirk = name.parse().map_err(|_| {
                        Error::Contradiction(format!(
                            "directory `{}`: there is no quirk `{name}`",
                            directory.id
                        ))
                    })?;
                    quirks = quirks.with(quirk, *on);
                }
                all.insert(directory.id.clone(), quirks);
            }
        }
    }
    Ok(all)
}

/// The reconciler's settings.
pub(super) fn reconcile(config: &Config) -> Result<reconcile::Settings, Error> {
    Ok(reconcile::Settings {
        targets: config.targets.iter().map(target).collect::<Result<_, _>>()?,
        roles: config.roles.clone(),
        directories: config
            .directories
            .iter()
            .map(|one| DirectorySettings { id: one.id.clone(), claims: one.claims.clone() })
            .collect(),
    })
}

fn target(target: &Target) -> Result<TargetSettings, Error> {
    let wrong =
        |what: &dyn std::fmt::Display| Error::Contradiction(format!("target `{}`: {what}", target.name));
    let schedule = target
        .schedule
        .as_deref()
        .map(|text| Cron::parse(text, &target.time_zone))
        .transpose()
        .map_err(|cause| wrong(&cause))?;
    let kind = match &target.kind {
        config::TargetKind::File(file) => TargetKind::File(FileSettings {
            spec: file.spec.clone(),
            format: format::find(match &file.content {
                Content::Format(name) => name,
                Content::Template { .. } => "template",
            })
            .ok_or_else(|| wrong(&"no such format"))?,
            options: options(target, &file.content).map_err(|cause| wrong(&cause.what))?,
            reload: file.reload.clone(),
            drift: if file.is_repaired { Drift::Repair } else { Drift::Report },
            on_illegal: OnIllegal::Skip,
        }),
        config::TargetKind::Webhook(webhook) => TargetKind::Webhook(WebhookSettings {
            webhook: webhook.settings.clone(),
            events: EventFilter::parse(webhook.events.clone()).map_err(|cause| wrong(&cause))?,
        }),
    };
    Ok(TargetSettings {
        name: target.name.clone(),
        subject: target.subject.clone(),
        apply: if target.is_automatic { Apply::Auto } else { Apply::Manual },
        on_change: target.on_change,
        schedule,
        wait: Wait { revoke: target.wait.revoke, min: target.wait.min, max: target.wait.max },
        kind,
    })
}

/// The word for a target's type, as in its config.
pub(super) fn type_of(target: &Target) -> &'static str {
    match target.kind {
        config::TargetKind::File(_) => "file",
        config::TargetKind::Webhook(_) => "webhook",
    }
}

fn options(target: &Target, content: &Content) -> Result<Options, format::RenderError> {
    let mut options = Options::new(target.name.clone());
    if let Content::Template { path, text } = content {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        options.template = Some(Arc::new(Template::compile(&name, text.clone(), Validate::default())?));
    }
    Ok(options)
}

/// What the admin API goes by.
pub(super) fn snapshot(config: &Config, registry: Arc<Registry>, base_url: String) -> Snapshot {
    Snapshot {
        roles: config.roles.clone(),
        directory_order: config.directories.iter().map(|one| one.id.clone()).collect(),
        claims: config.directories.iter().map(|one| (one.id.clone(), one.claims.clone())).collect(),
        registry,
        base_url,
        problems: Vec::new(),
    }
}

/// What an identity provider is told as base URL: the public one of the config, else where the daemon listens.
pub(super) fn base_url(config: &Config, bound: Option<&str>) -> String {
    let server = &config.server;
    let root = server.scim.public_url.clone().unwrap_or_else(|| {
        let scheme = if server.tls.is_some() { "https" } else { "http" };
        let configured = server.listener.addresses.first().map(ToString::to_string);
        let address = bound.map(str::to_owned).or(configured).unwrap_or_default();
        format!("{scheme}://{}", reachable(&address))
    });
    format!("{}{}", root.trim_end_matches('/'), server.scim.base_path)
}

/// "Every address" is none that a client could connect to; this machine's name is the better guess.
fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(socket) if socket.ip().is_unspecified() => {
            let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
            let name = name.trim();
            format!("{}:{}", if name.is_empty() { "localhost" } else { name }, socket.port())
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_not_handed_out() {
        assert_eq!(reachable("127.0.0.1:80"), "127.0.0.1:80");
        assert!(!reachable("0.0.0.0:80").contains("0.0.0.0"));
        assert!(reachable("[::]:8443").ends_with(":8443"));
    }
}
