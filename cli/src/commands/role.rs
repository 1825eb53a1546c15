//! `aegisctl role`: giving and taking roles, and agreeing to it.

use clap::Subcommand;
use http::Method;

use crate::commands::approval::missing_in;
use crate::commands::page::{PageOptions, write_list};
use crate::commands::user::id_of;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column, printable};
use crate::settings::Settings;

/// What can be done with roles.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Give a person a role, as far as policy allows it
    #[command(after_help = "\
Example:
  aegisctl role grant sre-lead anna@example.com

admin, user and auditor give permissions; any other name means something to policies only. Policy decides about the
action grant on aegis/role/NAME, and nothing allows it unless a rule does. Where a rule asks people, the grant waits:
aegisctl role list. Nobody gives a role to themselves.")]
    Grant {
        /// The role: a-z, 0-9 and '-'
        role: String,
        /// E-mail address or id of the person
        person: String,
    },
    /// Take a role from a person, at once
    #[command(after_help = "\
Example:
  aegisctl role withdraw sre-lead anna@example.com

What they agreed to as one who held it counts no more. The last admin stays one.")]
    Withdraw {
        /// The role
        role: String,
        /// E-mail address or id of the person
        person: String,
    },
    /// List the grants that wait for people
    #[command(after_help = "Example:\n  aegisctl role list")]
    List {
        #[command(flatten)]
        page: PageOptions,
    },
    /// Agree to a grant
    #[command(after_help = "\
Example:
  aegisctl role approve 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90

Nobody agrees to a grant that they asked for, or that is for themselves.")]
    Approve {
        /// Id of the grant, from `role list`
        id: String,
    },
    /// Say no to a grant, which ends it
    #[command(after_help = "Example:\n  aegisctl role deny 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90")]
    Deny {
        /// Id of the grant, from `role list`
        id: String,
    },
}

const COLUMNS: [Column; 6] = [
    column("id", "/id"),
    column("role", "/role"),
    column("userId", "/userId"),
    column("requestedBy", "/requestedBy"),
    column("groups", "/groups"),
    column("expiresAt", "/expiresAt"),
];

/// Runs the command.
pub(crate) async fn run(command: &Role, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let call = match command {
        Role::List { page } => {
            let call = || client.api(Method::GET, &["role-grants"]);
            write_list(&client, settings.output, &COLUMNS, page, call).await?;
            return Ok(Exit::Done);
        }
        Role::Grant { role, person } => {
            client.api(Method::PUT, &["users", &id_of(&client, person).await?, "roles", role])
        }
        Role::Withdraw { role, person } => {
            client.api(Method::DELETE, &["users", &id_of(&client, person).await?, "roles", role])
        }
        Role::Approve { id } => client.api(Method::POST, &["role-grants", id, "approve"]),
        Role::Deny { id } => client.api(Method::POST, &["role-grants", id, "deny"]),
    };
    let answer = client.send(&call).await?.body;
    if let Some(missing) = missing_in(&answer["groups"]) {
        eprintln!("still missing: {}", printable(&missing));
    }
    settings.output.document(&answer, &["id", "email", "role", "roles", "state"])?;
    Ok(Exit::Done)
}
