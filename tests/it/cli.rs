//! `aegisctl` against a whole stack: what scripts rely on.

mod authority;
mod clients;
mod people;
mod policies;
mod second_factor;
mod single_sign_on;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::Duration;

use aegis_tests::eventually::eventually;
use aegis_tests::paths::binary;
use aegis_tests::process::Launch;
use aegis_tests::receiver::Receiver;
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::workload::{deployment, with_pod_annotation};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// What one run of a program said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The data if the exit code is the expected one, else an error that quotes everything.
    fn expect(&self, code: i32) -> Result<Value> {
        ensure!(
            self.code == Some(code),
            "expected {code}, got {:?}\n{}{}",
            self.code,
            self.stderr,
            self.stdout
        );
        if self.stdout.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}", self.stdout))
    }
}

/// The command line of somebody: `aegisctl -o json` with an address and credentials.
struct Terminal {
    launch: Launch,
}

impl Terminal {
    fn new(stack: &Stack) -> Result<Self> {
        let url = stack.control_plane(0).url();
        let launch = Launch::new(binary("aegisctl")?)
            .env("AEGIS_URL", url)
            .env("AEGIS_CLUSTER", stack.cluster_name())
            .args(["-o", "json"]);
        Ok(Self { launch })
    }

    /// The first client's, with its key.
    fn of_client(stack: &Stack) -> Result<Self> {
        let client = stack.registered_client();
        let launch = Self::new(stack)?.launch;
        Ok(Self { launch: launch.env("AEGIS_KEY_ID", &client.key_id).env("AEGIS_SECRET", &client.secret) })
    }

    /// The first admin's, with a token.
    fn of_admin(stack: &Stack) -> Result<Self> {
        let launch = Self::new(stack)?.launch;
        Ok(Self { launch: launch.env("AEGIS_TOKEN", &stack.admin_user().access_token) })
    }

    /// That of a person, who signs in with a token.
    async fn of_person(stack: &Stack, name: &str, roles: &[&str]) -> Result<Self> {
        let launch = Self::new(stack)?.launch;
        Ok(Self { launch: launch.env("AEGIS_TOKEN", stack.new_person_token(name, roles).await?) })
    }

    async fn run(&self, args: &[&str]) -> Result<Said> {
        self.run_with(args, "").await
    }

    async fn run_with(&self, args: &[&str], input: &str) -> Result<Said> {
        Ok(Said::of(&self.launch.clone().args(args).output_with(input).await?))
    }
}

/// A stack with a Deployment `web` of two pods.
async fn stack_with_workload() -> Result<Stack> {
    let stack = Stack::start(StackOptions::default()).await?;
    let kubernetes = stack.kubernetes();
    kubernetes.apply_in(stack.namespace(), deployment("web", "app:1", 2)).await?;
    kubernetes.wait_rolled_out(stack.namespace(), "deployment/web").await?;
    Ok(stack)
}

#[tokio::test]
async fn automation_heals_and_waits_and_people_find_out_why() -> Result<()> {
    let stack = stack_with_workload().await?;
    let (client, admin) = (Terminal::of_client(&stack)?, Terminal::of_admin(&stack)?);
    let target = format!("{}/deployment/web", stack.namespace());

    // Without a policy nothing may be done, and a script can tell.
    let said = client.run(&["heal", "scale", &target, "--replicas", "3", "--wait"]).await?;
    let denied = said.expect(3)?;
    assert_eq!(denied["state"], "denied");
    assert!(
        said.stderr.contains("policy-denied") && said.stderr.contains("aegisctl decision get"),
        "{}",
        said.stderr
    );

    stack.allow_everything().await?;
    let metadata = ["--metadata", "severity=high", "--metadata", "errors:=17"];
    let args =
        [&["heal", "scale", &target, "--replicas", "3", "--wait", "--reason", "queue grows"], &metadata[..]];
    let action = client.run(&args.concat()).await?.expect(0)?;
    assert_eq!(action["state"], "succeeded");
    assert_eq!(action["metadata"], json!({ "severity": "high", "errors": 17 }));
    let web = stack.kubernetes().get(stack.namespace(), "deployment/web").await?;
    assert_eq!(web["spec"]["replicas"], 3);

    let id = action["id"].as_str().context("an action has an id")?;
    assert_eq!(client.run(&["action", "watch", id]).await?.expect(0)?["id"], id);
    assert_eq!(client.run(&["action", "cancel", id]).await?.code, Some(8));
    let listed =
        admin.run(&["action", "list", "--namespace", stack.namespace(), "--all"]).await?.expect(0)?;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");

    let decision_id = action["decisionId"].as_str().context("an action has a decision")?;
    let decision = client.run(&["decision", "get", decision_id]).await?.expect(0)?;
    assert!(decision.to_string().contains("this test is not about policy"), "{decision}");

    let found =
        admin.run(&["audit", "search", "--action-id", id, "--from", "1h", "--all"]).await?.expect(0)?;
    let newest = found["items"][0]["id"].as_str().context("an entry has an id")?;
    assert_eq!(admin.run(&["audit", "show", newest]).await?.expect(0)?, found["items"][0]);
    let kinds: Vec<_> =
        found["items"].as_array().context("items")?.iter().map(|entry| &entry["kind"]).collect();
    for kind in [
        "action.requested",
        "decision.made",
        "action.intent",
        "order.signed",
        "receipt.received",
        "action.ended",
    ] {
        assert!(kinds.contains(&&json!(kind)), "{kind} is not among {kinds:?}");
    }
    assert_eq!(client.run(&["audit", "search"]).await?.code, Some(5), "automation reads no audit log");

    // How far it may go, and that nothing is left only where somebody says so.
    let said = client.run(&["heal", "scale", &target, "--replicas", "0"]).await?;
    assert_eq!(said.code, Some(3));
    assert!(said.stderr.contains("needs a limit `replicas` with `min` 0"), "{}", said.stderr);
    let ceiling = json!({ "id": "ceiling", "effect": "REQUIRE", "reason": "the budget is small",
        "limits": [{ "type": "replicas", "max": 4 }] });
    let policy =
        json!({ "schema": "aegis.policy/v1", "name": "sizes", "description": "Sizes.", "rules": [ceiling] });
    stack.admin()?.activate_policy(&policy).await?;
    let said = client.run(&["heal", "scale", &target, "--replicas", "5"]).await?;
    assert_eq!(said.code, Some(3));
    assert!(
        said.stderr.contains("LIMIT_EXCEEDED (replicas at most 4): the budget is small"),
        "{}",
        said.stderr
    );
    Ok(())
}

#[tokio::test]
async fn people_are_told_what_they_agree_to_and_who_is_missing() -> Result<()> {
    let stack = stack_with_workload().await?;
    stack.allow_everything().await?;
    let rule = json!({ "id": "care", "effect": "REQUIRE", "reason": "care", "approvals": [{ "role": "sre", "min": 2 }] });
    let policy = json!({ "schema": "aegis.policy/v1", "name": "care", "description": "", "rules": [rule] });
    let admin = stack.admin()?;
    admin.activate_policy(&policy).await?;
    let client = Terminal::of_client(&stack)?;
    let anna = Terminal::of_person(&stack, "anna", &["sre"]).await?;
    let ben = Terminal::of_person(&stack, "ben", &["sre", "user"]).await?;
    let target = format!("{}/deployment/web", stack.namespace());

    let said = client.run(&["heal", "restart", &target]).await?;
    let action = said.expect(0)?;
    assert_eq!(action["state"], "awaiting-approval");
    assert!(said.stderr.contains("waiting for people to agree: 2 × sre"), "{}", said.stderr);
    let id = action["id"].as_str().context("an action has an id")?;
    assert_eq!(client.run(&["approval", "approve", id]).await?.code, Some(5));

    assert_eq!(anna.run(&["approval", "list"]).await?.expect(0)?["items"][0]["id"], id);
    let said = anna.run(&["approval", "approve", id]).await?;
    said.expect(0)?;
    let digest = action["approval"]["digest"].as_str().context("a digest")?;
    assert!(
        said.stderr.contains(&format!("/Deployment/web {{}} for {}", stack.registered_client().principal))
    );
    assert!(
        said.stderr.contains(digest) && said.stderr.contains("still missing: 1 × sre"),
        "{}",
        said.stderr
    );
    assert!(anna.run(&["approval", "list"]).await?.expect(0)?["items"] == json!([]));
    anna.run(&["approval", "withdraw", id]).await?.expect(0)?;

    anna.run(&["approval", "approve", id, "--digest", digest]).await?.expect(0)?;
    ben.run(&["approval", "approve", id]).await?.expect(0)?;
    client.run(&["action", "watch", id]).await?.expect(0)?;

    let action = client.run(&["heal", "restart", &target]).await?.expect(0)?;
    let id = action["id"].as_str().context("an action has an id")?;
    let denied = ben.run(&["approval", "deny", id, "--reason", "not now"]).await?.expect(0)?;
    assert_eq!(denied["outcome"]["code"], "approval-denied");
    anna.run(&["approval", "approve", id]).await?.expect(8)?;
    client.run(&["action", "watch", id]).await?.expect(3)?;

    let limit = json!([{ "type": "cooldown", "per": "target", "seconds": 3600 }]);
    let rule = json!({ "id": "calm", "effect": "REQUIRE", "reason": "calm", "limits": limit });
    admin
        .activate_policy(
            &json!({ "schema": "aegis.policy/v1", "name": "calm", "description": "", "rules": [rule] }),
        )
        .await?;
    let said = client.run(&["heal", "restart", &target]).await?;
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    for hint in ["the same would be allowed in ", "then people would have to agree: 2 × sre"] {
        assert!(said.stderr.contains(hint), "{}", said.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_target_that_is_not_there_exits_as_refused_and_a_repeated_key_finds_the_first_action() -> Result<()>
{
    let stack = stack_with_workload().await?;
    stack.allow_everything().await?;
    let client = Terminal::of_client(&stack)?;

    let absent = format!("{}/Deployment/absent", stack.namespace());
    let refused = client.run(&["heal", "restart", &absent, "--wait"]).await?.expect(4)?;
    assert_eq!(
        (&refused["state"], &refused["outcome"]["code"]),
        (&json!("refused"), &json!("target-absent"))
    );

    let target = format!("{}/Deployment/web", stack.namespace());
    let once = ["heal", "restart", &target, "--wait", "--dry-run", "--idempotency-key", "once"];
    let first = client.run(&once).await?.expect(0)?;
    let again = client.run(&once).await?.expect(0)?;
    assert_eq!(first["id"], again["id"]);
    let other = ["heal", "scale", &target, "--replicas", "1", "--idempotency-key", "once"];
    let said = client.run(&other).await?;
    assert_eq!(said.code, Some(8), "{}", said.stderr);
    assert!(said.stderr.contains("idempotency-key-reused"), "{}", said.stderr);

    let nobody = Terminal::new(&stack)?.run(&["heal", "restart", &target]).await?;
    assert_eq!(nobody.code, Some(5), "{}", nobody.stderr);
    let unknown = client.run(&["action", "get", "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90"]).await?;
    assert_eq!(unknown.code, Some(6), "{}", unknown.stderr);
    Ok(())
}

#[tokio::test]
async fn waiting_outlives_a_control_plane_that_dies_and_comes_back() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.allow_everything().await?;
    let slow = with_pod_annotation(deployment("web", "app:1", 1), "sim.aegis.dev/ready-after", "8s");
    stack.kubernetes().apply_in(stack.namespace(), slow).await?;
    stack.kubernetes().wait_rolled_out(stack.namespace(), "deployment/web").await?;

    let client = Terminal::of_client(&stack)?;
    let target = format!("{}/Deployment/web", stack.namespace());
    let break_down = async {
        eventually("the action runs", Duration::from_secs(30), async || {
            let answer = stack.admin()?.get("/api/v1/actions?state=running").await?.expect(200)?;
            Ok(answer.body["items"].get(0).map(|_| ()))
        })
        .await?;
        stack.control_plane(0).process().restart()
    };
    let restart = ["heal", "restart", &target, "--wait"];
    let (said, ()) = tokio::try_join!(client.run(&restart), break_down)?;
    assert_eq!(said.expect(0)?["state"], "succeeded");
    assert!(said.stderr.contains("trying again"), "{}", said.stderr);
    for step in [" checked: ", " written: ", " complete: "] {
        assert_eq!(said.stderr.matches(step).count(), 1, "{step}: {}", said.stderr);
    }

    // Who does not wait long enough still learns what to ask for later.
    let open = client.run(&["heal", "restart", &target, "--wait=1"]).await?.expect(7)?;
    assert!(["queued", "running"].contains(&open["state"].as_str().unwrap_or_default()), "{open}");
    let id = open["id"].as_str().context("an action has an id")?;
    assert_eq!(client.run(&["action", "watch", id]).await?.expect(0)?["state"], "succeeded");
    Ok(())
}

#[tokio::test]
async fn a_person_signs_in_and_the_doctor_finds_what_is_wrong() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (client, anybody) = (Terminal::of_client(&stack)?, Terminal::new(&stack)?);
    let admin = stack.admin_user();

    let login = ["login", "--email", &admin.email, "--password-file", "-", "-o", "table"];
    let said = anybody.run_with(&login, &format!("{}\n", admin.password)).await?;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let caller = anybody.run(&["whoami", "--token", said.stdout.trim()]).await?.expect(0)?;
    assert_eq!(caller["roles"], json!(["admin"]), "{caller}");
    // Kept, the session goes on by itself, also when two commands find its token over at once, until it is ended.
    let folder = tempfile::tempdir()?;
    let at_home = Terminal { launch: anybody.launch.clone().env("XDG_CONFIG_HOME", folder.path()) };
    let keep = ["login", "--keep", "--email", &admin.email, "--password-file", "-"];
    at_home.run_with(&keep, &admin.password).await?.expect(0)?;
    let kept =
        std::fs::read_dir(folder.path().join("aegis/sessions"))?.next().context("a kept session")??.path();
    assert_eq!(std::fs::metadata(&kept)?.permissions().mode() & 0o777, 0o600);
    let before: Value = serde_json::from_slice(&std::fs::read(&kept)?)?;
    let mut over = before.clone();
    over["expiresAt"] = json!("2020-01-01T00:00:00Z");
    std::fs::write(&kept, over.to_string())?;
    let (one, two) = tokio::join!(at_home.run(&["account", "show"]), at_home.run(&["whoami"]));
    assert_eq!(one?.expect(0)?["email"], admin.email.as_str());
    two?.expect(0)?;
    let after: Value = serde_json::from_slice(&std::fs::read(&kept)?)?;
    assert_ne!(after["refreshToken"], before["refreshToken"]);
    let sessions = at_home.run(&["session", "list"]).await?.expect(0)?;
    assert!(
        sessions["items"].as_array().is_some_and(|items| items.iter().any(|item| item["isCurrent"] == true))
    );
    at_home.run(&["logout"]).await?.expect(0)?;
    assert!(!kept.exists());
    assert_eq!(at_home.run(&["whoami"]).await?.code, Some(5));

    let wrong = anybody.run_with(&login, "not the password").await?;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(5), ""), "{}", wrong.stderr);
    let caller = client.run(&["whoami"]).await?.expect(0)?;
    assert_eq!(caller["principal"], stack.registered_client().principal.as_str());

    let result = |findings: &Value, check: &str| {
        let items = findings["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|finding| finding["check"] == check).map(|finding| finding["result"].clone())
    };
    let cluster = format!("cluster {}", stack.cluster_name());
    let healthy = client.run(&["doctor"]).await?.expect(0)?;
    for check in ["settings", "control plane", "clock", "database", "credentials", &cluster] {
        assert_eq!(result(&healthy, check), Some(json!("ok")), "{check}: {healthy}");
    }
    let unknown = anybody.run(&["doctor", "--token", "x.y.z"]).await?.expect(5)?;
    assert_eq!(result(&unknown, "credentials"), Some(json!("wrong")), "{unknown}");
    stack.executor(0).process().kill()?;
    let without_executor = client.run(&["doctor"]).await?.expect(7)?;
    assert_eq!(result(&without_executor, &cluster), Some(json!("wrong")), "{without_executor}");
    assert_eq!(result(&without_executor, "database"), Some(json!("ok")), "{without_executor}");
    stack.control_plane(0).process().kill()?;
    let without_all = client.run(&["doctor"]).await?.expect(7)?;
    assert_eq!(result(&without_all, "control plane"), Some(json!("wrong")), "{without_all}");
    Ok(())
}

#[tokio::test]
async fn a_context_is_all_that_is_needed_and_a_terminal_may_want_no_control_characters() -> Result<()> {
    let stack = stack_with_workload().await?;
    stack.allow_everything().await?;
    let client = stack.registered_client();
    let home = tempfile::tempdir()?;
    let place = |name: &str| home.path().join(name).display().to_string();
    std::fs::write(place("secret"), &client.secret)?;
    let launch = Launch::new(binary("aegisctl")?).env("XDG_CONFIG_HOME", place("settings"));
    let named = Terminal { launch };
    let (url, secret) = (stack.control_plane(0).url(), place("secret"));
    let key = ["--url", url, "--key-id", &client.key_id, "--secret-file", &secret];
    let rest = ["--cluster", stack.cluster_name(), "-o", "json"];
    named.run(&[&["context", "set", "stack"], &key[..], &rest[..]].concat()).await?.expect(0)?;

    let target = format!("{}/Deployment/web", stack.namespace());
    let action = named.run(&["heal", "restart", &target, "--wait"]).await?.expect(0)?;
    assert_eq!(action["requestedBy"], client.principal.as_str());
    let id = action["id"].as_str().context("an action has an id")?;
    let watch = format!("{} action watch {id}", binary("aegisctl")?.display());
    for (unwanted, is_steered) in [("", true), ("1", false)] {
        // `script` of util-linux gives the program a terminal.
        let terminal = Launch::new("script").args(["-qec", &watch, "/dev/null"]);
        let terminal = terminal.env("XDG_CONFIG_HOME", place("settings")).env("TERM", "xterm");
        let said = Said::of(&terminal.env("NO_COLOR", unwanted).output_with("").await?);
        assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains("is succeeded"), "{}", said.stdout);
        assert_eq!(said.stdout.contains('\u{1b}'), is_steered, "{}", said.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn printed_headers_sign_the_request_of_another_tool() -> Result<()> {
    let stack = stack_with_workload().await?;
    stack.allow_everything().await?;
    let body = stack.action("restart", "Deployment", "web", &json!({})).to_string();
    let key = ["--idempotency-key", "another-tool", "-o", "table"];
    let args = [&["sign", "POST", "/api/v1/actions?wait=60", "--data", &body], &key[..]].concat();
    let headers = Terminal::of_client(&stack)?.run(&args).await?.stdout;
    let url = format!("{}/api/v1/actions?wait=60", stack.control_plane(0).url());
    let curl = Launch::new("curl").args(["-sS", "-H", "@-", "-H", "Content-Type: application/json"]);
    let output = curl.args(["--data-binary", &body, &url]).output_with(headers).await?;
    assert_eq!(Said::of(&output).expect(0)?["state"], "succeeded");
    Ok(())
}

#[tokio::test]
async fn webhooks_are_set_tried_looked_at_and_asked_to_send_again() -> Result<()> {
    let settings = vec![("DANGEROUS_ALLOW_PRIVATE_WEBHOOKS".to_owned(), "true".to_owned())];
    let stack =
        Stack::start(StackOptions { control_plane_settings: settings, ..StackOptions::default() }).await?;
    let receiver = Receiver::start().await?;
    let admin = Terminal::of_admin(&stack)?;
    let url = receiver.url();
    admin.run(&["webhook", "set", "hook", "--to", "ftp://nowhere"]).await?.expect(2)?;
    let set =
        ["webhook", "set", "hook", "--to", &url, "--event", "action.ended", "--requested-by", "client:bot"];
    let created = admin.run(&set).await?.expect(0)?;
    assert!(created["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{created}");
    assert!(admin.run(&set).await?.expect(0)?["secret"].is_null());
    let listed = admin.run(&["webhook", "list"]).await?.expect(0)?;
    assert_eq!(listed["items"][0]["requestedBy"], json!(["client:bot"]), "{listed}");
    assert_eq!(admin.run(&["webhook", "get", "hook"]).await?.expect(0)?["url"], *url);

    let tried = admin.run(&["webhook", "test", "hook"]).await?.expect(0)?;
    let id = tried["id"].as_str().context("an id")?;
    let delivered = async |count: usize| {
        eventually("the delivery", Duration::from_secs(60), async || {
            let found =
                admin.run(&["webhook", "deliveries", "hook", "--state", "delivered"]).await?.expect(0)?;
            let is_there = found["items"][0]["id"] == id && receiver.received().len() == count;
            Ok(is_there.then_some(()))
        })
        .await
    };
    delivered(1).await?;
    admin.run(&["webhook", "redeliver", "hook", id]).await?.expect(0)?;
    delivered(2).await?;
    let log = admin.run(&["webhook", "delivery", "hook", id]).await?.expect(0)?;
    assert_eq!((&log["attempts"], &log["log"][1]["status"]), (&json!(2), &json!(204)), "{log}");
    assert_ne!(
        admin.run(&["webhook", "rotate-secret", "hook"]).await?.expect(0)?["secret"],
        created["secret"]
    );
    Terminal::of_client(&stack)?.run(&["webhook", "list"]).await?.expect(5)?;
    admin.run(&["webhook", "delete", "hook"]).await?.expect(0)?;
    admin.run(&["webhook", "get", "hook"]).await?.expect(6)?;
    Ok(())
}
