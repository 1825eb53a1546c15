//! What a verification came to, for people and for programs.

use aegis_evidence::bundle::{Fault, Report, Statement};
use aegis_evidence::{Checkpoint, CheckpointError, Head, VerifierKey};
use serde_json::{Value, json};

use crate::commands::audit::meaning::{Contradiction, Open};
use crate::exit::Verdict;
use crate::failure::Failure;
use crate::output::{self, Format, printable};

/// What a verification came to.
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    /// The checkpoint to remember, where it is newer than what is.
    pub(super) to_remember: Option<String>,
    document: Value,
}

impl Answer {
    /// Something is wrong, or missing.
    pub(super) fn of_fault(fault: &Fault) -> Self {
        Self::of_wrong(Verdict::of(fault.class()), fault.code(), fault.entry(), &fault.to_string())
    }

    /// The entries are what the log holds, and contradict each other.
    pub(super) fn of_contradiction(found: &Contradiction) -> Self {
        Self::of_wrong(Verdict::Tampered, found.code, Some(found.entry), &found.message)
    }

    /// What is remembered is not believed, so that nothing can be compared with it.
    pub(super) fn of_remembered(error: &CheckpointError) -> Self {
        let verdict = Verdict::of(Fault::Checkpoint(*error).class());
        Self::of_wrong(
            verdict,
            error.code(),
            None,
            &format!("the remembered checkpoint is not believed: {error}"),
        )
    }

    fn of_wrong(verdict: Verdict, code: &str, entry: Option<u64>, message: &str) -> Self {
        let mut document = json!({ "verdict": verdict.as_str(), "code": code, "message": message });
        if let Some(entry) = entry {
            document["entry"] = json!(entry);
        }
        Self { verdict, to_remember: None, document }
    }

    /// A bundle holds what it claims. `open` is there if the log is whole, and its entries fit together.
    pub(super) fn of_report(report: &Report, open: Option<Vec<Open>>, to_remember: Option<String>) -> Self {
        let mut proven = report.proven();
        let mut not_proven = report.not_proven();
        match &open {
            Some(_) => proven.push(statement(
                "entries-fit",
                "No action has two outcomes, and every final receipt answers an order of the log.",
            )),
            None => not_proven.push(statement(
                "entries-fit",
                "That the entries fit together: only a whole log shows that.",
            )),
        }
        let head = report.checkpoint.head;
        Self::of_proven(
            &head,
            Some(report.entries),
            &proven,
            &not_proven,
            &open.unwrap_or_default(),
            to_remember,
        )
    }

    /// The server's newest checkpoint is signed, and the log has grown from what was remembered.
    pub(super) fn of_live(checkpoint: &Checkpoint, remembered: Option<Head>, note: String) -> Self {
        let head = checkpoint.head;
        let signed_by: Vec<String> = checkpoint.signed_by.iter().map(VerifierKey::fingerprint).collect();
        let mut proven = vec![statement(
            "head-signed",
            &format!(
                "The log {} has {} entries with the root {}, signed by {}.",
                checkpoint.origin,
                head.size,
                head.root,
                signed_by.join(" and ")
            ),
        )];
        let mut not_proven =
            vec![statement("entries-included", "Which entries these are: only a bundle shows that.")];
        match remembered {
            Some(old) => proven.push(statement(
                "log-unchanged",
                &format!(
                    "From {} to {} entries the log only grew; nothing before was changed: it was remembered.",
                    old.size, head.size
                ),
            )),
            None => not_proven.push(statement(
                "log-unchanged",
                "That the log was not rewritten: no remembered checkpoint was given to compare with.",
            )),
        }
        Self::of_proven(&head, None, &proven, &not_proven, &[], Some(note))
    }

    fn of_proven(
        head: &Head,
        entries: Option<u64>,
        proven: &[Statement],
        not_proven: &[Statement],
        open: &[Open],
        to_remember: Option<String>,
    ) -> Self {
        let listed = |statements: &[Statement]| -> Vec<Value> {
            statements.iter().map(|said| json!({ "code": said.code, "text": said.text })).collect()
        };
        let document = json!({
            "verdict": Verdict::Proven.as_str(),
            "checkpoint": { "size": head.size, "root": head.root },
            "entries": entries,
            "proven": listed(proven),
            "notProven": listed(not_proven),
            "open": open,
        });
        Self { verdict: Verdict::Proven, to_remember, document }
    }

    /// Writes it to standard output.
    pub(super) fn write(&self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Table => output::write(&self.text())?,
            Format::Json | Format::Jsonl => format.document(&self.document, &[])?,
        }
        Ok(())
    }

    fn text(&self) -> String {
        let text_of = |value: &Value| printable(value.as_str().unwrap_or_default());
        let list = |name: &str| self.document[name].as_array().cloned().unwrap_or_default();
        let mut lines = Vec::new();
        if self.verdict == Verdict::Proven {
            lines.push("proven:".to_owned());
            lines.extend(list("proven").iter().map(|said| format!("  {}", text_of(&said["text"]))));
            lines.push("not proven:".to_owned());
            lines.extend(list("notProven").iter().map(|said| format!("  {}", text_of(&said["text"]))));
        } else {
            lines.push(format!("{} ({}):", self.verdict.as_str(), text_of(&self.document["code"])));
            lines.push(format!("  {}", text_of(&self.document["message"])));
        }
        let open = list("open");
        if !open.is_empty() {
            lines.push("without an outcome so far:".to_owned());
        }
        lines.extend(open.iter().map(|open| {
            let what = if open["code"] == "order-open" { "ordered" } else { "intended" };
            format!("  action {}, {what} by entry {}", text_of(&open["actionId"]), open["entry"])
        }));
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn statement(code: &'static str, text: &str) -> Statement {
    Statement { code, text: text.to_owned() }
}
