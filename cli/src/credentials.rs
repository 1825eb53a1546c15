//! As whom a request is sent: nobody, a signed-in person (token) or a client (signing key).

use std::fs;
use std::path::{Path, PathBuf};

use aegis_contract::http_signature::SigningKey;
use aegis_contract::key::SharedSecret;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use crate::contexts::Context;
use crate::environment::{Environment, Variable};
use crate::failure::{Cause, Failure};
use crate::session::Session;

/// What proves who is asking.
pub(crate) enum Credentials {
    /// Nothing does.
    None,
    /// The access token of a person.
    Token(SecretString),
    /// The session of a person, which goes on as long as it is used.
    Kept(Box<Mutex<Session>>),
    /// The key of a client.
    Key(Box<SigningKey>),
}

/// The options about credentials. Whether a token or a key proves who asks is said by the first of command
/// line, environment and context that names either; a half of a key may come from a later one.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct CredentialOptions {
    /// Key id of a client, to sign requests with [env: AEGIS_KEY_ID]
    #[arg(long, global = true, value_name = "ID", conflicts_with = "token", help_heading = "Connection")]
    pub(crate) key_id: Option<String>,
    /// File with the client's secret: base64, or an Ed25519 key in PEM [env: AEGIS_SECRET_FILE, or AEGIS_SECRET]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "token", help_heading = "Connection")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Access token of a person, from `aegisctl login` [env: AEGIS_TOKEN, or AEGIS_TOKEN_FILE]
    #[arg(long, global = true, value_name = "TOKEN", help_heading = "Connection")]
    pub(crate) token: Option<String>,
    /// Code of your second factor, where one is asked for; it is good once [env: AEGIS_CODE]
    #[arg(long, global = true, value_name = "CODE", help_heading = "Connection")]
    pub(crate) code: Option<String>,
}

impl CredentialOptions {
    /// The credentials that the options, the environment and the context name.
    pub(crate) fn resolve(&self, context: &Context) -> Result<Credentials, Failure> {
        self.resolve_with(Environment::of_process(), context)
    }

    fn resolve_with(&self, mut environment: Environment, context: &Context) -> Result<Credentials, Failure> {
        if let Some(token) = &self.token {
            return Ok(Credentials::Token(token.clone().into()));
        }
        let is_key_given = self.key_id.is_some() || self.secret_file.is_some();
        let token = if is_key_given { None } else { environment.secret(Variable::Token) };
        let key_id = self.key_id.clone().or_else(|| environment.value(Variable::KeyId));
        let secret = match &self.secret_file {
            Some(path) => Some(read_secret(path)?),
            None => environment.secret(Variable::Secret),
        };
        environment.finish()?;

        let is_anything_named = token.is_some() || key_id.is_some() || secret.is_some();
        if let (false, Some(path)) = (is_anything_named, &context.token_file) {
            return Ok(Credentials::Token(read_secret(path)?));
        }
        let (key_id, secret) = match (&token, &context.secret_file) {
            (Some(_), _) => (key_id, secret),
            (None, Some(path)) if secret.is_none() => {
                (key_id.or_else(|| context.key_id.clone()), Some(read_secret(path)?))
            }
            (None, _) => (key_id.or_else(|| context.key_id.clone()), secret),
        };
        match (token, key_id, secret) {
            (Some(_), Some(_), Some(_)) => Err(Failure::usage(
                "AEGIS_TOKEN and AEGIS_KEY_ID are both set; say with --token or --key-id as whom to ask",
            )),
            (Some(token), _, _) => Ok(Credentials::Token(token)),
            (None, Some(key_id), Some(secret)) => {
                Ok(Credentials::Key(Box::new(signing_key(&key_id, secret.expose_secret())?)))
            }
            (None, Some(_), None) => Err(Failure::usage(
                "a key id without its secret: set AEGIS_SECRET_FILE or give --secret-file FILE",
            )),
            (None, None, Some(_)) => {
                Err(Failure::usage("a secret without its key id: set AEGIS_KEY_ID or give --key-id ID"))
            }
            (None, None, None) => Ok(Credentials::None),
        }
    }

    /// The code of a second factor that the options or the environment name.
    pub(crate) fn code(&self) -> Result<Option<SecretString>, Failure> {
        if let Some(code) = &self.code {
            return Ok(Some(code.clone().into()));
        }
        let mut environment = Environment::of_process();
        let code = environment.secret(Variable::Code);
        environment.finish()?;
        Ok(code)
    }

    /// The signing key; there must be one.
    pub(crate) fn signing_key(&self, context: &Context) -> Result<SigningKey, Failure> {
        match self.resolve(context)? {
            Credentials::Key(key) => Ok(*key),
            Credentials::None | Credentials::Token(_) | Credentials::Kept(_) => Err(Failure::usage(
                "signing needs a key: give --key-id and --secret-file (AEGIS_KEY_ID and AEGIS_SECRET_FILE)",
            )),
        }
    }
}

/// Reads the first line of a file that holds one secret, or of standard input for `-`.
pub(crate) fn read_secret(path: &Path) -> Result<SecretString, Failure> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        fs::read_to_string(path)
    };
    let text = text.map_err(|source| Cause::File { path: path.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned().into())
}

fn signing_key(key_id: &str, secret: &str) -> Result<SigningKey, Failure> {
    let key = if secret.trim_start().starts_with("-----BEGIN") {
        SigningKey::ed25519_pkcs8_pem(key_id, secret)
    } else {
        SharedSecret::from_base64(secret).and_then(|secret| SigningKey::hmac_sha256(key_id, secret))
    };
    key.map_err(|error| {
        Failure::usage(format!("the key of {key_id} cannot be used: {error}")).with_note(
            "the secret is the standard base64 that `client create` printed, or an Ed25519 key in PKCS#8 PEM",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn resolve(options: &[&str], environment: &[(&str, &str)]) -> Result<String, String> {
        resolve_in(&Context::default(), options, environment)
    }

    fn resolve_in(
        context: &Context,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<String, String> {
        let option = |name: &str| {
            let at = options.iter().position(|option| *option == name)?;
            options.get(at + 1).map(|value| (*value).to_owned())
        };
        let options = CredentialOptions {
            key_id: option("--key-id"),
            secret_file: option("--secret-file").map(PathBuf::from),
            token: option("--token"),
            code: None,
        };
        match options.resolve_with(Environment::of_pairs(environment), context) {
            Ok(Credentials::None) => Ok("none".to_owned()),
            Ok(Credentials::Token(token)) => Ok(format!("token {}", token.expose_secret())),
            Ok(Credentials::Kept(_)) => Ok("kept".to_owned()),
            Ok(Credentials::Key(key)) => Ok(format!("key {}", key.id())),
            Err(failure) => Err(failure.lines().join("\n")),
        }
    }

    #[test]
    fn what_stands_on_the_command_line_beats_the_environment() {
        let both = [("AEGIS_TOKEN", "t"), ("AEGIS_KEY_ID", "k"), ("AEGIS_SECRET", SECRET)];
        assert_eq!(resolve(&[], &[]).unwrap(), "none");
        assert_eq!(resolve(&[], &both[..1]).unwrap(), "token t");
        assert_eq!(resolve(&[], &both[1..]).unwrap(), "key k");
        assert_eq!(resolve(&["--token", "u"], &both).unwrap(), "token u");
        assert_eq!(resolve(&["--key-id", "l"], &both).unwrap(), "key l");
        assert!(resolve(&[], &both).unwrap_err().contains("both set"));
    }

    #[test]
    fn a_context_says_as_whom_to_ask_where_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, format!("{SECRET}\n")).unwrap();
        let key = Context { key_id: Some("c".into()), secret_file: Some(file), ..Context::default() };
        assert_eq!(resolve_in(&key, &[], &[]).unwrap(), "key c");
        assert_eq!(resolve_in(&key, &["--key-id", "k"], &[]).unwrap(), "key k");
        assert_eq!(resolve_in(&key, &["--token", "t"], &[]).unwrap(), "token t");
        assert_eq!(resolve_in(&key, &[], &[("AEGIS_TOKEN", "t")]).unwrap(), "token t");
        let token = Context { token_file: key.secret_file.clone(), ..Context::default() };
        assert_eq!(resolve_in(&token, &[], &[]).unwrap(), format!("token {SECRET}"));
        let set = [("AEGIS_KEY_ID", "k"), ("AEGIS_SECRET", SECRET)];
        assert_eq!(resolve_in(&token, &[], &set).unwrap(), "key k");
        // A file that is gone is no reason to ask as nobody.
        let gone = Context { token_file: Some("/nonexistent".into()), ..Context::default() };
        assert!(resolve_in(&gone, &[], &[]).unwrap_err().contains("cannot read /nonexistent"));
    }

    #[test]
    fn half_a_key_and_a_bad_secret_are_refused_without_showing_the_secret() {
        assert!(resolve(&["--key-id", "k"], &[]).unwrap_err().contains("without its secret"));
        assert!(resolve(&[], &[("AEGIS_SECRET", SECRET)]).unwrap_err().contains("without its key id"));
        for bad in ["c2hvcnQ=", "not base64!"] {
            let refusal = resolve(&["--key-id", "k"], &[("AEGIS_SECRET", bad)]).unwrap_err();
            assert!(refusal.contains("the key of k cannot be used") && !refusal.contains(bad), "{refusal}");
        }
    }
}
