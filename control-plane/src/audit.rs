//! The audit log's one way in: every entry is written by [`append`], in the transaction of the state
//! it explains.

pub mod facets;

use aegis_contract::canonical;
use aegis_contract::ids::{ActionId, EntryId};
use aegis_contract::intent::{ENTRY_SCHEMA, Entry, INTENT_KIND};
use aegis_runtime::clock;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;
use crate::seal::Keyring;
use crate::store::deliveries;
use crate::store::entries::{self, NewEntry};

/// Who did what nobody proved to have done.
pub const ANONYMOUS: &str = "anonymous";
/// Who runs commands of the binary on the machine itself.
pub const OPERATOR: &str = "operator:command-line";

/// What can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Authentication was refused: the first of its reason, key and minute.
    RequestRefused,
    /// A person was added.
    UserCreated,
    /// A person was given a role, or lost one.
    UserRolesChanged,
    /// A person signed in.
    UserSignedIn,
    /// Signing in failed: the first of its account and minute.
    UserSignInFailed,
    /// Sessions of a person were ended.
    SessionEnded,
    /// A person changed their password.
    UserPasswordChanged,
    /// Somebody forgot a person's password, and a mail says how to choose another.
    UserPasswordResetRequested,
    /// A person chose another password by what they were mailed.
    UserPasswordReset,
    /// A person changed what others see of them.
    UserProfileChanged,
    /// Somebody can choose their first password.
    UserInvited,
    /// Somebody who was invited chose it.
    UserPasswordSet,
    /// A person was told a secret for a second factor, which does not count yet.
    SecondFactorBegun,
    /// A first code has it count.
    SecondFactorEnrolled,
    /// A person gave up their second factor.
    SecondFactorRemoved,
    /// Somebody else took a person's second factor away.
    SecondFactorReset,
    /// A code was wrong, or missing: the first of its person, place and minute.
    SecondFactorFailed,
    /// One of the codes for a lost app was used.
    RecoveryCodeUsed,
    /// A person showed their second factor in a session.
    SessionSteppedUp,
    /// A person may sign in no more.
    UserDisabled,
    /// A disabled person may sign in again.
    UserEnabled,
    /// People are asked to agree that a person is given a role.
    RoleGrantRequested,
    /// Somebody agreed.
    RoleGrantApproved,
    /// Somebody said no, or policy did.
    RoleGrantDenied,
    /// A client was added, with its first key.
    ClientCreated,
    /// A client got another key.
    ClientKeyAdded,
    /// A client's key was revoked.
    ClientKeyRevoked,
    /// What a client may ask for at most, or until when, was changed.
    ClientChanged,
    /// A client was disabled: its requests are refused.
    ClientDisabled,
    /// A disabled client may ask again.
    ClientEnabled,
    /// An alert source was added, with its first credential.
    AlertSourceCreated,
    /// An alert source was removed.
    AlertSourceDeleted,
    /// An alert source was disabled: its requests are refused.
    AlertSourceDisabled,
    /// A disabled alert source may send again.
    AlertSourceEnabled,
    /// An alert source got another credential.
    AlertSourceCredentialAdded,
    /// An alert source's credential was revoked.
    AlertSourceCredentialRevoked,
    /// What is stored is encrypted under another master key.
    MasterKeyChanged,
    /// A cluster was added.
    ClusterRegistered,
    /// A cluster's executor address or keys changed.
    ClusterChanged,
    /// An executor uses another ledger, or may touch other namespaces, than before.
    ClusterReported,
    /// A policy got its next version.
    PolicyVersionStored,
    /// A policy version became active.
    PolicyActivated,
    /// A policy is not active any more.
    PolicyDeactivated,
    /// The active set was made equal a folder.
    PolicySynced,
    /// A policy can be changed by hand again.
    PolicyReleased,
    /// Past decisions were taken again by other policies.
    PolicyReplayed,
    /// Somebody asked for an action.
    ActionRequested,
    /// A decision was taken.
    DecisionMade,
    /// Somebody must look at an action afterwards: nothing but a break-glass rule allowed it.
    ReviewRequested,
    /// Somebody looked at it.
    ReviewDone,
    /// People are asked to agree to an action.
    ApprovalRequested,
    /// Somebody agreed.
    ApprovalGiven,
    /// Somebody took back what they agreed to.
    ApprovalWithdrawn,
    /// Somebody said no.
    ApprovalDenied,
    /// Something else is to be done than what people were asked: their answers count no more.
    ApprovalVoided,
    /// What will be ordered.
    ActionIntent,
    /// An order was signed.
    OrderSigned,
    /// An executor answered an order with an error instead of a receipt.
    OrderNotAccepted,
    /// An executor answered.
    ReceiptReceived,
    /// An order's time passed without a receipt.
    ActionUnknown,
    /// Somebody declared an unknown action to be unresolvable.
    ActionCloseRequested,
    /// An action has its outcome.
    ActionEnded,
    /// An action was put back: automation leaves its target alone.
    TargetHeld,
    /// A person lets automation act on a target again.
    TargetHoldLifted,
    /// The log has another name from here on: its history and the one that executors held were not the same.
    LogRenewed,
    /// Another key signs the log's checkpoints too.
    LogKeyAdded,
    /// A key signs the log's checkpoints no more.
    LogKeyRetired,
    /// The oldest entries have left the database, after they were proven to be kept elsewhere.
    LogEntriesDetached,
    /// Somebody read the log: the first of its reader, filter and minute.
    AuditRead,
    /// Somebody took entries away with what proves them.
    AuditExported,
    /// A webhook was added or changed.
    WebhookStored,
    /// A webhook got another secret.
    WebhookSecretRotated,
    /// A webhook was removed.
    WebhookDeleted,
    /// Somebody had something sent to a webhook to try it.
    WebhookTested,
    /// Somebody had something sent again.
    WebhookRedelivered,
}

impl Kind {
    /// All kinds, in the order they are documented.
    pub const ALL: [Self; 75] = [
        Self::RequestRefused,
        Self::UserCreated,
        Self::UserRolesChanged,
        Self::UserSignedIn,
        Self::UserSignInFailed,
        Self::SessionEnded,
        Self::UserPasswordChanged,
        Self::UserPasswordResetRequested,
        Self::UserPasswordReset,
        Self::UserProfileChanged,
        Self::UserInvited,
        Self::UserPasswordSet,
        Self::SecondFactorBegun,
        Self::SecondFactorEnrolled,
        Self::SecondFactorRemoved,
        Self::SecondFactorReset,
        Self::SecondFactorFailed,
        Self::RecoveryCodeUsed,
        Self::SessionSteppedUp,
        Self::UserDisabled,
        Self::UserEnabled,
        Self::RoleGrantRequested,
        Self::RoleGrantApproved,
        Self::RoleGrantDenied,
        Self::ClientCreated,
        Self::ClientKeyAdded,
        Self::ClientKeyRevoked,
        Self::ClientChanged,
        Self::ClientDisabled,
        Self::ClientEnabled,
        Self::AlertSourceCreated,
        Self::AlertSourceDeleted,
        Self::AlertSourceDisabled,
        Self::AlertSourceEnabled,
        Self::AlertSourceCredentialAdded,
        Self::AlertSourceCredentialRevoked,
        Self::MasterKeyChanged,
        Self::ClusterRegistered,
        Self::ClusterChanged,
        Self::ClusterReported,
        Self::PolicyVersionStored,
        Self::PolicyActivated,
        Self::PolicyDeactivated,
        Self::PolicySynced,
        Self::PolicyReleased,
        Self::PolicyReplayed,
        Self::ActionRequested,
        Self::DecisionMade,
        Self::ReviewRequested,
        Self::ReviewDone,
        Self::ApprovalRequested,
        Self::ApprovalGiven,
        Self::ApprovalWithdrawn,
        Self::ApprovalDenied,
        Self::ApprovalVoided,
        Self::ActionIntent,
        Self::OrderSigned,
        Self::OrderNotAccepted,
        Self::ReceiptReceived,
        Self::ActionUnknown,
        Self::ActionCloseRequested,
        Self::ActionEnded,
        Self::TargetHeld,
        Self::TargetHoldLifted,
        Self::LogRenewed,
        Self::LogKeyAdded,
        Self::LogKeyRetired,
        Self::LogEntriesDetached,
        Self::AuditRead,
        Self::AuditExported,
        Self::WebhookStored,
        Self::WebhookSecretRotated,
        Self::WebhookDeleted,
        Self::WebhookTested,
        Self::WebhookRedelivered,
    ];

    /// The name used in entries and filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestRefused => "request.refused",
            Self::UserCreated => "user.created",
            Self::UserRolesChanged => "user.roles-changed",
            Self::UserSignedIn => "user.signed-in",
            Self::UserSignInFailed => "user.sign-in-failed",
            Self::SessionEnded => "session.ended",
            Self::UserPasswordChanged => "user.password-changed",
            Self::UserPasswordResetRequested => "user.password-reset-requested",
            Self::UserPasswordReset => "user.password-reset",
            Self::UserProfileChanged => "user.profile-changed",
            Self::UserInvited => "user.invited",
            Self::UserPasswordSet => "user.password-set",
            Self::SecondFactorBegun => "second-factor.begun",
            Self::SecondFactorEnrolled => "second-factor.enrolled",
            Self::SecondFactorRemoved => "second-factor.removed",
            Self::SecondFactorReset => "second-factor.reset",
            Self::SecondFactorFailed => "second-factor.failed",
            Self::RecoveryCodeUsed => "second-factor.recovery-code-used",
            Self::SessionSteppedUp => "session.stepped-up",
            Self::UserDisabled => "user.disabled",
            Self::UserEnabled => "user.enabled",
            Self::RoleGrantRequested => "role-grant.requested",
            Self::RoleGrantApproved => "role-grant.approved",
            Self::RoleGrantDenied => "role-grant.denied",
            Self::ClientCreated => "client.created",
            Self::ClientKeyAdded => "client.key-added",
            Self::ClientKeyRevoked => "client.key-revoked",
            Self::ClientChanged => "client.changed",
            Self::ClientDisabled => "client.disabled",
            Self::ClientEnabled => "client.enabled",
            Self::AlertSourceCreated => "alert-source.created",
            Self::AlertSourceDeleted => "alert-source.deleted",
            Self::AlertSourceDisabled => "alert-source.disabled",
            Self::AlertSourceEnabled => "alert-source.enabled",
            Self::AlertSourceCredentialAdded => "alert-source.credential-added",
            Self::AlertSourceCredentialRevoked => "alert-source.credential-revoked",
            Self::MasterKeyChanged => "master-key.changed",
            Self::ClusterRegistered => "cluster.registered",
            Self::ClusterChanged => "cluster.changed",
            Self::ClusterReported => "cluster.reported",
            Self::PolicyVersionStored => "policy.version-stored",
            Self::PolicyActivated => "policy.activated",
            Self::PolicyDeactivated => "policy.deactivated",
            Self::PolicySynced => "policy.synced",
            Self::PolicyReleased => "policy.released",
            Self::PolicyReplayed => "policy.replayed",
            Self::ActionRequested => "action.requested",
            Self::DecisionMade => "decision.made",
            Self::ReviewRequested => "review.requested",
            Self::ReviewDone => "review.done",
            Self::ApprovalRequested => "approval.requested",
            Self::ApprovalGiven => "approval.given",
            Self::ApprovalWithdrawn => "approval.withdrawn",
            Self::ApprovalDenied => "approval.denied",
            Self::ApprovalVoided => "approval.voided",
            Self::ActionIntent => INTENT_KIND,
            Self::OrderSigned => "order.signed",
            Self::OrderNotAccepted => "order.not-accepted",
            Self::ReceiptReceived => "receipt.received",
            Self::ActionUnknown => "action.unknown",
            Self::ActionCloseRequested => "action.close-requested",
            Self::ActionEnded => "action.ended",
            Self::TargetHeld => "target.held",
            Self::TargetHoldLifted => "target.hold-lifted",
            Self::LogRenewed => "log.renewed",
            Self::LogKeyAdded => "log.key-added",
            Self::LogKeyRetired => "log.key-retired",
            Self::LogEntriesDetached => "log.entries-detached",
            Self::AuditRead => "audit.read",
            Self::AuditExported => "audit.exported",
            Self::WebhookStored => "webhook.stored",
            Self::WebhookSecretRotated => "webhook.secret-rotated",
            Self::WebhookDeleted => "webhook.deleted",
            Self::WebhookTested => "webhook.tested",
            Self::WebhookRedelivered => "webhook.redelivered",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether webhooks are told of it. Its data then leaves the house: `docs/webhooks.md` lists it.
    pub fn is_told(self) -> bool {
        matches!(
            self,
            Self::ReviewRequested
                | Self::ApprovalRequested
                | Self::ApprovalVoided
                | Self::ActionEnded
                | Self::ActionUnknown
                | Self::TargetHeld
                | Self::TargetHoldLifted
                | Self::OrderNotAccepted
                | Self::RoleGrantRequested
                | Self::UserRolesChanged
                | Self::UserDisabled
        )
    }
}

/// One thing to record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a, T> {
    /// What happened.
    pub kind: Kind,
    /// Who did it.
    pub principal: &'a str,
    /// The action it belongs to.
    pub action_id: Option<ActionId>,
    /// The request that caused it.
    pub request_id: Option<&'a str>,
    /// What is particular to the kind; of an entry that belongs to an action, also its `type` and `target`, by which
    /// people look for it. Never free text from people: that goes through [`store_text`].
    pub data: T,
}

/// An entry as it was recorded.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Its id.
    pub id: EntryId,
    /// Its time.
    pub at: Timestamp,
    /// Its canonical bytes.
    pub body: Vec<u8>,
}

/// Appends one entry, and puts it into the outbox of every webhook that is told of it. Both exist if
/// and only if the transaction of `conn` commits.
///
/// # Errors
/// When the database refuses it, or `data` cannot be written as canonical JSON.
pub async fn append<T: Serialize>(conn: &mut PgConnection, record: Record<'_, T>) -> Result<Appended, Error> {
    let written = write(&record)?;
    entries::insert(&mut *conn, new_entry(&record, &written)).await?;
    tell(conn, &record, &written).await?;
    Ok(written)
}

/// Appends entries in their order, as [`append`] does, but by one statement.
///
/// # Errors
/// Those of [`append`]; then none exists.
pub async fn append_all<T: Serialize>(
    conn: &mut PgConnection,
    records: &[Record<'_, T>],
) -> Result<Vec<Appended>, Error> {
    let written = records.iter().map(write).collect::<Result<Vec<_>, _>>()?;
    let new: Vec<_> =
        records.iter().zip(&written).map(|(record, written)| new_entry(record, written)).collect();
    entries::insert_all(&mut *conn, &new).await?;
    for (record, written) in records.iter().zip(&written) {
        tell(conn, record, written).await?;
    }
    Ok(written)
}

fn write<T: Serialize>(record: &Record<'_, T>) -> Result<Appended, Error> {
    let entry = Entry {
        schema: ENTRY_SCHEMA.to_owned(),
        id: EntryId(clock::new_uuid()),
        kind: record.kind.as_str().to_owned(),
        at: clock::now(),
        principal: record.principal.to_owned(),
        action_id: record.action_id,
        request_id: record.request_id.map(str::to_owned),
        data: &record.data,
    };
    let body = canonical::to_bytes(&entry).map_err(Error::internal)?;
    Ok(Appended { id: entry.id, at: entry.at, body })
}

fn new_entry<'a, T>(record: &Record<'a, T>, written: &'a Appended) -> NewEntry<'a> {
    NewEntry {
        id: written.id,
        kind: record.kind.as_str(),
        at: written.at,
        principal: record.principal,
        action_id: record.action_id,
        request_id: record.request_id,
        body: &written.body,
    }
}

async fn tell<T>(conn: &mut PgConnection, record: &Record<'_, T>, written: &Appended) -> Result<(), Error> {
    if record.kind.is_told() {
        deliveries::enqueue(conn, written.id, record.kind.as_str(), record.action_id).await?;
    }
    Ok(())
}

/// How an entry names a text from a person, which stands in a table from which it can be erased.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextRef {
    /// The text's id.
    pub text_id: Uuid,
    /// Its keyed hash.
    pub hmac: String,
}

/// Stores a text from a person beside the log.
///
/// # Errors
/// When the database refuses it.
pub async fn store_text(conn: &mut PgConnection, keyring: &Keyring, text: &str) -> Result<TextRef, Error> {
    let text_id = clock::new_uuid();
    entries::insert_text(conn, text_id, text).await?;
    Ok(TextRef { text_id, hmac: keyring.text_hash(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("action.undone"), None);
    }

    #[test]
    fn everything_that_webhooks_are_told_of_is_documented() {
        let page = include_str!("../../docs/webhooks.md");
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_told()) {
            let kind = kind.as_str();
            assert!(page.contains(&format!("\n| `{kind}` |")), "docs/webhooks.md does not list {kind}");
        }
    }
}
