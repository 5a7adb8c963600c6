//! What the configuration says of a target, as far as people are shown it: never a secret, of a URL only the host.

use serde::Serialize;

use super::event::body::BodyFormat;
use super::settings::{Apply, Drift, FileSettings, Ordering, Sending, TargetKind, TargetSettings};
use crate::downstream::file::Via;

/// One target, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// Its format; of a set, those of its files.
    pub format: String,
    /// The file or folder; of a webhook scheme and host, of an exec target the program.
    pub place: String,
    /// `auto` or `manual`.
    pub apply: &'static str,
    /// Files: `repair` or `report`.
    pub on_drift: Option<&'static str>,
    /// When it is looked at besides changes.
    pub schedule: Option<String>,
    /// Root's installer puts it in place.
    pub via_installer: bool,
    /// Readers may be shown it.
    pub published: bool,
    /// Webhooks: `target` or `resource`.
    pub ordering: Option<&'static str>,
}

/// What `settings` say.
pub fn about(settings: &TargetSettings) -> About {
    let apply = match settings.apply {
        Apply::Auto => "auto",
        Apply::Manual => "manual",
    };
    let schedule = settings.schedule.as_ref().map(ToString::to_string);
    match &settings.kind {
        TargetKind::File(file) => About {
            format: formats(file),
            place: file.spec.path.display().to_string(),
            apply,
            on_drift: Some(match file.drift {
                Drift::Repair => "repair",
                Drift::Report => "report",
            }),
            schedule,
            via_installer: matches!(file.spec.via, Via::Installer { .. }),
            published: settings.is_published(),
            ordering: None,
        },
        TargetKind::Webhook(webhook) => About {
            format: match webhook.body.format {
                BodyFormat::Standard => "standard",
                BodyFormat::Template(_) => "template",
                BodyFormat::CloudEvents { .. } => "cloudevents",
                BodyFormat::ScimEvents(_) => "scim-events",
            }
            .to_owned(),
            place: match &webhook.send {
                Sending::Http(http) => origin(&http.url),
                // An argument may be a secret.
                Sending::Exec(_) => first_word(&webhook.send.place()),
            },
            apply,
            on_drift: None,
            schedule,
            via_installer: false,
            published: false,
            ordering: Some(match webhook.ordering {
                Ordering::Target => "target",
                Ordering::Resource => "resource",
            }),
        },
    }
}

fn formats(file: &FileSettings) -> String {
    let mut names: Vec<&str> = file.formats().into_iter().map(|(format, _)| format.name).collect();
    names.dedup();
    names.join(", ")
}

fn first_word(argv: &str) -> String {
    argv.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Scheme and host: a path or query may hold a secret.
fn origin(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_the_host_is_told() {
        assert_eq!(origin("https://app.example.com:8443/hooks/s3cret?k=v"), "https://app.example.com:8443");
        assert_eq!(origin("https://u:p@app.example.com"), "https://app.example.com");
        assert_eq!(first_word("/usr/bin/notify --key abc"), "/usr/bin/notify");
    }
}
