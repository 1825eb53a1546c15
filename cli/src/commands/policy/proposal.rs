//! How policies would differ from those that are active, as the command line says it.

use std::path::PathBuf;

use aegis_policy::Policy;
use serde_json::{Value, json};

use super::files;
use crate::failure::Failure;

/// What would be active.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ProposalOptions {
    /// A draft, or a folder of drafts, each in place of the policy of its name
    #[arg(long = "with", value_name = "PATH", help_heading = "Proposal")]
    with: Vec<PathBuf>,
    /// A stored version in place of the active one
    #[arg(long = "with-version", value_name = "NAME@VERSION", value_parser = parse_version, help_heading = "Proposal")]
    versions: Vec<(String, u32)>,
    /// A policy that would not be active
    #[arg(long = "without", value_name = "NAME", help_heading = "Proposal")]
    without: Vec<String>,
    /// Nothing but these drafts and versions would be active
    #[arg(long, help_heading = "Proposal")]
    whole: bool,
}

fn parse_version(text: &str) -> Result<(String, u32), String> {
    let (name, version) = text.split_once('@').ok_or("must be NAME@VERSION, for example prod-heal@3")?;
    let version = version.parse().map_err(|_| format!("`{version}` is not the number of a version"))?;
    Ok((name.to_owned(), version))
}

impl ProposalOptions {
    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.with.is_empty() && self.versions.is_empty() && self.without.is_empty() && !self.whole
    }

    /// As the API takes it.
    pub(super) fn body(&self) -> Result<Value, Failure> {
        let documents = if self.with.is_empty() { Vec::new() } else { documents(&self.with)? };
        let versions: Vec<Value> =
            self.versions.iter().map(|(name, version)| json!({ "name": name, "version": version })).collect();
        Ok(json!({
            "documents": documents, "versions": versions, "without": self.without, "whole": self.whole,
        }))
    }
}

/// The documents at these paths.
pub(super) fn documents(paths: &[PathBuf]) -> Result<Vec<Value>, Failure> {
    let files = files::read(paths)?;
    let document = |(_, policy): (u32, &Policy)| {
        serde_json::from_slice(policy.canonical()).map_err(|error| Failure::usage(error.to_string()))
    };
    files.set.policies().map(document).collect()
}
