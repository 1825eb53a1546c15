//! `aegisctl policy who-can`.

use aegis_policy::analyse::WhoCan;
use http::Method;
use serde_json::json;

use super::check::undecided_text;
use super::proposal::ProposalOptions;
use super::tool::{ask, print};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// Whose rights are asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Who {
    /// Action, for example restart
    action: String,
    /// Resource, for example k8s/prod-1/shop/Deployment/web
    resource: String,
    #[command(flatten)]
    proposal: ProposalOptions,
}

/// Runs the command.
pub(super) async fn run(command: &Who, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let body = json!({
        "action": command.action, "resource": command.resource, "proposal": command.proposal.body()?,
    });
    let found: WhoCan = ask(&settings.client()?, Method::POST, "who-can", &body).await?;
    print(settings.output, &json!(found), || lines(&found))?;
    Ok(if found.undecided.is_empty() { Exit::Done } else { Exit::Failed })
}

fn lines(found: &WhoCan) -> Vec<String> {
    let mut lines = vec!["now, by these rules:".to_owned()];
    for grant in &found.grants {
        let any = |list: &[String]| if list.is_empty() { "anybody".to_owned() } else { list.join(" or ") };
        let roles =
            if grant.roles.is_empty() { String::new() } else { format!(" with role {}", any(&grant.roles)) };
        let when = if grant.is_conditional { ", not in every case" } else { "" };
        lines.push(format!("  {}: {}{roles}{when}", grant.rule, any(&grant.principals)));
        lines.extend(demands(&grant.always, &grant.sometimes));
    }
    lines.push("that is, of those who are known:".to_owned());
    for subject in &found.subjects {
        let when = if subject.is_conditional { ", not in every case" } else { "" };
        lines.push(format!("  {}{when}", subject.principal));
        lines.extend(demands(&subject.always, &subject.sometimes));
    }
    lines.extend(found.undecided.iter().map(undecided_text));
    lines.push(format!("{} rules, {} people and clients", found.grants.len(), found.subjects.len()));
    lines
}

fn demands(always: &[String], sometimes: &[String]) -> Vec<String> {
    let always = always.iter().map(|demand| format!("      {demand}"));
    always.chain(sometimes.iter().map(|demand| format!("      in some cases {demand}"))).collect()
}
