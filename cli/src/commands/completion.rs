//! `aegisctl completion`: lets a shell complete commands and options.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Print a script that lets a shell complete commands and options.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(aegisctl completion bash)
  aegisctl completion zsh > ~/.zfunc/_aegisctl
  aegisctl completion fish > ~/.config/fish/completions/aegisctl.fish")]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(command: &Completion) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Arguments::command(), "aegisctl", &mut script);
    output::write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
