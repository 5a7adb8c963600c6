//! Turns what a config says into what each part wants to be started with.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, Config};
use crate::http::admin::{self, Hosts};
use crate::http::admin_api::Snapshot;
use crate::http::listener::Address;
use crate::http::publish;
use crate::model::DirectoryId;
use crate::reconcile::event::public_keys;
use crate::scim::dialect::Quirks;
use crate::scim::schema::Registry;

/// The quirks of directories that the config treats unlike their kind.
pub(super) fn quirks(config: &Config) -> HashMap<DirectoryId, Quirks> {
    config.directories.iter().filter_map(|one| Some((one.id.clone(), one.quirks?))).collect()
}

/// Where the log of requests lies: beside the mirror.
pub(super) fn activity_file(config: &Config) -> PathBuf {
    config.state_dir().join("activity.jsonl")
}

/// What the admin API goes by.
pub(super) fn snapshot(config: &Config, registry: Arc<Registry>, base_url: String) -> Snapshot {
    Snapshot {
        roles: config.roles.clone(),
        directory_order: config.directories.iter().map(|one| one.id.clone()).collect(),
        claims: config.directories.iter().map(|one| (one.id.clone(), one.claims.clone())).collect(),
        expect_every: config
            .directories
            .iter()
            .filter_map(|one| Some((one.id.clone(), one.expect_every?)))
            .collect(),
        quirks: quirks(config).into_iter().collect(),
        registry,
        base_url,
        readers: config.readers.iter().map(|one| one.name.clone()).collect(),
        problems: Vec::new(),
        public_keys: public_keys(
            &config.targets,
            config.readers.iter().filter_map(|one| Some((one.name.as_str(), &one.sets.as_ref()?.body))),
        ),
    }
}

/// What the admin listener goes by. `bound` is where it really listens.
pub(super) fn admin(config: &Config, bound: &[Address]) -> admin::Settings {
    let Some(web) = &config.admin.web else { return admin::Settings::default() };
    let listen: Vec<Address> = web.listener.addresses.iter().chain(bound).cloned().collect();
    admin::Settings {
        trusted_proxies: web.trusted_proxies.clone(),
        allow_from: web.allow_from.clone(),
        hosts: Hosts::new(&listen, web.public_url.as_deref()),
    }
}

/// What the publish API goes by.
pub(super) fn publish(config: &Config) -> publish::Settings {
    let rights = |one: &config::Reader| publish::Rights {
        targets: one.targets.clone(),
        events: one.events,
        sets: one.sets.clone(),
        metrics: one.metrics,
    };
    let networks = config.publish.as_ref();
    publish::Settings {
        trusted_proxies: networks.map(|one| one.trusted_proxies.clone()).unwrap_or_default(),
        allow_from: networks.map(|one| one.allow_from.clone()).unwrap_or_default(),
        readers: config.readers.iter().map(|one| (one.name.clone(), rights(one))).collect(),
        hidden: config.hidden(),
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
