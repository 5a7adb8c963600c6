//! One way out for events: a signed request, or a program.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::downstream::exec;
use crate::downstream::webhook::{Attempt, Client, ClientError, Outcome, Request};
use crate::reconcile::settings::{CONCURRENCY, Ordering, Sending, WebhookSettings};

/// How one target's events leave. Clones share connections.
#[derive(Debug, Clone)]
pub(crate) enum Transport {
    Http(Arc<Client>),
    Exec(Arc<exec::Settings>),
}

impl Transport {
    /// Checks the settings; no network.
    pub(crate) fn new(settings: &WebhookSettings) -> Result<Self, ClientError> {
        match &settings.send {
            Sending::Http(http) => {
                let mut http = (**http).clone();
                http.concurrency = match settings.ordering {
                    Ordering::Target => 1,
                    Ordering::Resource => CONCURRENCY,
                };
                Ok(Self::Http(Arc::new(Client::new(http)?)))
            }
            Sending::Exec(exec) => Ok(Self::Exec(Arc::new(exec.clone()))),
        }
    }

    /// One attempt. Whatever happens is an [`Attempt`].
    pub(crate) async fn send(&self, request: Request) -> Attempt {
        match self {
            Self::Http(client) => client.send(&request).await,
            Self::Exec(settings) => {
                let settings = Arc::clone(settings);
                let (id, body): (String, Bytes) = (request.id.to_string(), request.body);
                let ran = tokio::task::spawn_blocking(move || exec::run(&settings, &id, &body)).await;
                match ran {
                    Ok(ran) => attempt(ran),
                    Err(error) => attempt(exec::Ran {
                        took: Duration::ZERO,
                        output: Vec::new(),
                        verdict: exec::Verdict::Retry(format!("the run broke off: {error}")),
                    }),
                }
            }
        }
    }
}

fn attempt(ran: exec::Ran) -> Attempt {
    let outcome = match ran.verdict {
        exec::Verdict::Done => Outcome::Acknowledged,
        exec::Verdict::Retry(why) => Outcome::Retry { after: None, why },
        exec::Verdict::Refused(why) => Outcome::Refused { why },
    };
    Attempt { status: None, latency: ran.took, address: None, answer: ran.output, outcome }
}
