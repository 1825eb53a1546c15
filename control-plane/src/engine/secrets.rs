//! Puts secrets into force that were changed while the process runs.

use aegis_runtime::settings::SettingsError;

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
    /// Access tokens of people.
    pub tokens: Tokens,
    /// Where replicas share throttles, if they do.
    pub redis: Option<Shared>,
}

impl Renewed {
    /// Takes secrets over, all of them if all can be used. (The master key has opened what it is for at the start.)
    ///
    /// # Errors
    /// What cannot be used; nothing has changed.
    pub async fn take(&self, secrets: Secrets) -> Result<(), SettingsError> {
        let problem = |text: String| SettingsError(vec![text]);
        clusters::check_purposes(&self.store, &self.keyring, &secrets.mac_keys()).await.map_err(|error| {
            problem(match error {
                Error::Parameter { name, message } => format!("{name} {message}"),
                error => format!("JWT_SECRET cannot be compared with what is stored: {error}"),
            })
        })?;
        let database = self.store.admitted(secrets.database).await;
        let database = database.map_err(|error| problem(format!("DATABASE_URL {error}")))?;
        match (&self.redis, secrets.redis) {
            (Some(shared), Some(address)) => {
                let renewed = shared.renew(address).await;
                renewed.map_err(|error| problem(format!("REDIS_URL cannot be used: {error}")))?;
            }
            (None, None) => {}
            _ => return Err(problem("REDIS_URL is new or gone; for that, start again".to_owned())),
        }
        self.store.renew(database);
        self.tokens.renew(&secrets.tokens);
        Ok(())
    }
}
