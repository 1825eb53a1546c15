//! What people see and change of their own account.

use aegis_contract::ids::UserId;
use serde_json::json;

use super::guessing::Guess;
use super::passwords::{self, PASSWORD_LENGTH_MAX};
use super::sessions::{Ending, Which, end_recorded};
use super::{Services, sign_in};
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
pub use crate::store::users::Person;
use crate::store::{ANSWER_WITHIN, commit, password_resets, users, within};

/// Most characters of what somebody is called.
const NAME_LENGTH_MAX: usize = 100;

/// The caller, as others see them.
///
/// # Errors
/// `Forbidden` for clients.
pub async fn profile(services: &Services, caller: &Caller) -> Result<Person, Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, _) = caller.person()?;
    let found =
        within(ANSWER_WITHIN, async { users::find(&mut *services.store.acquire().await?, user).await });
    found.await?.ok_or(Error::Unauthenticated)
}

/// Says what the caller is called; nothing where `name` is absent. The name itself stays out of the log.
///
/// # Errors
/// `Forbidden` for clients; `Parameter` for an unusable name.
pub async fn rename(services: &Services, caller: &Caller, name: Option<&str>) -> Result<Person, Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, _) = caller.person()?;
    services.safeguards.require_recordable()?;
    name.map_or(Ok(()), check_name)?;
    let (tx, profile) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if users::set_name(&mut tx, user, name).await? {
            let data = json!({ "user": caller.name, "changed": ["name"] });
            audit::append(&mut tx, record(caller, Kind::UserProfileChanged, data)).await?;
        }
        let profile = users::find(&mut tx, user).await?.ok_or(Error::Unauthenticated)?;
        Ok((tx, profile))
    })
    .await?;
    commit(tx, None).await?;
    Ok(profile)
}

/// Gives the caller another password, which ends their other sessions.
///
/// # Errors
/// `Forbidden` for clients; `Parameter` for a password that may not be chosen; `NotFound` for who has none;
/// `PasswordWrong`, and after too many of these `GuessingSlowed`; `Busy`.
pub async fn change_password(
    services: &Services,
    caller: &Caller,
    current: String,
    new: String,
) -> Result<(), Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, session) = caller.person()?;
    passwords::check(&new)?;
    let before = within(ANSWER_WITHIN, async {
        users::password_hash(&mut *services.store.acquire().await?, user).await
    });
    // Who comes from the identity provider has none.
    let before = before.await?.ok_or(Error::NotFound { what: "password" })?;
    let guess = prove_password(services, caller, user, current, &before).await?;
    let password_hash = match services.passwords.hash(new).await {
        Ok(password_hash) => password_hash,
        Err(error) => {
            guess.take_back(services).await;
            return Err(error);
        }
    };
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if !users::set_password(&mut tx, user, &before, &password_hash).await? {
            return Err(Error::PasswordWrong);
        }
        guess.was_right(&mut tx, user).await?;
        let data = json!({ "user": caller.name });
        audit::append(&mut tx, record(caller, Kind::UserPasswordChanged, data)).await?;
        let ending = Ending {
            user,
            which: Which::AllBut(session),
            reason: "password-changed",
            by: &caller.name,
            request_id: Some(&caller.request_id),
        };
        end_recorded(&mut tx, ending).await?;
        password_resets::withdraw(&mut tx, user).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, None).await
}

/// Checks the password of a person who is signed in, and asked for it once more.
///
/// # Errors
/// `PasswordWrong`, and after too many of these `GuessingSlowed`; `Busy`.
pub(super) async fn prove_password(
    services: &Services,
    caller: &Caller,
    user: UserId,
    password: String,
    hash: &str,
) -> Result<Guess, Error> {
    let guess = Guess::begin_own(services, user).await?;
    let matches = match password.len() <= PASSWORD_LENGTH_MAX {
        true => services.passwords.verify(password, Some(hash.to_owned())).await,
        false => Ok(false),
    };
    match matches {
        Ok(true) => Ok(guess),
        Ok(false) => {
            services.metrics.count_sign_in("failed");
            sign_in::record_failure(services, Some(user), &caller.request_id).await?;
            Err(Error::PasswordWrong)
        }
        Err(error) => {
            guess.take_back(services).await;
            Err(error)
        }
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let fits = (1..=NAME_LENGTH_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        let message = format!("must be 1 to {NAME_LENGTH_MAX} characters, none of them a control character");
        Err(Error::Parameter { name: "name", message })
    }
}

fn record<T>(caller: &Caller, kind: Kind, data: T) -> Record<'_, T> {
    Record { kind, principal: &caller.name, action_id: None, request_id: Some(&caller.request_id), data }
}
