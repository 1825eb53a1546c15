//! The commands, one file for each noun. Each gathers what it needs, asks the control plane, writes the
//! answer and says how it ended.

pub(crate) mod account;
pub(crate) mod action;
pub(crate) mod alert_source;
pub(crate) mod approval;
pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod client;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod decision;
pub(crate) mod doctor;
pub(crate) mod heal;
pub(crate) mod hold;
pub(crate) mod login;
pub(crate) mod man;
pub(crate) mod new_secret;
pub(crate) mod page;
pub(crate) mod policy;
pub(crate) mod review;
pub(crate) mod role;
pub(crate) mod second_factor;
pub(crate) mod session;
pub(crate) mod sign;
pub(crate) mod user;
pub(crate) mod webhook;
pub(crate) mod whoami;

use std::process::ExitCode;

use crate::arguments::{Arguments, Command};
use crate::commands::audit::{Audit, reconcile, verify};
use crate::exit::{Exit, Reconciled, Verdict};
use crate::failure::Failure;
use crate::settings::Settings;

/// Runs one command. What went wrong is told on standard error.
pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    if let Command::Audit(Audit::Verify(command)) = &arguments.command {
        let verdict = verify::run(command, &arguments.options).await;
        return verdict.unwrap_or_else(|failure| told(&failure, Verdict::NotVerified)).into();
    }
    if let Command::Audit(Audit::Reconcile(command)) = &arguments.command {
        let end = reconcile::run(command, &arguments.options).await;
        return end.unwrap_or_else(|failure| told(&failure, Reconciled::NotCompared)).into();
    }
    try_run(&arguments).await.unwrap_or_else(|failure| told(&failure, failure.exit())).into()
}

fn told<E>(failure: &Failure, end: E) -> E {
    failure.report();
    end
}

async fn try_run(arguments: &Arguments) -> Result<Exit, Failure> {
    let options = &arguments.options;
    // Only what asks the control plane resolves the settings: the rest must work where they make no sense.
    let settings = || Settings::resolve(options);
    match &arguments.command {
        Command::Heal(command) => heal::run(command, &settings()?).await,
        Command::Action(command) => action::run(command, &settings()?).await,
        Command::Approval(command) => approval::run(command, &settings()?).await,
        Command::Policy(command) => policy::run(command, &settings()?).await,
        Command::Review(command) => review::run(command, &settings()?).await,
        Command::Hold(command) => hold::run(command, &settings()?).await,
        Command::Decision(command) => decision::run(command, &settings()?).await,
        Command::Audit(command) => audit::run(command, &settings()?).await,
        Command::Client(command) => client::run(command, &settings()?).await,
        Command::AlertSource(command) => alert_source::run(command, &settings()?).await,
        Command::Webhook(command) => webhook::run(command, &settings()?).await,
        Command::Sign(command) => sign::run(command, &settings()?),
        Command::Login(command) => login::run(command, &settings()?).await,
        Command::Logout(_) => session::log_out(&settings()?).await,
        Command::StepUp(_) => second_factor::step_up(&settings()?).await,
        Command::Session(command) => session::run(command, &settings()?).await,
        Command::Account(command) => account::run(command, &settings()?).await,
        Command::User(command) => user::run(command, &settings()?).await,
        Command::Role(command) => role::run(command, &settings()?).await,
        Command::Whoami(_) => whoami::run(&settings()?).await,
        Command::Doctor(_) => doctor::run(&settings()?).await,
        Command::Context(command) => context::run(command, options),
        Command::Ca(command) => ca::run(command, options.output),
        Command::Completion(command) => completion::run(command),
        Command::Man(command) => man::run(command),
    }
}
