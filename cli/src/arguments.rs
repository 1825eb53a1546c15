//! The command line as a whole: options of every command, and the commands.

use clap::{Parser, Subcommand};

use crate::commands::{
    account, action, alert_source, approval, audit, ca, client, completion, context, decision, doctor, heal,
    hold, login, man, policy, review, role, second_factor, session, sign, user, webhook, whoami,
};
use crate::credentials::CredentialOptions;
use crate::environment::Variable;
use crate::exit::Exit;
use crate::output::Format;

/// Ask Aegis for changes to workloads, and read what it decided, did and recorded.
///
/// Data goes to standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "aegisctl",
    version,
    after_help = Exit::help(),
    after_long_help = format!("{EXAMPLES}\n{}\n{}", Variable::help(), Exit::help()),
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
    aegisctl login --keep --email you@example.com --password-file password
    aegisctl policy apply policies/starter.json --activate
  For more than one control plane:
    aegisctl context set prod-eu --url https://aegis.example.com --key-id … --secret-file client.secret
    aegisctl --context prod-eu action list
  When something does not work:
    aegisctl doctor
";

/// Options of every command, as they stand on the command line.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Context whose settings to use, from `aegisctl context` [env: AEGIS_CONTEXT]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub(crate) context: Option<String>,
    /// Address of the control plane: scheme, host and port [env: AEGIS_URL] [default: http://127.0.0.1:3000]
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: CredentialOptions,
    /// How data is written: table (for people), json, or jsonl (one line per item) [env: AEGIS_OUTPUT] [default: table]
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        hide_possible_values = true,
        display_order = 900
    )]
    pub(crate) output: Option<Format>,
}

/// What can be done, by noun.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask for one change to one workload
    #[command(subcommand, after_help = "Example:\n  aegisctl heal restart shop/Deployment/web --wait")]
    Heal(heal::Heal),
    /// Look at, wait for, cancel or close actions
    #[command(subcommand, after_help = "Example:\n  aegisctl action list --state running")]
    Action(action::Action),
    /// Look at what waits for people, and agree to it or not
    #[command(subcommand, after_help = "Example:\n  aegisctl approval list")]
    Approval(approval::Approval),
    /// Read, check, store and activate policies
    #[command(subcommand, after_help = "Example:\n  aegisctl policy apply policies/starter.json --activate")]
    Policy(policy::Policy),
    /// See what somebody must look at afterwards, and say that you did
    #[command(subcommand, after_help = "Example:\n  aegisctl review list")]
    Review(review::Review),
    /// See what automation leaves alone since it was put back, and let it act there again
    #[command(subcommand, after_help = "Example:\n  aegisctl hold list")]
    Hold(hold::Hold),
    /// Look at decisions of the policy engine
    #[command(
        subcommand,
        after_help = "Example:\n  aegisctl decision get 019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c91"
    )]
    Decision(decision::Decision),
    /// Search the audit log, take it away, and verify it
    #[command(subcommand, after_help = "Example:\n  aegisctl audit search --from 24h")]
    Audit(audit::Audit),
    /// Say which automation may ask, for what at most, and with which keys
    #[command(
        subcommand,
        after_help = "Example:\n  aegisctl client create alert-bot --owner you@example.com --action restart"
    )]
    Client(client::Client),
    /// Say what may send alerts, and with which credentials
    #[command(
        subcommand,
        after_help = "Example:\n  aegisctl alert-source create alertmanager --kind bearer --out alertmanager.token"
    )]
    AlertSource(alert_source::AlertSource),
    /// Say who outside is told what happens, and see what they were told
    #[command(subcommand, after_help = "Example:\n  aegisctl webhook deliveries on-call --state dead")]
    Webhook(webhook::Webhook),
    /// Print the headers that sign a request, for use with other tools
    Sign(sign::Sign),
    /// Sign in as a person: print the access token, or keep the session
    Login(login::Login),
    /// Sign out
    Logout(session::Logout),
    /// Show your second factor, before what asks for it
    StepUp(second_factor::StepUp),
    /// See where you are signed in, and end sessions
    #[command(subcommand, after_help = "Example:\n  aegisctl session list")]
    Session(session::Session),
    /// See and change your own account
    #[command(subcommand, after_help = "Example:\n  aegisctl account show")]
    Account(account::Account),
    /// Add people, disable and enable them
    #[command(subcommand, after_help = "Example:\n  aegisctl user create anna@example.com")]
    User(user::User),
    /// Give people roles and take them, and agree to that
    #[command(subcommand, after_help = "Example:\n  aegisctl role grant sre-lead anna@example.com")]
    Role(role::Role),
    /// Show as whom you ask, and what you may do
    Whoami(whoami::Whoami),
    /// Say what is wrong with this set-up, and what to do about it
    Doctor(doctor::Doctor),
    /// Keep settings under a name
    #[command(subcommand, after_help = "Example:\n  aegisctl context use prod-eu")]
    Context(context::Context),
    /// Make a private authority, and certificates by which services know each other
    #[command(subcommand, after_help = "Example:\n  aegisctl ca init authority")]
    Ca(ca::Ca),
    /// Print a script that lets a shell complete commands and options
    Completion(completion::Completion),
    /// Write a man page for each command into a folder
    Man(man::Man),
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
