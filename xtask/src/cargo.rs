//! Calls of cargo in this checkout.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use aegis_tests::paths::checkout;
use anyhow::{Context, Result, ensure};

/// A call of cargo, not yet run. It reads nothing from the terminal.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("cargo");
    command.args(args).current_dir(checkout()).stdin(Stdio::null());
    command
}

/// Runs it to the end, its output on ours.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "`{}` failed", line_of(&command));
    Ok(())
}

/// Runs it to the end, passes on what it prints, and hands each line to `on_line`; tells whether it succeeded.
pub(crate) fn run_with_lines(mut command: Command, mut on_line: impl FnMut(&str)) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("its output is piped")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        writeln!(std::io::stdout(), "{line}")?;
        on_line(&line);
    }
    Ok(child.wait()?.success())
}

/// Builds the binaries, so that stacks can be started.
pub(crate) fn build_binaries() -> Result<()> {
    let mut build = cargo(["build", "--workspace", "--bins"]);
    // What a stack prints on standard output is data.
    build.stdout(std::io::stderr());
    run(build)
}

/// Builds binaries and tests in one go: with the same features, so that nothing is compiled twice.
pub(crate) fn build_everything() -> Result<()> {
    run(cargo(["build", "--workspace", "--all-targets"]))
}

/// The command line, for messages.
pub(crate) fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
