//! What a comparison came to, for people and for programs.

use std::fmt::Write as _;

use aegis_contract::ids::ActionId;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::compare::Compared;
use super::kube::Write;
use crate::commands::audit::courses::Course;
use crate::commands::audit::source::Taken;
use crate::exit::Reconciled;
use crate::failure::Failure;
use crate::output::{self, Format, printable};

/// What a comparison came to.
pub(super) struct Answer {
    pub(super) verdict: Reconciled,
    document: Value,
}

impl Answer {
    /// Everything that does not fit weighs more than what is missing.
    pub(super) fn of(
        compared: &Compared<'_>,
        taken: &Taken,
        (from, to): (Timestamp, Timestamp),
        cluster: &str,
    ) -> Self {
        let verdict = if !compared.unexplained.is_empty() || !compared.unwritten.is_empty() {
            Reconciled::Unexplained
        } else if !compared.missing.is_empty() {
            Reconciled::Incomplete
        } else {
            Reconciled::Whole
        };
        let missing =
            compared.missing.iter().map(|(code, message)| json!({ "code": code, "message": message }));
        let document = json!({
            "verdict": verdict.as_str(),
            "cluster": cluster,
            "from": from,
            "to": to,
            "entries": taken.from,
            "writes": {
                "explained": compared.explained,
                "questions": compared.questions,
                "unexplained": compared.unexplained.iter().map(write).collect::<Vec<_>>(),
            },
            "actions": {
                "written": compared.written,
                "unwritten": compared.unwritten.iter().map(action).collect::<Vec<_>>(),
            },
            "missing": missing.collect::<Vec<_>>(),
        });
        Self { verdict, document }
    }

    /// Writes it.
    pub(super) fn write(&self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Table => output::write(&self.text())?,
            Format::Json | Format::Jsonl => format.document(&self.document, &[])?,
        }
        Ok(())
    }

    fn text(&self) -> String {
        let said = |value: &Value| value.as_str().map_or_else(|| value.to_string(), printable);
        let (writes, actions) = (&self.document["writes"], &self.document["actions"]);
        let mut text = format!(
            "{}\n\ncluster {} from {} to {}, entries from {}\n{} writes have their entries, {} actions have their \
             write; {} questions to the API server store nothing\n",
            self.verdict.as_str(),
            said(&self.document["cluster"]),
            said(&self.document["from"]),
            said(&self.document["to"]),
            said(&self.document["entries"]),
            writes["explained"],
            actions["written"],
            writes["questions"],
        );
        let lists = [
            ("writes that nothing explains", &writes["unexplained"], "auditId"),
            ("actions without their write", &actions["unwritten"], "actionId"),
            ("missing for a whole comparison", &self.document["missing"], "code"),
        ];
        for (title, list, first) in lists {
            let items = list.as_array().map_or(&[][..], Vec::as_slice);
            if !items.is_empty() {
                writeln!(text, "\n{title}").expect("writing to a string cannot fail");
            }
            for item in items {
                let others = item.as_object().into_iter().flatten().filter(|(name, _)| *name != first);
                let others: Vec<String> =
                    others.map(|(name, value)| format!("{name} {}", said(value))).collect();
                writeln!(text, "  {}  {}", said(&item[first]), others.join(", "))
                    .expect("writing to a string cannot fail");
            }
        }
        text
    }
}

fn write((write, reason): &(&Write, String)) -> Value {
    json!({
        "auditId": write.audit_id,
        "at": write.at,
        "user": write.user,
        "agent": write.agent,
        "verb": write.verb,
        "resource": write.resource,
        "object": format!("{}/{}", write.namespace, write.name),
        "reason": reason,
    })
}

fn action((id, course): &(ActionId, &Course)) -> Value {
    let ended = course.ended.as_ref();
    json!({
        "actionId": id,
        "target": course.target.as_ref().map(ToString::to_string),
        "orderedAt": course.orders.first().map(|(at, _)| at),
        "orderEntryId": course.orders.first().map(|(_, entry)| entry),
        "endedAt": ended.map(|ended| ended.at),
        "outcomeEntryId": ended.map(|ended| ended.entry_id),
        "code": ended.map(|ended| &ended.code),
    })
}
