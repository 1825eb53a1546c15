//! The examples that sign a request with nothing of ours, run as people run them.

use std::process::Output;

use aegis_tests::paths::checkout;
use aegis_tests::process::Launch;
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The programs that run them, each with its arguments and the example.
const EXAMPLES: [(&str, &[&str], &str); 4] = [
    ("bash", &[], "signed-request.sh"),
    ("python3", &[], "signed-request.py"),
    ("go", &["run"], "signed-request.go"),
    ("node", &[], "signed-request.mjs"),
];

/// Those that can sign with a key pair, too.
const WITH_PAIRS: [&str; 2] = ["signed-request.go", "signed-request.mjs"];

/// An example that asks for `body`, before it is told with which key.
fn example((program, arguments, file): (&str, &[&str], &str), url: &str, body: &str) -> Launch {
    let example = Launch::new(program).args(arguments).arg(checkout().join("docs").join(file)).arg(body);
    example.inherit_environment().env("no_proxy", "127.0.0.1").env("AEGIS_URL", url)
}

fn answer(output: &Output) -> Result<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .with_context(|| format!("no JSON: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
async fn each_example_signs_a_request_that_is_accepted_and_one_with_a_wrong_key_that_is_not() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    stack.kubernetes().apply_in(stack.namespace(), deployment("web", "app:1", 1)).await?;
    stack.kubernetes().wait_rolled_out(stack.namespace(), "deployment/web").await?;
    let (client, url) = (stack.registered_client(), stack.control_plane(0).url());
    let body = stack.action("restart", "Deployment", "web", &json!({})).to_string();
    let folder = tempfile::tempdir()?;

    // Made as docs/clients.md says.
    let key_file = folder.path().join("client.pem");
    let openssl = |args: [&str; 3]| Launch::new("openssl").args(args);
    openssl(["genpkey", "-algorithm", "ed25519"]).arg("-out").arg(&key_file).output().await?;
    let public_key = openssl(["pkey", "-pubout", "-in"]).arg(&key_file).output().await?;
    let new = json!({ "name": "pair-bot", "owner": stack.admin_user().email, "publicKey": public_key });
    let made = stack.admin()?.post("/api/v1/clients", &new).await?.expect(201)?.body;
    let pair_id = made["keys"][0]["id"].as_str().context("an id")?;

    for named in EXAMPLES {
        let (_, _, file) = named;
        let with_secret = |secret: &str| {
            let example = example(named, url, &body).env("KEY_ID", &client.key_id);
            example.env("SECRET", secret).env("IDEMPOTENCY_KEY", file)
        };
        let first = with_secret(&client.secret).output_with("").await?;
        let said = answer(&first).context(file)?;
        assert!(first.status.success(), "{file}: {said}");
        assert_eq!(said["requestedBy"], client.principal.as_str(), "{file}");
        let again = answer(&with_secret(&client.secret).output_with("").await?).context(file)?;
        assert_eq!(said["id"], again["id"], "{file}: the same key asks for the same action");

        let refused = with_secret("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").output_with("").await?;
        assert!(!refused.status.success(), "{file}");
        assert_eq!(answer(&refused).context(file)?["code"], "signature-invalid", "{file}");
        if WITH_PAIRS.contains(&file) {
            let example = example(named, url, &body).env("KEY_ID", pair_id);
            let signed = example.env("PRIVATE_KEY_FILE", &key_file).output_with("").await?;
            assert_eq!(answer(&signed).context(file)?["requestedBy"], "client:pair-bot", "{file}");
        }
    }
    Ok(())
}
