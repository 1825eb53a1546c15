//! `/api/v1/actions/{id}/story`

use aegis_contract::ids::{ActionId, EntryId};
use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Shared;
use super::actions::read_id;
use super::call::Call;
use super::error::Failure;
use crate::service::story::{self, Beside, Ended, Remark, Step, Story};

/// Everything that is recorded of one action, from the request to the outcome.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Story)]
pub(super) struct StoryBody {
    action_id: ActionId,
    /// How it ended; null so far.
    outcome: Option<EndedBody>,
    /// Its entries in the order of the log, those without a place last.
    steps: Vec<StepBody>,
    /// What a reader must know besides: what is missing, open, superseded or erased.
    remarks: Vec<RemarkBody>,
    /// Entries of the log under its newest checkpoint, which covers every step that has an index.
    checkpoint_size: Option<u64>,
}

/// How an action ended, as its entry says.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StoryOutcome)]
pub(super) struct EndedBody {
    /// The final state.
    state: String,
    /// Stable, kebab-case.
    code: String,
    /// For people.
    message: String,
    entry_id: EntryId,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// One entry of an action.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StoryStep)]
pub(super) struct StepBody {
    /// Its place in the log, from 0; null while it waits for one.
    index: Option<u64>,
    entry_id: EntryId,
    kind: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    principal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// What the entry says, as it was recorded.
    #[schema(value_type = Object)]
    data: Value,
    /// What stands beside the log and the entry names; absent if it names nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    beside: Option<BesideBody>,
}

/// What stands beside the log: a decision, an order, a receipt, a request for approval, or what a person wrote.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = StoryBeside)]
pub(super) struct BesideBody {
    /// `as-recorded`: it is what the entry names by its digest or keyed hash. `erased`: a text that was erased.
    /// `missing`: what the entry names is gone, or was changed.
    standing: &'static str,
    /// Only `as-recorded`: a decision with its rules and limits, what an order or a receipt says (`signed`) and by
    /// which key (`keyId`), what people were asked, or a `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    content: Option<Value>,
}

/// Something to know about a story.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StoryRemark)]
pub(super) struct RemarkBody {
    /// Stable, kebab-case, such as `order-open`.
    code: &'static str,
    /// The entry that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    entry_id: Option<EntryId>,
    /// For people.
    message: &'static str,
}

impl From<Story> for StoryBody {
    fn from(story: Story) -> Self {
        Self {
            action_id: story.action_id,
            outcome: story.outcome.map(EndedBody::from),
            steps: story.steps.into_iter().map(StepBody::from).collect(),
            remarks: story.remarks.into_iter().map(RemarkBody::from).collect(),
            checkpoint_size: story.checkpoint_size,
        }
    }
}

impl From<Ended> for EndedBody {
    fn from(Ended { state, code, message, entry_id, at }: Ended) -> Self {
        Self { state, code, message, entry_id, at }
    }
}

impl From<Step> for StepBody {
    fn from(Step { index, entry, beside }: Step) -> Self {
        Self {
            index,
            entry_id: entry.id,
            kind: entry.kind,
            at: entry.at,
            principal: entry.principal,
            request_id: entry.request_id,
            data: entry.data,
            beside: beside.map(BesideBody::from),
        }
    }
}

impl From<Beside> for BesideBody {
    fn from(beside: Beside) -> Self {
        let (standing, content) = match beside {
            Beside::AsRecorded(content) => ("as-recorded", Some(content)),
            Beside::Erased => ("erased", None),
            Beside::Missing => ("missing", None),
        };
        Self { standing, content }
    }
}

impl From<Remark> for RemarkBody {
    fn from(Remark { code, entry_id }: Remark) -> Self {
        Self { code: code.as_str(), entry_id, message: code.message() }
    }
}

/// Tell the story of one action: everything that is recorded of it, in the order of the log.
///
/// It is put together from entries alone. That it was read is an entry: one for each reader, action and minute.
#[utoipa::path(
    get, path = "/api/v1/actions/{id}/story", operation_id = "tellStory", tag = "actions",
    params(("id" = uuid::Uuid, Path, description = "The action")),
    responses(
        (status = 200, description = "The story so far", body = StoryBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn tell(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<StoryBody>, Failure> {
    Ok(Json(story::tell(&services, &call.caller, read_id(&id)?).await?.into()))
}
