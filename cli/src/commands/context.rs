//! `aegisctl context`: keeps settings under a name.

use std::path::{self, Path, PathBuf};

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};

use crate::arguments::Options;
use crate::client::parse_base;
use crate::contexts::{Context as Settings, Contexts};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column};
use crate::settings::{output, wanted_context};

/// What can be done with contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum Context {
    /// List contexts
    #[command(after_help = "Example:\n  aegisctl context list")]
    List,
    /// Show a context
    #[command(after_help = "Example:\n  aegisctl context show prod-eu -o json")]
    Show {
        /// Name of the context; the one in force if absent
        name: Option<String>,
    },
    /// Store the options given here under a name; what is not given stays as it is
    #[command(after_help = "\
Examples:
  aegisctl context set prod-eu --url https://aegis.example.com --key-id alert-bot-1 --secret-file client.secret
  aegisctl context set me --url https://aegis.example.com --token-file token --cluster prod-eu -o json

The first context becomes the current one. A secret is never stored, only the place of its file.")]
    Set {
        /// Name of the context
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Cluster of targets that name none
        #[arg(long)]
        cluster: Option<String>,
        /// File with the access token of a person
        #[arg(long, value_name = "FILE", conflicts_with_all = ["key_id", "secret_file"])]
        token_file: Option<PathBuf>,
    },
    /// Let a context be the current one: it holds wherever no other is named
    #[command(after_help = "Example:\n  aegisctl context use prod-eu")]
    Use {
        /// Name of the context
        name: String,
    },
    /// Forget a context
    #[command(after_help = "Example:\n  aegisctl context delete prod-eu")]
    Delete {
        /// Name of the context
        name: String,
    },
}

const COLUMNS: [Column; 5] = [
    column("name", "/name"),
    column("current", "/isCurrent"),
    column("url", "/url"),
    column("cluster", "/cluster"),
    column("keyId", "/keyId"),
];

const FIRST: [&str; 4] = ["name", "isCurrent", "url", "cluster"];

/// Runs the command.
pub(crate) fn run(command: &Context, options: &Options) -> Result<Exit, Failure> {
    let mut environment = Environment::of_process();
    let mut contexts = Contexts::read(&environment)?;
    let wanted = wanted_context(options, &mut environment);
    // Contexts are mended with these commands: one that is not there must not stop them.
    let in_force = contexts.in_force(wanted.as_deref());
    let format =
        output(options, &mut environment, in_force.as_ref().ok().copied().flatten().map(|(_, it)| it));
    environment.finish()?;
    match command {
        Context::List => {
            let items: Vec<Value> =
                contexts.iter().map(|(name, context)| document(&contexts, name, context)).collect();
            format.list(&items, None, &COLUMNS)?;
        }
        Context::Show { name } => {
            let found = match name {
                Some(name) => Some(contexts.get(name)?),
                None => in_force?,
            };
            let (name, context) = found.ok_or_else(|| {
                Failure::usage("no context is in force")
                    .with_note("`aegisctl context use NAME` makes one the current one")
            })?;
            format.document(&document(&contexts, name, context), &FIRST)?;
        }
        Context::Set { name, cluster, token_file } => {
            let known = contexts.get(name).map(|(_, context)| context.clone()).unwrap_or_default();
            let context = changed(known, options, cluster.as_ref(), token_file.as_deref())?;
            contexts.set(name, context.clone());
            contexts.save()?;
            format.document(&document(&contexts, name, &context), &FIRST)?;
        }
        Context::Use { name } => {
            contexts.make_current(name)?;
            contexts.save()?;
            eprintln!("{name} is the current context");
        }
        Context::Delete { name } => {
            contexts.delete(name)?;
            contexts.save()?;
            eprintln!("{name} is forgotten");
        }
    }
    Ok(Exit::Done)
}

fn document(contexts: &Contexts, name: &str, context: &Settings) -> Value {
    let mut document = json!(context);
    document["name"] = name.into();
    document["isCurrent"] = contexts.is_current(name).into();
    document
}

/// The context with what the command line gives. A key takes the place of a token, and a token that of a key.
fn changed(
    mut context: Settings,
    options: &Options,
    cluster: Option<&String>,
    token_file: Option<&Path>,
) -> Result<Settings, Failure> {
    if options.credentials.token.is_some() {
        return Err(Failure::usage("a token is not stored: write it to a file and give --token-file FILE"));
    }
    if let Some(url) = &options.url {
        parse_base(url)?;
    }
    let (key_id, secret_file) = (&options.credentials.key_id, &options.credentials.secret_file);
    if key_id.is_some() || secret_file.is_some() {
        context.token_file = None;
    }
    if let Some(file) = token_file {
        (context.key_id, context.secret_file) = (None, None);
        context.token_file = Some(absolute(file)?);
    }
    if let Some(file) = secret_file {
        context.secret_file = Some(absolute(file)?);
    }
    Ok(Settings {
        url: options.url.clone().or(context.url),
        key_id: key_id.clone().or(context.key_id),
        cluster: cluster.cloned().or(context.cluster),
        output: options.output.or(context.output),
        ..context
    })
}

/// The file, wherever the context is used.
fn absolute(file: &Path) -> Result<PathBuf, Failure> {
    if file == Path::new("-") {
        return Err(Failure::usage("standard input cannot be stored: name a file"));
    }
    path::absolute(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}
