//! Tells people of a hold: runs a command, or sends a signed webhook. Never waited for.

use std::time::Duration;

use bytes::Bytes;

use crate::downstream::command::{self, Argv};
use crate::downstream::webhook::{self, Client, Outcome, Request};
use crate::mirror::Mirror;
use crate::model::{EventId, TargetName};

use super::Notify;
use super::verdict::{self, Notice};

/// Pauses before each attempt of a webhook.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
];

/// Tells, and remembers that it was told. What fails is logged.
pub(crate) async fn tell(mirror: Mirror, name: TargetName, notify: Option<Notify>, notice: Notice) {
    let body = notice.json(&name).to_string();
    match notify {
        None => {}
        Some(Notify::Command(argv)) => {
            let told = name.clone();
            // A command that broke off is told of like one that failed.
            if tokio::task::spawn_blocking(move || run(&told, &argv, &body)).await.is_err() {
                tracing::error!(target_name = %name, "`notify` broke off");
            }
        }
        Some(Notify::Webhook { url, secrets, insecure }) => {
            let mut settings = webhook::Settings::new(url, secrets);
            settings.insecure = insecure;
            send(&mirror, &name, settings, body).await;
        }
    }
    let began = notice.began;
    let marked = tokio::task::spawn_blocking(move || {
        if let Err(error) = verdict::mark_told(&mirror, &name, began) {
            // After a restart it is told again, which is the lesser evil.
            tracing::warn!(target_name = %name, %error, "cannot record that a hold was told of");
        }
    });
    if marked.await.is_err() {
        tracing::error!("recording that a hold was told of broke off");
    }
}

fn run(name: &TargetName, argv: &Argv, body: &str) {
    match command::run_with(argv, None, Some(body.as_bytes()), &command::Limits::default()) {
        Ok(output) if output.is_success() => {}
        Ok(output) => {
            let text: String = output.text().trim().chars().take(300).collect();
            tracing::error!(target_name = %name, status = %output.status, text, "`notify` failed");
        }
        Err(error) => tracing::error!(target_name = %name, %error, "`notify` failed"),
    }
}

/// The same id on every attempt, so that a receiver can tell a repetition.
async fn send(mirror: &Mirror, name: &TargetName, settings: webhook::Settings, body: String) {
    let client = match Client::new(settings) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(target_name = %name, %error, "`notify` cannot be sent");
            return;
        }
    };
    let seq = *mirror.changes().borrow();
    let id = EventId { epoch: mirror.epoch(), seq, n: 0 };
    let body = Bytes::from(body);
    let mut last = String::new();
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        let (at, body) = (mirror.now(), body.clone());
        let request =
            Request { id, at, body, content_type: "application/json".to_owned(), headers: Vec::new() };
        match client.send(&request).await.outcome {
            Outcome::Acknowledged => return,
            Outcome::Retry { after, why } => {
                last = why;
                // A receiver that names a time is not asked before; one that names an hour is not waited for.
                tokio::time::sleep(after.unwrap_or_default().min(Duration::from_mins(2))).await;
            }
            Outcome::Refused { why } => {
                last = why;
                break;
            }
            Outcome::Gone => {
                "answered 410".clone_into(&mut last);
                break;
            }
        }
    }
    tracing::error!(target_name = %name, error = last, "`notify` was not delivered");
}
