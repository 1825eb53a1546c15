//! The commands, one file for each noun. Each gathers what it needs, asks the control plane, writes the
//! answer and says how it ended.

pub(crate) mod action;
pub(crate) mod audit;
pub(crate) mod decision;
pub(crate) mod doctor;
pub(crate) mod heal;
pub(crate) mod login;
pub(crate) mod page;
pub(crate) mod policy;
pub(crate) mod sign;
pub(crate) mod whoami;

use crate::arguments::{Arguments, Command};
use crate::exit::Exit;

/// Runs one command. What went wrong is told on standard error.
pub(crate) async fn run(arguments: Arguments) -> Exit {
    let options = &arguments.options;
    let result = match &arguments.command {
        Command::Heal(command) => heal::run(command, options).await,
        Command::Action(command) => action::run(command, options).await,
        Command::Policy(command) => policy::run(command, options).await,
        Command::Decision(command) => decision::run(command, options).await,
        Command::Audit(command) => audit::run(command, options).await,
        Command::Sign(command) => sign::run(command, options),
        Command::Login(command) => login::run(command, options).await,
        Command::Whoami(_) => whoami::run(options).await,
        Command::Doctor(_) => doctor::run(options).await,
    };
    result.unwrap_or_else(|failure| {
        failure.report();
        failure.exit()
    })
}
