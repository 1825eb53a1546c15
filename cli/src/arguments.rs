//! The command line as a whole: options of every command, and the commands.

use clap::{Parser, Subcommand};

use crate::client::Client;
use crate::commands::{action, audit, decision, doctor, heal, login, policy, sign, whoami};
use crate::credentials::{CredentialOptions, Credentials};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Format;

/// Ask Aegis for changes to workloads, and read what it decided, did and recorded.
///
/// Data goes to standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "aegisctl",
    version,
    after_help = Exit::help(),
    after_long_help = format!("{EXAMPLES}\n{}", Exit::help()),
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  As automation, with a client's key:
    export AEGIS_URL=http://127.0.0.1:3000 AEGIS_KEY_ID=… AEGIS_SECRET_FILE=client.secret
    aegisctl heal rollback shop/Deployment/web --reason 'new image crashes' --wait
  As a person:
    export AEGIS_TOKEN=$(aegisctl login --email you@example.com --password-file password)
    aegisctl policy apply policies/starter.json --activate
  When something does not work:
    aegisctl doctor
";

/// Options of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address of the control plane: scheme, host and port
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "AEGIS_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:3000",
        help_heading = "Connection"
    )]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) credentials: CredentialOptions,
    /// How data is written: table (for people), json, or jsonl (one line per item)
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table,
          hide_possible_values = true, display_order = 900)]
    pub(crate) output: Format,
}

impl Options {
    /// A client as the options and the environment say.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.url, self.credentials.resolve()?)
    }

    /// A client that shows no credentials, whatever is set.
    pub(crate) fn anonymous_client(&self) -> Result<Client, Failure> {
        Client::new(&self.url, Credentials::None)
    }
}

/// What can be done, by noun.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask for one change to one workload
    #[command(subcommand)]
    Heal(heal::Heal),
    /// Look at, wait for, cancel or close actions
    #[command(subcommand)]
    Action(action::Action),
    /// Read, check, store and activate policies
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Look at decisions of the policy engine
    #[command(subcommand)]
    Decision(decision::Decision),
    /// Search the audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Print the headers that sign a request, for use with other tools
    Sign(sign::Sign),
    /// Sign in as a person and print the access token
    Login(login::Login),
    /// Show as whom you ask, and what you may do
    Whoami(whoami::Whoami),
    /// Say what is wrong with this set-up, and what to do about it
    Doctor(doctor::Doctor),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
