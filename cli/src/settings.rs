//! What is in force for a command. The command line beats the environment, the environment beats the
//! context, the context beats the defaults.

use aegis_contract::http_signature::SigningKey;
use secrecy::SecretString;

use crate::arguments::Options;
use crate::client::{Client, parse_base};
use crate::contexts::{Context, Contexts};
use crate::credentials::Credentials;
use crate::environment::{Environment, Variable};
use crate::failure::Failure;
use crate::output::Format;
use crate::session::Session;

/// Address of a control plane that runs on this machine.
const DEFAULT_URL: &str = "http://127.0.0.1:3000";
/// Name of a cluster where there is only one.
const DEFAULT_CLUSTER: &str = "local";

/// What is in force for a command.
pub(crate) struct Settings<'o> {
    options: &'o Options,
    context: Context,
    pub(crate) url: String,
    /// Cluster of targets that name none.
    pub(crate) cluster: String,
    pub(crate) output: Format,
    /// Whether colours and control characters are unwanted.
    pub(crate) is_plain: bool,
}

impl<'o> Settings<'o> {
    /// Finds what is in force. Credentials are left until they are needed.
    pub(crate) fn resolve(options: &'o Options) -> Result<Self, Failure> {
        Self::resolve_with(options, Environment::of_process())
    }

    fn resolve_with(options: &'o Options, mut environment: Environment) -> Result<Self, Failure> {
        let wanted = wanted_context(options, &mut environment);
        let contexts = Contexts::read(&environment)?;
        let context = contexts.in_force(wanted.as_deref())?.map(|(_, context)| context.clone());
        let context = context.unwrap_or_default();
        let url = options.url.clone().or_else(|| environment.value(Variable::Url));
        let cluster = environment.value(Variable::Cluster).or_else(|| context.cluster.clone());
        let settings = Self {
            options,
            url: url.or_else(|| context.url.clone()).unwrap_or_else(|| DEFAULT_URL.to_owned()),
            cluster: cluster.unwrap_or_else(|| DEFAULT_CLUSTER.to_owned()),
            output: output(options, &mut environment, Some(&context)),
            is_plain: environment.plain(Variable::NoColor).is_some(),
            context,
        };
        environment.finish()?;
        Ok(settings)
    }

    /// A client as whoever the settings name; where they name nobody, in the session that is kept.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let credentials = match self.options.credentials.resolve(&self.context)? {
            Credentials::None => Session::read(&parse_base(&self.url)?)?
                .map_or(Credentials::None, |session| Credentials::Kept(Box::new(session.into()))),
            named => named,
        };
        Ok(Client::new(&self.url, credentials)?.with_code(self.code()?))
    }

    /// The code of a second factor that was given.
    pub(crate) fn code(&self) -> Result<Option<SecretString>, Failure> {
        self.options.credentials.code()
    }

    /// A client that shows no credentials, whatever is set.
    pub(crate) fn anonymous_client(&self) -> Result<Client, Failure> {
        Client::new(&self.url, Credentials::None)
    }

    /// The signing key; there must be one.
    pub(crate) fn signing_key(&self) -> Result<SigningKey, Failure> {
        self.options.credentials.signing_key(&self.context)
    }
}

/// The context that the command line or the environment names.
pub(crate) fn wanted_context(options: &Options, environment: &mut Environment) -> Option<String> {
    options.context.clone().or_else(|| environment.value(Variable::Context))
}

/// How data is written.
pub(crate) fn output(options: &Options, environment: &mut Environment, context: Option<&Context>) -> Format {
    let output = options.output.or_else(|| environment.value(Variable::Output));
    output.or_else(|| context?.output).unwrap_or(Format::Table)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::arguments::Arguments;

    /// What is in force for `aegisctl whoami OPTIONS` where two contexts are stored.
    fn in_force(
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<(String, String, Format, bool), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("aegis/config.json");
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        let text = r#"{ "current": "near", "contexts": {
            "near": { "url": "http://near", "cluster": "n", "output": "json" },
            "far": { "url": "http://far", "cluster": "f" } } }"#;
        std::fs::write(file, text).unwrap();
        let home = [("XDG_CONFIG_HOME", folder.path().to_str().unwrap())];
        let arguments = Arguments::parse_from([&["aegisctl", "whoami"], options].concat());
        let environment = Environment::of_pairs(&[environment, &home].concat());
        Settings::resolve_with(&arguments.options, environment)
            .map(|settings| (settings.url, settings.cluster, settings.output, settings.is_plain))
            .map_err(|failure| failure.lines().join("\n"))
    }

    #[test]
    fn the_command_line_beats_the_environment_which_beats_the_context_which_beats_the_defaults() {
        let is = |url: &str, cluster: &str, output| Ok((url.to_owned(), cluster.to_owned(), output, false));
        assert_eq!(in_force(&[], &[]), is("http://near", "n", Format::Json));
        let named = [("AEGIS_CONTEXT", "far")];
        assert_eq!(in_force(&[], &named), is("http://far", "f", Format::Table));
        assert_eq!(in_force(&["--context", "near"], &named), is("http://near", "n", Format::Json));
        let set = [("AEGIS_URL", "http://e"), ("AEGIS_CLUSTER", "e"), ("AEGIS_OUTPUT", "jsonl")];
        assert_eq!(in_force(&[], &set), is("http://e", "e", Format::Jsonl));
        let given = ["--url", "http://o", "-o", "table"];
        assert_eq!(in_force(&given, &set), is("http://o", "e", Format::Table));

        let nowhere = Options::default();
        let defaults = Settings::resolve_with(&nowhere, Environment::of_pairs(&[("NO_COLOR", "1")])).unwrap();
        assert_eq!((&*defaults.url, &*defaults.cluster), (DEFAULT_URL, DEFAULT_CLUSTER));
        assert!(defaults.output == Format::Table && defaults.is_plain);
    }

    #[test]
    fn a_context_that_is_not_there_and_a_wrong_variable_are_refused() {
        let unknown = in_force(&["--context", "nowhere"], &[]).unwrap_err();
        assert!(unknown.contains("no context nowhere") && unknown.contains("context list"), "{unknown}");
        let wrong = in_force(&[], &[("AEGIS_OUTPUT", "yaml")]).unwrap_err();
        assert!(wrong.contains("AEGIS_OUTPUT `yaml`") && wrong.contains("table, json or jsonl"), "{wrong}");
    }
}
