//! One order, from the account to the chain.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};

use super::challenge::{Challenges, Posted};
use super::{AcmeError, Challenge, Settings, store};

/// Longest one order may take. Servers that look from several places take tens of seconds.
const ORDER_LONGEST: Duration = Duration::from_mins(5);

/// The server has forgotten the account, or never had it (RFC 8555 §6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Orders a certificate and keeps it; on success the file has key and chain.
pub(super) async fn place(settings: &Settings, challenges: &Arc<Challenges>) -> Result<(), AcmeError> {
    match tokio::time::timeout(ORDER_LONGEST, ordered(settings, challenges)).await {
        Ok(done) => done,
        Err(_) => Err(AcmeError::Slow),
    }
}

async fn ordered(settings: &Settings, challenges: &Arc<Challenges>) -> Result<(), AcmeError> {
    let account = account(settings).await?;
    let names: Vec<Identifier> = settings.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = match account.new_order(&NewOrder::new(&names)).await {
        Err(instant_acme::Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
            return Err(AcmeError::Account { path: store::account(settings), cause: problem.to_string() });
        }
        placed => placed?,
    };
    let posted = prove(settings, challenges, &mut order).await?;
    let retries = RetryPolicy::new().timeout(ORDER_LONGEST);
    let status = order.poll_ready(&retries).await?;
    if status != OrderStatus::Ready {
        return Err(AcmeError::NotProved(why(&mut order).await));
    }
    drop(posted);
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&retries).await?;
    // Key first, as many programs write it; both in one file, so that one rename replaces both.
    store::write(&store::certificate(settings), &format!("{key}{chain}"))
}

/// Puts up what each domain that is not proved yet needs, and asks the server to look.
async fn prove(
    settings: &Settings,
    challenges: &Arc<Challenges>,
    order: &mut Order,
) -> Result<Posted, AcmeError> {
    let mut posted = Posted::none(challenges);
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let domain = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => return Err(AcmeError::NotProved(format!("`{domain}` is {other:?}"))),
        }
        let wanted = match settings.challenge {
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Challenge::Http01 => ChallengeType::Http01,
        };
        let Some(mut challenge) = authorization.challenge(wanted) else {
            return Err(AcmeError::NotOffered(domain));
        };
        let proof = challenge.key_authorization();
        match settings.challenge {
            Challenge::TlsAlpn01 => posted.tls(&domain, proof.digest().as_ref())?,
            Challenge::Http01 => posted.http(&challenge.token, proof.as_str()),
        }
        challenge.set_ready().await?;
    }
    Ok(posted)
}

/// What the server says about the domains it is not convinced of.
async fn why(order: &mut Order) -> String {
    let mut said = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let domain = authorization.identifier().to_string();
        if authorization.refresh().await.is_err() {
            continue;
        }
        let problems = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        said.extend(problems.map(|problem| format!("`{domain}`: {problem}")));
    }
    if said.is_empty() { "it gives no reason".to_owned() } else { said.join("; ") }
}

/// The account of before, or a new one, kept before it is used.
async fn account(settings: &Settings) -> Result<Account, AcmeError> {
    let path = store::account(settings);
    if let Some(text) = store::read(&path)? {
        let known: AccountCredentials = serde_json::from_str(&text)
            .map_err(|cause| AcmeError::Account { path: path.clone(), cause: cause.to_string() })?;
        return Ok(builder(settings)?.from_credentials(known).await?);
    }
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) =
        builder(settings)?.create(&wanted, settings.directory_url.clone(), None).await?;
    let text = serde_json::to_string(&credentials).map_err(|cause| AcmeError::Server(cause.into()))?;
    store::write(&path, &text)?;
    tracing::info!(server = %settings.directory_url, "an account was made with the ACME server");
    Ok(account)
}

fn builder(settings: &Settings) -> Result<AccountBuilder, AcmeError> {
    Ok(match &settings.ca {
        Some(path) => Account::builder_with_root(path)?,
        None => Account::builder()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_account_that_cannot_be_read_is_told_with_its_file_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            domains: vec!["scim.example.com".to_owned()],
            contact: Vec::new(),
            directory_url: "https://127.0.0.1:1/directory".to_owned(),
            ca: None,
            challenge: Challenge::TlsAlpn01,
            http_listen: Vec::new(),
            folder: folder.path().to_owned(),
        };
        for torn in ["", "{\"id\":"] {
            store::write(&store::account(&settings), torn).unwrap();
            let error = place(&settings, &Arc::default()).await.unwrap_err().to_string();
            assert!(error.contains(&store::account(&settings).display().to_string()), "{error}");
            assert!(error.contains("move the file away"), "{error}");
        }
    }
}
