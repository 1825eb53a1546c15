//! Puts secrets into force that were changed while the process runs.

use aegis_runtime::settings::SettingsError;
use secrecy::{ExposeSecret as _, SecretString};

use crate::client::mail::MailClient;
use crate::client::oidc::ProviderClient;
use crate::error::Error;
use crate::seal::Keyring;
use crate::service::clusters;
use crate::service::tokens::Tokens;
use crate::settings::Secrets;
use crate::store::Store;
use crate::throttle::shared::Shared;

/// What goes on with other secrets.
pub struct Renewed {
    /// The database.
    pub store: Store,
    /// Opens the keys that no secret may be the same as.
    pub keyring: Keyring,
    /// What the keyring was opened with.
    pub master_key: SecretString,
    /// Access tokens of people.
    pub tokens: Tokens,
    /// Where replicas share throttles, if they do.
    pub redis: Option<Shared>,
    /// Who sends mails, if any are sent.
    pub mail: Option<MailClient>,
    /// The identity provider, if people sign in with one.
    pub provider: Option<ProviderClient>,
}

impl Renewed {
    /// Takes secrets over, all of them if all can be used. The master key has opened what it is for at the start, and
    /// stays.
    ///
    /// # Errors
    /// What cannot be used; nothing has changed.
    pub async fn take(&self, secrets: Secrets) -> Result<(), SettingsError> {
        let problem = |text: String| SettingsError(vec![text]);
        if secrets.master_key.expose_secret() != self.master_key.expose_secret() {
            return Err(problem("MASTER_KEY is another one; for that, start again".to_owned()));
        }
        let (database, mut conn) = match self.store.admitted(secrets.database.clone()).await {
            Ok(admitted) => admitted,
            Err(error) => return Err(problem(format!("DATABASE_URL {error}"))),
        };
        let checked = clusters::check_purposes(&mut conn, &self.keyring, &secrets.mac_keys()).await;
        checked.map_err(|error| {
            problem(match error {
                Error::Parameter { name, message } => format!("{name} {message}"),
                error => format!("JWT_SECRET cannot be compared with what is stored: {error}"),
            })
        })?;
        for (name, was, is) in [
            ("REDIS_URL", self.redis.is_some(), secrets.redis.is_some()),
            ("SMTP_URL", self.mail.is_some(), secrets.mail.is_some()),
        ] {
            if was != is {
                return Err(problem(format!("{name} is new or gone; for that, start again")));
            }
        }
        if self.provider.is_some() && secrets.provider.is_none() {
            return Err(problem("OIDC_CLIENT_SECRET is gone; for that, start again".to_owned()));
        }
        if let (Some(shared), Some(address)) = (&self.redis, secrets.redis) {
            let renewed = shared.renew(address).await;
            renewed.map_err(|error| problem(format!("REDIS_URL cannot be used: {error}")))?;
        }
        self.store.renew(database);
        self.tokens.renew(&secrets.tokens);
        if let (Some(client), Some(mail)) = (&self.mail, &secrets.mail) {
            client.renew(mail);
        }
        if let (Some(client), Some(secret)) = (&self.provider, secrets.provider) {
            client.renew(secret);
        }
        Ok(())
    }
}
