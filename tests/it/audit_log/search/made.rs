//! Entries that nobody asked for, of which it is known what they say.

use std::collections::BTreeMap;

use aegis_contract::canonical;
use aegis_tests::stack::Stack;
use anyhow::{Context, Result};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use super::super::settled;

/// Two blocks that are filed, and a part of a third that is not.
const ENTRIES: u64 = 2 * 4_096 + 700;
/// When the first of them was recorded, and one each second after that.
pub(super) const BEGIN: i64 = 1_793_500_000;
/// A text that few of them hold, as a person would not type it.
const TEXT: &str = "Zürich \"\\ 7";

/// What an entry was made to say, and when.
pub(super) struct Made {
    pub(super) at: i64,
    pub(super) says: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// Numbers without order, the same each time: splitmix64 (Steele, Lea, Flood 2014).
pub(super) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// An id as the control plane would make it at `milliseconds`.
fn id(milliseconds: u128, number: u64, of: u64) -> String {
    let time = format!("{milliseconds:012x}");
    format!("{}-{}-7{of:03x}-8000-{number:012x}", &time[..8], &time[8..])
}

/// Three entries belong to one action: it is asked for, decided and ended. A few change policies instead.
fn make(milliseconds: u128, number: u64) -> Result<(String, Made)> {
    let id = |number, of| id(milliseconds, number, of);
    let (action, chance, own) = (number / 3, mixed(number / 3), mixed(number));
    let pick = |values: &[&'static str], by: u64| values[usize::try_from(by).unwrap_or(0) % values.len()];
    let client = format!("client:{}", pick(&["bot", "cron", "deployer"], chance));
    let (cluster, namespace) =
        (pick(&["prod", "stage"], chance >> 8), pick(&["shop", "pay", "web"], chance >> 16));
    let (kind, name) =
        (pick(&["Deployment", "StatefulSet"], chance >> 24), format!("w{}", (chance >> 32) % 40));
    let action_type = pick(&["restart", "scale"], chance >> 40);
    let target = json!({ "cluster": cluster, "namespace": namespace, "kind": kind, "name": name });
    let mut says = vec![
        ("cluster", cluster.to_owned()),
        ("namespace", namespace.to_owned()),
        ("targetKind", kind.to_owned()),
        ("targetName", name.clone()),
        ("actionType", action_type.to_owned()),
        ("actionId", id(action, 1)),
    ];
    let decision = id(action, 2);
    let (entry_kind, principal, data) = match number % 3 {
        _ if chance % 50 == 0 => {
            says.clear();
            let policy = pick(&["base", "night"], own);
            says.push(("policy", policy.to_owned()));
            ("policy.activated", "user:anna".to_owned(), json!({ "name": policy, "version": number }))
        }
        0 => {
            let note = if own % 500 == 0 { TEXT } else { "as usual" };
            (
                "action.requested",
                client,
                json!({ "type": action_type, "target": target, "metadata": { "note": note } }),
            )
        }
        1 => {
            let effect = pick(&["ALLOW", "ALLOW", "DENY"], own);
            says.extend([("decision", effect.to_owned()), ("decisionId", decision.clone())]);
            says.push(("policy", "base".to_owned()));
            let resource = format!("k8s/{cluster}/{namespace}/{kind}/{name}");
            let data = json!({
                "decision": effect, "decisionId": decision, "action": action_type, "resource": resource,
                "rules": [{ "policy": "base", "rule": "a" }, { "policy": "base", "rule": "b" }],
            });
            ("decision.made", client, data)
        }
        _ => {
            let (state, code) =
                [("succeeded", "rollout-complete"), ("failed", "rollout-timeout")][usize::from(own % 4 == 0)];
            says.extend([("outcome", state.to_owned()), ("outcome", code.to_owned())]);
            says.push(("onBehalfOf", client.clone()));
            let data = json!({
                "type": action_type, "target": target, "state": state, "code": code, "onBehalfOf": client,
            });
            ("action.ended", "engine:dispatch".to_owned(), data)
        }
    };
    says.extend([("kind", entry_kind.to_owned()), ("principal", principal.clone())]);
    says.push(("principalKind", principal.split(':').next().context("a kind")?.to_owned()));
    says.push(("requestId", id(number / 2, 3)));
    // Neighbours stand in another order than their times.
    let at = BEGIN + i64::try_from(number)? + i64::try_from(own % 5)?;
    let mut entry = json!({
        "schema": "aegis.entry/v1", "id": id(number, 0), "kind": entry_kind,
        "at": jiff::Timestamp::from_second(at)?, "principal": principal, "requestId": id(number / 2, 3),
        "data": data,
    });
    if entry_kind != "policy.activated" {
        entry["actionId"] = json!(id(action, 1));
    }
    Ok((id(number, 0), Made { at, says, body: canonical::to_bytes(&entry)? }))
}

/// Has entries recorded that nobody asked for, and returns them once they are in the log.
pub(super) async fn record(stack: &Stack) -> Result<BTreeMap<String, Made>> {
    let milliseconds = std::time::UNIX_EPOCH.elapsed()?.as_millis();
    let made = (0..ENTRIES).map(|number| make(milliseconds, number));
    let made: BTreeMap<String, Made> = made.collect::<Result<_>>()?;
    let mut conn = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    let all: Vec<(&String, &Made)> = made.iter().collect();
    for part in all.chunks(1_000) {
        let rows: Vec<String> = part
            .iter()
            .map(|(id, made)| {
                let value = |name| made.says.iter().find(|(said, _)| *said == name).map(|(_, value)| value);
                let quoted = |name| value(name).map_or("null".to_owned(), |value| format!("'{value}'"));
                let body: String = made.body.iter().map(|byte| format!("{byte:02x}")).collect();
                format!(
                    "('{id}', {}, to_timestamp({}), {}, {}, {}, '\\x{body}')",
                    quoted("kind"),
                    made.at,
                    quoted("principal"),
                    quoted("actionId"),
                    quoted("requestId"),
                )
            })
            .collect();
        let insert = format!(
            "insert into audit.pending (id, kind, at, principal, action_id, request_id, body) \
             select id::uuid, kind, at, principal, action_id::uuid, request_id, body::bytea from (values {}) \
                 as made (id, kind, at, principal, action_id, request_id, body)",
            rows.join(", ")
        );
        raw_sql(AssertSqlSafe(insert)).execute(&mut conn).await?;
    }
    conn.close().await?;
    settled(stack).await?;
    Ok(made)
}
