//! Verifying what the server says now: its newest checkpoint, and that the log has only grown.

use aegis_evidence::bundle::Fault;
use aegis_evidence::{Consistency, Head, HeadError, Kept, LogKeys};
use http::Method;

use super::answer::Answer;
use crate::client::Client;
use crate::failure::{Cause, Failure};

/// What the server's newest checkpoint proves.
pub(super) async fn verify(
    client: &Client,
    keys: &LogKeys,
    remembered: Option<Head>,
) -> Result<Answer, Failure> {
    let note = client.text(&client.api(Method::GET, &["audit", "log", "checkpoint"])).await?;
    let checkpoint = match keys.open(note.as_bytes()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Ok(Answer::of_fault(&Fault::Checkpoint(error))),
    };
    let head = checkpoint.head;
    let Some(remembered) = remembered else { return Ok(Answer::of_live(&checkpoint, None, note)) };
    // The newest head of a log that only grows is never older than one it had.
    if head.size < remembered.size {
        return Ok(Answer::of_fault(&Fault::Forked { remembered, head }));
    }
    let proofs = if head.size == remembered.size || remembered.size == 0 {
        Vec::new()
    } else {
        vec![consistency(client, remembered.size, head.size).await?]
    };
    let kept = Kept::new(vec![remembered]).map_err(Failure::usage)?;
    match kept.judge(&head, &proofs) {
        Ok(_) => Ok(Answer::of_live(&checkpoint, Some(remembered), note)),
        Err(HeadError::Forked { kept, presented }) => {
            Ok(Answer::of_fault(&Fault::Forked { remembered: kept, head: presented }))
        }
        Err(HeadError::Unknown { needs }) => Ok(Answer::of_fault(&Fault::HeadUnknown { size: needs })),
    }
}

/// How the keys of the log handed over, oldest first.
pub(super) async fn endorsements(client: &Client) -> Result<Vec<String>, Failure> {
    let mut keys = client.send(&client.api(Method::GET, &["audit", "log", "keys"])).await?.body;
    serde_json::from_value(keys["endorsements"].take()).map_err(|error| not_understood(client, &error))
}

async fn consistency(client: &Client, from: u64, to: u64) -> Result<Consistency, Failure> {
    let call = client.api(Method::GET, &["audit", "log", "consistency"]);
    let call = call.query("from", &from.to_string()).query("to", &to.to_string());
    let proof = client.send(&call).await?.body;
    serde_json::from_value(proof).map_err(|error| not_understood(client, &error))
}

fn not_understood(client: &Client, error: &serde_json::Error) -> Failure {
    Cause::NotUnderstood { url: client.base().to_string(), status: 200, text: error.to_string() }.into()
}
