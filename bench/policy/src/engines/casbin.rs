//! casbin: rows of principal, cluster, namespace, kind, name, action and effect, matched by `keyMatch`.
//! It has no conditions on metadata in rows, and no hours: a subset of the workloads.

use anyhow::Result;
use casbin::rhai::Dynamic;
use casbin::{CoreApi, DefaultModel, Enforcer, MemoryAdapter, MgmtApi};

use super::Engine;
use crate::world::{Request, Rule, Workload};

const MODEL: &str = "
[request_definition]
r = sub, cluster, ns, kind, name, act

[policy_definition]
p = sub, cluster, ns, kind, name, act, eft

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = keyMatch(r.ns, p.ns) && keyMatch(r.sub, p.sub) && (r.act == p.act || p.act == \"*\") && keyMatch(r.name, p.name) && keyMatch(r.cluster, p.cluster) && (r.kind == p.kind || p.kind == \"*\")
";

/// Roles: who has a role may do what the role may.
const MODEL_ROLES: &str = "
[request_definition]
r = sub, act

[policy_definition]
p = sub, act

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.act == p.act && g(r.sub, p.sub)
";

/// An enforcer and requests.
pub struct Casbin {
    enforcer: Enforcer,
    requests: Vec<Vec<Dynamic>>,
}

impl Casbin {
    /// Rules without roles, tests and hours.
    pub fn new(workload: &Workload) -> Result<Self> {
        let rows = workload.rules.iter().flat_map(rows).collect();
        let requests = workload.requests.iter().map(|request| {
            let Request { principal, cluster, namespace, kind, name, action, .. } = request;
            [principal, cluster, namespace, *kind, name, action]
                .map(|text| Dynamic::from(text.to_owned()))
                .to_vec()
        });
        Ok(Self { enforcer: enforcer(MODEL, rows, Vec::new())?, requests: requests.collect() })
    }

    /// Rules of a role and an action each.
    pub fn roles(workload: &Workload) -> Result<Self> {
        let rows = workload.rules.iter().flat_map(|rule| {
            let role = rule.role.clone().unwrap_or_default();
            rule.actions.iter().map(move |action| vec![role.clone(), (*action).to_owned()])
        });
        // A principal has other roles from request to request; casbin stores who has which.
        let named = |index: usize| format!("user:{index}");
        let requests = workload.requests.iter().enumerate();
        let links = requests.clone().flat_map(|(index, request)| {
            request.roles.iter().map(move |role| vec![named(index), role.clone()])
        });
        let enforcer = enforcer(MODEL_ROLES, rows.collect(), links.collect())?;
        let requests = requests
            .map(|(index, request)| vec![named(index).into(), Dynamic::from(request.action.to_owned())]);
        Ok(Self { enforcer, requests: requests.collect() })
    }
}

fn enforcer(model: &str, rows: Vec<Vec<String>>, links: Vec<Vec<String>>) -> Result<Enforcer> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let model = DefaultModel::from_str(model).await?;
        let mut enforcer = Enforcer::new(model, MemoryAdapter::default()).await?;
        enforcer.add_policies(rows).await?;
        if !links.is_empty() {
            enforcer.add_grouping_policies(links).await?;
        }
        Ok(enforcer)
    })
}

/// A row for each action.
fn rows(rule: &Rule) -> Vec<Vec<String>> {
    let any = ["*"];
    let actions = if rule.actions.is_empty() { &any[..] } else { &rule.actions };
    let row = |action: &&str| {
        vec![
            rule.principal.starred(),
            rule.cluster.starred(),
            rule.namespace.starred(),
            rule.kind.unwrap_or("*").to_owned(),
            rule.name.starred(),
            (*action).to_owned(),
            if rule.denies { "deny" } else { "allow" }.to_owned(),
        ]
    };
    actions.iter().map(row).collect()
}

impl Engine for Casbin {
    fn name(&self) -> &'static str {
        "casbin"
    }

    fn allows(&mut self, request: usize) -> bool {
        self.enforcer.enforce(self.requests[request].clone()).expect("the model is fit for the requests")
    }
}
