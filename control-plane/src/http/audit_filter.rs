//! What to look for in the audit log, as a query says it.

use std::collections::BTreeMap;

use aegis_contract::action::ActionType;
use aegis_contract::ids::{ActionId, DecisionId};
use aegis_contract::target::Kind as TargetKind;
use jiff::Timestamp;
use serde::Deserialize;

use crate::audit::Kind;
use crate::audit::facets::Field;
use crate::error::Error;
use crate::service::entries::Filter;

/// Entries that fit all of it.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct FilterQuery {
    /// Entries of this kind, such as `action.ended`.
    kind: Option<String>,
    /// Entries of this principal: `user:…`, `client:…`, `engine:…`, …
    principal: Option<String>,
    /// Entries of principals of this kind: `user`, `client`, `engine`, `executor`, `operator`, `anonymous`.
    principal_kind: Option<String>,
    /// Entries of what others did on behalf of this principal, such as the outcomes of its actions.
    on_behalf_of: Option<String>,
    /// Entries about targets in this cluster, and about the cluster.
    cluster: Option<String>,
    /// Entries about targets in this namespace.
    namespace: Option<String>,
    /// Entries about targets of this kind, such as `Deployment`.
    target_kind: Option<String>,
    /// Entries about targets of this name.
    target_name: Option<String>,
    /// Entries about actions of this type, such as `restart`.
    action_type: Option<String>,
    /// Entries of this action.
    #[param(value_type = Option<uuid::Uuid>)]
    action_id: Option<ActionId>,
    /// Entries of decisions with this answer: `ALLOW` or `DENY`.
    decision: Option<String>,
    /// Entries that took this decision, or rest on it.
    #[param(value_type = Option<uuid::Uuid>)]
    decision_id: Option<DecisionId>,
    /// Entries of decisions to which rules of this policy led, and of changes to it.
    policy: Option<String>,
    /// Entries of outcomes with this final state or code, such as `failed` or `rollout-timeout`.
    outcome: Option<String>,
    /// Entries caused by this request.
    request_id: Option<String>,
    /// Entries at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Entries before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Entries whose JSON holds this text, whatever the case of ASCII letters. Needs `from`: every entry since then
    /// is read for it. What people wrote stands beside the log and is not looked at.
    text: Option<String>,
}

impl FilterQuery {
    /// # Errors
    /// `Parameter` for names that there are not, and those of [`Filter::new`].
    pub(super) fn read(self) -> Result<Filter, Error> {
        if let Some(name) = self.kind.as_deref().filter(|name| Kind::parse(name).is_none()) {
            return Err(not_one_of("kind", name, Kind::ALL.map(Kind::as_str)));
        }
        if let Some(name) = self
            .target_kind
            .as_deref()
            .filter(|name| !TargetKind::ALL.iter().any(|kind| kind.as_str() == *name))
        {
            return Err(not_one_of("targetKind", name, TargetKind::ALL.map(TargetKind::as_str)));
        }
        if let Some(name) = self.action_type.as_deref().filter(|name| name.parse::<ActionType>().is_err()) {
            return Err(not_one_of("actionType", name, ActionType::ALL.map(ActionType::as_str)));
        }
        if let Some(name) = self.decision.as_deref().filter(|name| !DECISIONS.contains(name)) {
            return Err(not_one_of("decision", name, DECISIONS));
        }
        let values = [
            (Field::Kind, self.kind),
            (Field::Principal, self.principal),
            (Field::PrincipalKind, self.principal_kind),
            (Field::OnBehalfOf, self.on_behalf_of),
            (Field::Cluster, self.cluster),
            (Field::Namespace, self.namespace),
            (Field::TargetKind, self.target_kind),
            (Field::TargetName, self.target_name),
            (Field::ActionType, self.action_type),
            (Field::ActionId, self.action_id.map(|id| id.to_string())),
            (Field::Decision, self.decision),
            (Field::DecisionId, self.decision_id.map(|id| id.to_string())),
            (Field::Policy, self.policy),
            (Field::Outcome, self.outcome),
            (Field::RequestId, self.request_id),
        ];
        let values: BTreeMap<Field, String> =
            values.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
        Filter::new(values, self.from, self.to, self.text)
    }
}

const DECISIONS: [&str; 2] = ["ALLOW", "DENY"];

fn not_one_of(name: &'static str, value: &str, known: impl IntoIterator<Item = &'static str>) -> Error {
    let known: Vec<&str> = known.into_iter().collect();
    Error::Parameter { name, message: format!("`{value}` must be one of {}", known.join(", ")) }
}
