//! What can be reached. Connects and closes; only `/healthz` is asked for.

use std::time::Duration;

use crate::config::Config;
use crate::downstream::webhook::{self, Client};
use crate::reconcile::{Sending, TargetKind};

use super::Finding;

/// Longest wait for one of them.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn look(config: &Config, offline: bool) -> Vec<Finding> {
    if offline {
        return Vec::new();
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return vec![Finding::fail("D016", "the system refuses an I/O runtime", "ulimit -a")];
    };
    let mut found = Vec::new();
    for target in &config.targets {
        if let TargetKind::Webhook(webhook) = &target.kind {
            match &webhook.send {
                Sending::Http(settings) => {
                    found.push(runtime.block_on(receiver(target.name.as_str(), settings)));
                }
                Sending::Exec(_) => {}
            }
        }
    }
    if let Some(url) = &config.server.scim.public_url {
        found.push(runtime.block_on(public(url)));
    }
    found
}

async fn receiver(name: &str, settings: &webhook::Settings) -> Finding {
    let settings =
        webhook::Settings { connect_timeout: settings.connect_timeout.min(PATIENCE), ..settings.clone() };
    let reached = match Client::new(settings) {
        Ok(client) => client.reach().await,
        Err(error) => Err(error.to_string()),
    };
    match reached {
        Ok(address) => Finding::ok("D016", format!("webhook `{name}`: {address} can be reached")),
        Err(why) => Finding::fail(
            "D016",
            format!("webhook `{name}`: {why}"),
            "name, firewall, certificate of the receiver",
        ),
    }
}

async fn public(url: &str) -> Finding {
    let base = url.split("/scim/").next().unwrap_or(url).trim_end_matches('/');
    let asked = format!("{base}/healthz");
    let mut settings = webhook::Settings::new(asked.clone(), Vec::new());
    settings.connect_timeout = PATIENCE;
    // What it says is no secret, and a proxy in front may well speak plain http inside.
    settings.insecure = true;
    let hint = "name, proxy and certificate: the identity provider uses this address";
    let answer = match Client::new(settings) {
        Ok(client) => {
            tokio::time::timeout(PATIENCE, client.status()).await.unwrap_or(Err("no answer in time".into()))
        }
        Err(error) => Err(error.to_string()),
    };
    match answer {
        Ok(200) => Finding::ok("D017", format!("{asked} answers")),
        Ok(status) => Finding::fail("D017", format!("{asked} answers {status}"), hint),
        Err(why) => Finding::fail("D017", format!("{asked}: {why}"), hint),
    }
}
