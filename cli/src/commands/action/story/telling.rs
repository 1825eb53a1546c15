//! One sentence for each entry of a story.

use serde_json::Value;

use crate::markdown::Said;

/// What is told of one entry, or of one thing that the executor did.
pub(super) struct Line {
    /// The entry's place in the log.
    pub(super) place: String,
    /// When.
    pub(super) at: String,
    /// Who did it.
    pub(super) who: Said,
    /// What.
    pub(super) what: Said,
}

/// A text; nothing if it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Where an entry stands.
pub(super) fn place(step: &Value) -> String {
    step["index"].as_u64().map_or_else(|| "–".to_owned(), |index| index.to_string())
}

/// What was asked for.
pub(super) fn change(data: &Value) -> Said {
    let target = ["cluster", "namespace", "kind", "name"].map(|part| text(&data["target"][part])).join("/");
    let said = Said::new().value(text(&data["type"])).words("of").value(target);
    let said = match data["params"].as_object() {
        Some(params) if !params.is_empty() => said.words("with").value(data["params"].to_string()),
        _ => said,
    };
    if data["dryRun"] == true { said.words("as a dry run") } else { said }
}

/// What a person wrote beside an entry, if its entry names something.
pub(super) fn beside_text(step: &Value) -> Option<Said> {
    let beside = step["beside"].as_object()?;
    Some(match beside["standing"].as_str() {
        Some("as-recorded") => Said::new().value(text(&beside["content"]["text"])),
        Some("erased") => Said::new().words("(erased)"),
        _ => Said::new().words("(not there as recorded)"),
    })
}

/// An entry, and what the executor says in it that it did. Of a receipt that says "at work" nothing more is told once
/// there is a final one, which says it all.
pub(super) fn lines_of(step: &Value, steps: &[Value]) -> Vec<Line> {
    let who = Said::new().value(text(&step["principal"]));
    let line = Line { place: place(step), at: text(&step["at"]).to_owned(), who, what: what(step) };
    let outdoes = |other: &Value| {
        other["kind"] == step["kind"]
            && other["data"]["attempt"] == step["data"]["attempt"]
            && other["data"]["stage"] != "running"
    };
    let is_outdone = step["data"]["stage"] == "running" && steps.iter().any(outdoes);
    let stage = &step["beside"]["content"]["signed"]["stage"];
    let did = [&stage["steps"], &stage["result"]["steps"]].into_iter().find_map(Value::as_array);
    let did = did.into_iter().flatten().filter(|_| !is_outdone && step["kind"] == "receipt.received");
    let did = did.map(|did| Line {
        place: String::new(),
        at: text(&did["at"]).to_owned(),
        who: Said::new().words("executor"),
        what: Said::new().value(text(&did["name"])).words("—").value(text(&did["message"])),
    });
    std::iter::once(line).chain(did).collect()
}

fn what(step: &Value) -> Said {
    let (data, content) = (&step["data"], &step["beside"]["content"]);
    let said = Said::new();
    match text(&step["kind"]) {
        "action.requested" => said.words("asked for").and(change(data)),
        "decision.made" => decision(data, content),
        "approval.requested" => asked_people(data),
        "approval.given" => said.words("agreed to").value(text(&data["digest"])),
        "approval.withdrawn" => said.words("took back the agreement"),
        "approval.denied" => with_text(said.words("said no:"), step),
        "approval.voided" => said.words("answers are void: something else is to be done"),
        "review.requested" => said.words("somebody must look at it afterwards"),
        "review.done" => with_text(said.words("looked at it afterwards:"), step),
        "action.intent" => attempt("intends attempt", data)
            .words("on decision")
            .value(text(&data["decisionId"]))
            .words("by policy set")
            .value(text(&data["policyDigest"])),
        "order.signed" => order(data, content),
        "order.not-accepted" => attempt("the executor did not take the order of attempt", data)
            .words("—")
            .value(text(&data["code"])),
        "receipt.received" => receipt(data, content),
        "action.unknown" => said.words("nobody knows what became of it —").value(text(&data["message"])),
        "action.close-requested" => said.words("declared that nobody will ever know what became of it"),
        "action.ended" => ended(data),
        "target.held" => said.words("put the target on hold for automation"),
        "target.hold-lifted" => said.words("let automation act on the target again"),
        kind => said.value(kind),
    }
}

/// How it ended, as the entry or the outcome says.
pub(super) fn ended(data: &Value) -> Said {
    let said =
        Said::new().words("ended").value(text(&data["state"])).words("with").value(text(&data["code"]));
    said.words("—").value(text(&data["message"]))
}

fn asked_people(data: &Value) -> Said {
    let groups = data["groups"].as_array().into_iter().flatten();
    let group = |group: &Value| format!("{} of {}", group["min"], text(&group["role"]));
    groups.fold(Said::new().words("asked people to agree:"), |said, asked| said.value(group(asked)))
}

fn with_text(said: Said, step: &Value) -> Said {
    said.and(beside_text(step).unwrap_or_default())
}

fn attempt(words: &'static str, data: &Value) -> Said {
    Said::new().words(words).value(data["attempt"].to_string())
}

fn decision(data: &Value, content: &Value) -> Said {
    let said = Said::new().words("policy says").value(text(&data["decision"]));
    let said = match content["reason"].as_str() {
        Some(reason) => said.words("—").value(reason),
        None => said,
    };
    let rule =
        |rule: &Value| format!("{}@{}/{}", text(&rule["policy"]), rule["version"], text(&rule["rule"]));
    let rules = data["rules"].as_array().map_or(&[][..], Vec::as_slice);
    let said = rules.iter().fold(said, |said, deciding| said.words("— by").value(rule(deciding)));
    let limits = data["limitsWithoutRoom"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let said = limits.fold(said, |said, limit| said.words("— no room in").value(limit));
    said.words("— policy set").value(text(&data["policySetDigest"]))
}

fn order(data: &Value, content: &Value) -> Said {
    let said = attempt("signed the order of attempt", data).value(text(&data["orderDigest"]));
    with_key(said, content).words("to be begun before").value(text(&data["notAfter"]))
}

fn receipt(data: &Value, content: &Value) -> Said {
    let said = attempt("the executor says of attempt", data).value(text(&data["stage"]));
    let stage = &content["signed"]["stage"];
    let result = if stage["result"].is_object() { &stage["result"] } else { stage };
    let said =
        [&result["status"], &result["code"]].into_iter().filter_map(Value::as_str).fold(said, Said::value);
    with_key(said.words("— receipt").value(text(&data["receiptDigest"])), content)
}

fn with_key(said: Said, content: &Value) -> Said {
    match content["keyId"].as_str() {
        Some(key) => said.words("with key").value(key),
        None => said,
    }
}
