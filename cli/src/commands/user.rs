//! `aegisctl user`: people, as admins manage them.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::commands::page::{PageOptions, write_list};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column};
use crate::settings::Settings;

/// What can be done with people.
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// List people, in the order in which they were added
    #[command(after_help = "Example:\n  aegisctl user list --all -o jsonl")]
    List {
        #[command(flatten)]
        page: PageOptions,
    },
    /// Show one person with their roles
    #[command(after_help = "Example:\n  aegisctl user show anna@example.com")]
    Show {
        /// E-mail address or id of the person
        person: String,
    },
    /// Add a person, and print what they choose their password with
    #[command(after_help = "\
Example:
  aegisctl user create anna@example.com
  aegisctl role grant sre anna@example.com

The invitation is shown once and good for three days. Give it to the person: with it they choose a password that nobody
else knows (aegisctl account accept-invitation). They hold no role before you grant one.")]
    Create {
        /// E-mail address to sign in with
        email: String,
    },
    /// Invite somebody again who has no password yet
    #[command(after_help = "\
Example:
  aegisctl user invite anna@example.com

The invitation before is good no more.")]
    Invite {
        /// E-mail address or id of the person
        person: String,
    },
    /// Let a person sign in no more
    #[command(after_help = "\
Example:
  aegisctl user disable anna@example.com

Their sessions end at once, and what they agreed to counts no more. Nobody is deleted: the audit log names them. The last
admin cannot be disabled.")]
    Disable {
        /// E-mail address or id of the person
        person: String,
    },
    /// Take the second factor of a person away who has lost it, which ends their sessions
    #[command(after_help = "Example:\n  aegisctl user reset-second-factor anna@example.com")]
    ResetSecondFactor {
        /// E-mail address or id of the person
        person: String,
    },
    /// Let a disabled person sign in again, with the roles they had
    #[command(after_help = "Example:\n  aegisctl user enable anna@example.com")]
    Enable {
        /// E-mail address or id of the person
        person: String,
    },
}

const COLUMNS: [Column; 5] = [
    column("id", "/id"),
    column("email", "/email"),
    column("name", "/name"),
    column("roles", "/roles"),
    column("state", "/state"),
];

/// Runs the command.
pub(crate) async fn run(command: &User, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let show = |document: &Value| {
        settings.output.document(document, &["invitationToken", "id", "email", "name", "roles", "state"])
    };
    let (person, what) = match command {
        User::List { page } => {
            let call = || client.api(Method::GET, &["users"]);
            write_list(&client, settings.output, &COLUMNS, page, call).await?;
            return Ok(Exit::Done);
        }
        User::Create { email } => {
            let call = client.api(Method::POST, &["users"]).json(&json!({ "email": email }));
            show(&client.send(&call).await?.body)?;
            eprintln!("give them the invitation; it is not shown again");
            return Ok(Exit::Done);
        }
        User::Show { person } => {
            show(&client.get(&["users", &id_of(&client, person).await?]).await?)?;
            return Ok(Exit::Done);
        }
        User::ResetSecondFactor { person } => {
            let id = id_of(&client, person).await?;
            client.send(&client.api(Method::DELETE, &["users", &id, "second-factor"])).await?;
            eprintln!("reset; they can enrol another one");
            return Ok(Exit::Done);
        }
        User::Invite { person } => (person, "invite"),
        User::Disable { person } => (person, "disable"),
        User::Enable { person } => (person, "enable"),
    };
    let id = id_of(&client, person).await?;
    show(&client.send(&client.api(Method::POST, &["users", &id, what])).await?.body)?;
    Ok(Exit::Done)
}

/// The id of a person who is named by it, or by their e-mail address.
pub(crate) async fn id_of(client: &Client, person: &str) -> Result<String, Failure> {
    if !person.contains('@') {
        return Ok(person.to_owned());
    }
    let call = client.api(Method::GET, &["users"]).query("email", person);
    let found = client.send(&call).await?.body;
    let id = found.pointer("/items/0/id").and_then(Value::as_str);
    id.map(str::to_owned).ok_or_else(|| Failure::usage(format!("nobody has the e-mail address {person}")))
}
