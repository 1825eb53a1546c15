//! Mails that anybody may ask for, with tokens that prove to have read them (ADR 28). Asking does the same for everybody:
//! it puts an address into the outbox. Who is behind it, and whether they get anything, is found out when it is sent.

use aegis_contract::digest::Digest;
use aegis_runtime::clock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;

use super::{Services, password_resets, sign_up};
use crate::client::mail::{Letter, MailClient};
use crate::error::Error;
use crate::seal::Keyring;
use crate::store::mails::{self, NewMail, Taken};
use crate::store::users::{self, Person};
use crate::store::{ANSWER_WITHIN, Store, commit, within};

/// Most mails of one purpose to one recipient in an hour, whoever asks: nobody is flooded. Tokens are good for an hour or
/// longer, so whoever used it up has left the recipient that many good ones.
const HOURLY_MAX: i64 = 3;
/// Most mails of one purpose that wait. A mail server that is away for an hour must not fill the database.
const WAITING_MAX: i64 = 10_000;

/// How mails are sent, and what they say of where this control plane is.
#[derive(Clone)]
pub struct Mailing {
    /// The mail server.
    pub client: MailClient,
    /// Where people reach this control plane.
    pub public_url: String,
}

/// What a mail is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody forgot their password.
    PasswordReset,
    /// Somebody wants to sign up.
    SignUp,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password-reset",
            Self::SignUp => "sign-up",
        }
    }

    fn of(text: &str) -> Option<Self> {
        [Self::PasswordReset, Self::SignUp].into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// How long its token is good from when it was asked for, and the mail is tried to be sent: people who sign up may
    /// look into their mail the next morning.
    fn lifetime(self) -> SignedDuration {
        match self {
            Self::PasswordReset => SignedDuration::from_hours(1),
            Self::SignUp => SignedDuration::from_hours(24),
        }
    }
}

/// Puts a mail into the outbox. What it takes does not depend on who is behind the address.
///
/// # Errors
/// `MailOff`; `Busy` when too many wait.
pub(super) async fn ask(
    services: &Services,
    purpose: Purpose,
    email: &str,
    request_id: &str,
) -> Result<(), Error> {
    if services.mailing.is_none() {
        return Err(Error::MailOff);
    }
    services.safeguards.require_recordable()?;
    let mail = NewMail {
        id: clock::new_uuid(),
        purpose: purpose.as_str(),
        email,
        request_id,
        lifetime_seconds: purpose.lifetime().as_secs_f64(),
    };
    let (tx, has_room) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let has_room = mails::put(&mut tx, mail, WAITING_MAX).await?;
        Ok((tx, has_room))
    })
    .await?;
    commit(tx, None).await?;
    if has_room { Ok(()) } else { Err(Error::Busy) }
}

/// A mail that is being prepared.
pub(super) struct Draft<'a> {
    /// What is asked for.
    pub(super) mail: &'a Taken,
    /// Whether nobody has found out before who gets what.
    pub(super) is_first: bool,
    /// The hash of its token.
    pub(super) hash: Digest,
    /// Who has the address, whether or not they may sign in.
    pub(super) person: Option<Person>,
    recipient: String,
}

impl Draft<'_> {
    /// Counts it to the recipient; false when they were sent enough.
    pub(super) async fn count(&self, conn: &mut PgConnection) -> Result<bool, Error> {
        mails::allow(conn, &self.recipient, HOURLY_MAX).await
    }
}

/// What a mail says, and to whom.
pub(super) struct Content {
    pub(super) to: String,
    pub(super) subject: &'static str,
    pub(super) text: String,
}

/// What stands in a mail besides what it is about.
pub(super) struct Terms<'a> {
    /// Where this control plane is.
    pub(super) url: &'a str,
    /// What proves to have read the mail.
    pub(super) token: &'a str,
    /// Until when that is good.
    pub(super) until: String,
}

/// What is sent now; nothing when nobody gets anything. The first time the hash of its token is stored: the token is the
/// same each time, and one that was used since is not made good again.
///
/// # Errors
/// When the database does not answer.
pub async fn prepare(
    store: &Store,
    keyring: &Keyring,
    public_url: &str,
    mail: &Taken,
) -> Result<Option<Letter>, Error> {
    let Some(purpose) = Purpose::of(&mail.purpose) else { return Ok(None) };
    let token = URL_SAFE_NO_PAD.encode(keyring.mailed_token(mail.id));
    let (tx, content) = within(ANSWER_WITHIN, async {
        let mut tx = store.begin().await?;
        let is_first = mails::begin(&mut tx, mail.id).await?;
        let person = match users::list(&mut tx, Some(mail.email.as_str()), None, 1).await?.pop() {
            // Whoever disables them, or changes their password, takes back what was mailed before, or comes first.
            Some(person) => users::lock(&mut tx, person.id).await?,
            None => None,
        };
        // The person's own spelling: the database may think more of them the same than mail servers do.
        let address = person.as_ref().map_or(&mail.email, |person| &person.email).to_lowercase();
        let recipient = keyring.text_hash(&format!("mail\0{}\0{}", purpose.as_str(), mailbox(&address)));
        let draft = Draft { mail, is_first, hash: Digest::of(token.as_bytes()), person, recipient };
        let terms = Terms { url: public_url, token: &token, until: minute(mail.expires_at) };
        let content = match purpose {
            Purpose::PasswordReset => password_resets::prepare(&mut tx, draft, &terms).await?,
            Purpose::SignUp => sign_up::prepare(&mut tx, draft, &terms).await?,
        };
        Ok((tx, content))
    })
    .await?;
    commit(tx, None).await?;
    Ok(content.map(|Content { to, subject, text }| Letter { id: mail.id, to, subject, text }))
}

/// An address without the tag of its mailbox (RFC 5233 section 1), since there is no end of tags.
fn mailbox(address: &str) -> String {
    let (mailbox, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    format!("{}@{domain}", mailbox.split('+').next().unwrap_or_default())
}

/// A time as people read it, not later than it is.
fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
