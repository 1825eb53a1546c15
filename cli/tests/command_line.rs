//! What can be told about `aegisctl` without a control plane: its help, its refusals, its signatures, its contexts.
//!
//! The help texts are a contract with the people who learn from them. After a wanted change:
//! `INSTA_UPDATE=always cargo test -p aegisctl`, then read the difference of `snapshots/`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use aegis_contract::http_signature::{self, SigningKey, VerifyingKey};
use aegis_contract::key::SharedSecret;
use aegis_contract::strict;
use aegis_evidence::SignerKey;
use aegis_runtime::clock;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::SignedDuration;
use tempfile::TempDir;

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

// Key pair of RFC 9421 appendix B.1.4.
const ED25519_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
";
const ED25519_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
";

const PROGRAM: &str = env!("CARGO_BIN_EXE_aegisctl");

fn aegisctl(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).env_clear().output().expect("aegisctl starts")
}

/// Runs it as somebody whose settings are in `home`.
fn aegisctl_at(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().env("XDG_CONFIG_HOME", home);
    command.output().expect("aegisctl starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("data is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The help of a command and, below it, of its subcommands.
fn help_tree(command: &[&str], text: &mut String) {
    let output = aegisctl(&[command, &["--help"]].concat());
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    let help = stdout(&output);
    assert!(help.contains("\nExample"), "{command:?} shows no example");
    text.push_str(&format!("$ aegisctl {}\n{help}\n", [command, &["--help"]].concat().join(" ")));
    let subcommands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next());
    for subcommand in subcommands {
        help_tree(&[command, &[subcommand]].concat(), text);
    }
}

#[test]
fn help_teaches_every_command() {
    let mut text = String::new();
    help_tree(&[], &mut text);
    assert!(text.matches("$ aegisctl").count() > 20, "the walk found too few commands");
    insta::assert_snapshot!("help", text);
}

#[test]
fn what_cannot_be_verified_at_all_gets_no_verdict_and_says_why() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let key = SignerKey::from_seed("example.com/audit", &[1; 32]).unwrap().verifier().to_string();
    fs::write(at("keys"), format!("# from the operator\n{key}\nexample.com/audit+00000000+AAAA\n")).unwrap();
    fs::write(at("text"), "no bundle\n").unwrap();
    fs::write(at("empty"), "").unwrap();
    for (arguments, code, expected) in [
        (&[&at("text"), "--keys", &at("keys")][..], 1, "keys, line 3: "),
        (&[&at("absent"), "--key", &key], 1, "cannot read"),
        (&[&at("text"), "--key", &key], 1, "bundle-unreadable"),
        (&[&at("empty"), "--key", &key], 1, "bundle-unreadable"),
        (
            &[&at("empty"), "--key", &key, "--remember", &at("text")],
            2,
            "the remembered checkpoint is not believed",
        ),
        (&[&at("empty"), "--key", &key, "--key", &key], 1, "different keys"),
        (&[&at("text")], 2, "--keys <FILE>"),
        (&["--key", &key], 2, "<FILE>"),
        (&[&at("text"), "--key", "example.com+audit"], 2, "not readable"),
    ] {
        let output = aegisctl_at(folder.path(), &[&["audit", "verify"], arguments].concat());
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_sent() {
    // Nothing listens there: whoever tries to connect exits with 7, not with 2.
    let nowhere = ["--url", "http://127.0.0.1:1"];
    for (arguments, expected) in [
        (&["heal", "restart", "shop/web"][..], "[CLUSTER/]NAMESPACE/KIND/NAME"),
        (&["heal", "restart", "Shop/Deployment/web"], "namespace"),
        (&["heal", "restart", "shop/Pod/web"], "restart cannot be applied to a Pod"),
        (
            &["heal", "restart", "shop/Deployment/web", "--canary", "--pods", "unhealthy"],
            "leave one of the two out",
        ),
        (&["heal", "restart", "shop/Deployment/web", "--canary", "--during-rollout"], "wait for its end"),
        (&["heal", "scale", "shop/Deployment/web"], "--replicas"),
        (&["heal", "scale", "shop/Deployment/web", "--replicas", "1001"], "1001 is not in 0..=1000"),
        (&["heal", "rollback", "shop/Deployment/web", "--to-revision", "0"], "0 is not in 1.."),
        (&["heal", "restart", "shop/Deployment/web", "--deadline", "3601"], "3601 is not in 1..=3600"),
        (&["heal", "restart", "shop/Deployment/web", "--metadata", "x"], "KEY=VALUE"),
        (
            &["heal", "restart", "shop/Deployment/web", "--metadata", "a=1", "--metadata", "a=2"],
            "given twice",
        ),
        (&["heal", "restart", "shop/Deployment/web", "--idempotency-key", "a\nb"], "idempotency-key"),
        (&["heal", "restart", "shop/Deployment/web", "--key-id", "k"], "without its secret"),
        (&["heal", "restart", "shop/Deployment/web", "--key-id", "k", "--token", "t"], "cannot be used with"),
        (&["action", "list", "--state", "done"], "must be one of awaiting-approval, queued"),
        (&["audit", "search", "--from", "yesterday"], "how long ago"),
        (&["policy", "apply", "/nonexistent.json"], "cannot read /nonexistent.json"),
        (&["sign", "POST", "/x"], "signing needs a key"),
    ] {
        let output = aegisctl(&[arguments, &nowhere].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
    for url in ["ftp://x", "http://x/aegis", "http://u:p@x", "127.0.0.1:3000"] {
        let output = aegisctl(&["whoami", "--url", url]);
        assert_eq!(output.status.code(), Some(2), "{url}: {}", stderr(&output));
    }
}

#[test]
fn an_absent_control_plane_is_told_from_everything_else() {
    let output = aegisctl(&["whoami", "--url", "http://127.0.0.1:1", "--token", "t"]);
    assert_eq!(output.status.code(), Some(7));
    let told = stderr(&output);
    assert!(told.contains("cannot connect to http://127.0.0.1:1/") && told.contains("hint: "), "{told}");
}

#[test]
fn signed_headers_are_what_the_control_plane_accepts() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("secret");
    let body = r#"{"type":"restart"}"#;
    let shared = VerifyingKey::hmac_sha256(SharedSecret::from_base64(SECRET).unwrap());
    let pair = VerifyingKey::ed25519_public_pem(ED25519_PUBLIC).unwrap();
    for (secret, key) in [(format!("{SECRET}\n"), shared), (ED25519_PRIVATE.to_owned(), pair)] {
        fs::write(&path, secret).unwrap();
        let output = aegisctl(&[
            "sign",
            "POST",
            "/api/v1/actions?wait=5&x=a%20b",
            "--url=http://Aegis.example:3000",
            "--key-id=alert-bot-1",
            &format!("--secret-file={}", path.display()),
            "--idempotency-key=once",
            "--data",
            body,
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
        let headers = read_headers(&stdout(&output));
        assert_eq!(headers["idempotency-key"], "once");
        let request = http_signature::Request {
            method: "POST",
            authority: "aegis.example:3000",
            path: "/api/v1/actions",
            query: Some("wait=5&x=a%20b"),
            headers: &headers,
            body: body.as_bytes(),
        };
        let presented = http_signature::parse(&request).unwrap();
        let verified = presented.verify(&key, clock::now(), &["aegis.example:3000".to_owned()]).unwrap();
        assert_eq!(verified.key_id, "alert-bot-1");
        assert_eq!(verified.created.duration_until(verified.expires).as_secs(), 60);
    }
}

/// The headers that another tool has made for `POST http://aegis.example/api/v1/actions` with the body `{}`, signing
/// whatever `text` makes of the text that must be signed.
fn made_by_another_tool(secret: &str, age: SignedDuration, text: impl Fn(&str) -> String) -> String {
    let secret = SharedSecret::from_base64(secret).expect("a secret in base64");
    let key = SigningKey::hmac_sha256("bot-1", secret).expect("a key with a name");
    let headers = HeaderMap::new();
    let request = http_signature::Request {
        method: "POST",
        authority: "aegis.example",
        path: "/api/v1/actions",
        query: None,
        headers: &headers,
        body: b"{}",
    };
    let created = clock::now() - age;
    let expires = created + SignedDuration::from_secs(60);
    let signed = http_signature::sign(&request, &key, created, expires, "0123456789abcdef")
        .expect("a request that can be signed");
    let signature = strict::base64_encode(&key.sign_base(&text(&signed.signature_base)));
    format!(
        "> Content-Digest: {}\nSignature-Input: {}\nSignature: aegis=:{signature}:\n",
        signed.content_digest, signed.signature_input
    )
}

#[test]
fn what_is_wrong_with_a_signature_of_another_tool_is_explained() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("secret"), SECRET).unwrap();
    let other = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=";
    let now = SignedDuration::ZERO;
    let sound = made_by_another_tool(SECRET, now, str::to_owned);
    let explained = |headers: &str, method: &str, body: &str, key_id: &str| {
        fs::write(at("headers"), headers).unwrap();
        let (secret, headers) = (format!("--secret-file={}", at("secret")), at("headers"));
        let request = ["sign", method, "http://aegis.example/api/v1/actions", "--data", body];
        let key_id = format!("--key-id={key_id}");
        let rest = [key_id.as_str(), &secret, "--explain", &headers, "-o=json"];
        let output = aegisctl(&[&request[..], &rest].concat());
        let said: serde_json::Value = serde_json::from_str(&stdout(&output))
            .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        assert_eq!(output.status.code(), Some(if said["accepted"] == true { 0 } else { 5 }), "{said}");
        said
    };
    assert_eq!(explained(&sound, "POST", "{}", "bot-1")["accepted"], true);
    let old = made_by_another_tool(SECRET, SignedDuration::from_mins(2), str::to_owned);
    let line_break = made_by_another_tool(SECRET, now, |text| format!("{text}\n"));
    let crlf = made_by_another_tool(SECRET, now, |text| text.replace('\n', "\r\n"));
    let no_query = made_by_another_tool(SECRET, now, |text| text.replace(": ?\n", ": \n"));
    for (headers, method, body, key_id, wrong, said_of_it) in [
        (&old, "POST", "{}", "bot-1", "time", "expired"),
        (&sound, "POST", "{ }", "bot-1", "body", "not of this body"),
        (&sound.replace("\"@query\" ", ""), "POST", "{}", "bot-1", "components", "not covered"),
        (&sound, "PUT", "{}", "bot-1", "key", "--show-base"),
        (&made_by_another_tool(other, now, str::to_owned), "POST", "{}", "bot-1", "key", "another secret"),
        (&sound, "POST", "{}", "bot-2", "key", "`bot-1`"),
        (&line_break, "POST", "{}", "bot-1", "components", "after the last line"),
        (&crlf, "POST", "{}", "bot-1", "components", "CR LF"),
        (&no_query, "POST", "{}", "bot-1", "components", "an absent query"),
        (&sound.replace("Signature: ", "X: "), "POST", "{}", "bot-1", "form", "missing"),
    ] {
        let said = explained(headers, method, body, key_id);
        assert_eq!(said["wrong"], wrong, "{said}");
        assert!(said["message"].as_str().unwrap().contains(said_of_it), "{said}");
    }
}

fn read(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_documented_variables_and_exit_codes_are_those_of_the_help() {
    let help = stdout(&aegisctl(&["--help"]));
    let rest = &help[help.find("Environment variables:").expect("the help lists variables")..];
    let (variables, codes) = rest.split_once("\n\n").expect("the help lists exit codes last");
    for table in [variables, codes] {
        assert!(read("docs/cli.md").contains(&format!("```\n{}\n```", table.trim_end())), "copy:\n{table}");
    }
}

#[test]
fn a_context_is_kept_used_and_forgotten() {
    let home = TempDir::new().unwrap();
    let run = |arguments: &[&str]| aegisctl_at(home.path(), arguments);
    let refused = |arguments: &[&str], expected: &str| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stdout(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    };
    let done = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    let (folder, file) = (home.path().join("aegis"), home.path().join("aegis/config.json"));
    let secret = home.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let secret = secret.to_str().unwrap();

    refused(&["context", "show"], "no context is in force");
    let key = ["--url=http://prod:3000", "--key-id=alert-bot-1", "--secret-file", secret];
    done(&[&["context", "set", "prod"], &key[..]].concat());
    done(&["context", "set", "me", "--url=http://me:3000", "--token-file=token", "-o", "json"]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a temporary file was left behind");
    assert!(!fs::read_to_string(&file).unwrap().contains(SECRET));

    // The first one is in force: its key signs, its output is used.
    let headers = read_headers(&done(&["sign", "GET", "/api/v1/whoami"]));
    assert!(headers["signature-input"].to_str().unwrap().contains("keyid=\"alert-bot-1\""));
    done(&["context", "use", "me"]);
    refused(&["sign", "GET", "/x"], "cannot read /");
    done(&["--context=prod", "-o=table", "sign", "GET", "/x"]);
    let listed = done(&["context", "list", "-o", "jsonl"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.lines().next().unwrap().contains("\"isCurrent\":true"), "{listed}");
    let token = std::path::absolute("token").unwrap();
    assert!(done(&["context", "show"]).contains(token.to_str().unwrap()), "in JSON, with the whole path");

    refused(&["context", "set", "me", "--token", "t"], "--token-file");
    refused(&["context", "set", "me", "--url", "nowhere"], "is no URL");
    refused(&["context", "set", "me", "--secret-file=-"], "standard input");
    done(&["context", "delete", "me"]);
    refused(&["context", "show"], "no context is in force");
    refused(&["whoami", "--context", "me"], "there is no context me");

    fs::write(&file, "{").unwrap();
    refused(&["whoami"], "config.json: ");
    refused(&["context", "use", "prod"], "hint: mend it there");
    assert_eq!(fs::read_to_string(&file).unwrap(), "{", "a broken file is left for its owner to mend");
    refused(&["context", "list", "--context", "prod"], "(line 1, column 1)");
    let nowhere = aegisctl(&["context", "set", "x", "--url", "http://x"]);
    assert!(stderr(&nowhere).contains("set HOME or XDG_CONFIG_HOME"), "{}", stderr(&nowhere));
}

#[test]
fn shells_complete_what_the_help_teaches() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout(&aegisctl(&["completion", shell]));
        assert!(script.contains("restart-pod") && script.contains("secret-file"), "{shell}");
    }
    let ask = "set -e; source <(\"$0\" completion bash); COMP_WORDS=(aegisctl heal re); COMP_CWORD=2; \
        _aegisctl aegisctl re heal; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", ask, PROGRAM]).output().expect("bash starts");
    assert_eq!(stdout(&output), "restart restart-pod\n", "{}", stderr(&output));
}

#[test]
fn every_command_has_a_man_page_with_its_example() {
    let folder = TempDir::new().unwrap();
    let pages = folder.path().join("man1");
    let output = aegisctl(&["man", pages.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut text = String::new();
    help_tree(&[], &mut text);
    let commands: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("$ ")?.strip_suffix(" --help"))
        .map(|command| command.replace(' ', "-"))
        .collect();
    for command in &commands {
        let page = fs::read_to_string(pages.join(format!("{command}.1"))).expect("a page for each command");
        assert!(page.contains("Example") && page.starts_with(".ie"), "{command}:\n{page}");
    }
    assert_eq!(fs::read_dir(&pages).unwrap().count(), commands.len());
}

#[test]
fn help_has_colours_on_a_terminal_unless_they_are_unwanted() {
    // `script` of util-linux gives the program a terminal.
    let on_terminal = |variables: &[(&str, &str)]| {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{PROGRAM} heal --help"), "/dev/null"]).env_clear();
        command.envs([("PATH", "/usr/bin:/bin"), ("TERM", "xterm")]).envs(variables.iter().copied());
        let output = command.output().expect("script (util-linux) starts");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    assert!(on_terminal(&[]).contains('\u{1b}'));
    let plain = on_terminal(&[("NO_COLOR", "1")]);
    assert!(plain.contains("Usage: aegisctl heal") && !plain.contains('\u{1b}'), "{plain}");
}

#[test]
fn the_documents_show_the_snippet_that_the_tests_run() {
    let shown = format!("```bash\n{}```\n", read("docs/signed-request.sh"));
    for document in ["README.md", "docs/signed-request.md"] {
        assert!(read(document).contains(&shown), "copy docs/signed-request.sh into {document}");
    }
}

/// Reads `Name: value` lines as `curl -H @-` does.
fn read_headers(text: &str) -> HeaderMap {
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once(": ").expect("a header on each line");
            let name = HeaderName::try_from(name).expect("a header's name");
            (name, HeaderValue::try_from(value).expect("a header's value"))
        })
        .collect()
}

const BOTS: &str = r#"{ "schema": "aegis.policy/v1", "name": "bots", "rules": [
    { "id": "restart", "effect": "ALLOW", "match": { "principals": ["client:bot"], "actions": ["restart"] },
      "when": { "path": "metadata.severity", "op": "eq", "value": "high" } }
  ],
  "tests": [ { "name": "high", "at": "2026-11-20T12:00:00Z", "expect": { "decision": "ALLOW" },
    "request": { "principal": "client:bot", "action": "restart", "resource": "k8s/prod/shop/Deployment/web",
                 "metadata": { "severity": "high" } } } ] }"#;

const MORE: &str = r#"{ "schema": "aegis.policy-tests/v1", "policy": "bots",
  "tests": [ { "name": "nobody said how severe", "at": "2026-11-20T12:00:00Z", "expect": { "decision": "ALLOW" },
    "request": { "principal": "client:bot", "action": "restart", "resource": "k8s/prod/shop/Deployment/web" } } ] }"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("it can be written to");
    }
    folder
}

#[test]
fn policies_are_tested_without_a_control_plane_and_drafts_close_every_gap() {
    let folder = folder(&[("bots.json", BOTS)]);
    let path = folder.path().to_str().unwrap();
    let tested = aegisctl(&["policy", "test", path]);
    assert_eq!(tested.status.code(), Some(0), "{}", stderr(&tested));
    assert!(stdout(&tested).contains("metadata.severity is never false"), "{}", stdout(&tested));
    assert_eq!(aegisctl(&["policy", "test", path, "--require-coverage"]).status.code(), Some(1));

    let drafted = aegisctl(&["policy", "test", path, "--write-drafts", path]);
    assert_eq!(drafted.status.code(), Some(0), "{}", stderr(&drafted));
    let covered = aegisctl(&["policy", "test", path, "--require-coverage", "-o", "json"]);
    assert_eq!(covered.status.code(), Some(0), "{}", stdout(&covered));
    let again = aegisctl(&["policy", "test", path, "--write-drafts", path]);
    assert_eq!(again.status.code(), Some(0), "there is nothing left to draft: {}", stderr(&again));

    fs::write(folder.path().join("more.json"), MORE).unwrap();
    let failed = aegisctl(&["policy", "test", path]);
    assert_eq!(failed.status.code(), Some(1), "{}", stdout(&failed));
    let told = stdout(&failed);
    assert!(told.contains("FAIL  bots: nobody said how severe"), "{told}");
    assert!(told.contains("decision: expected \"ALLOW\", got \"DENY\""), "{told}");
}

#[test]
fn policies_are_checked_and_compared_without_a_control_plane() {
    let before = folder(&[("bots.json", BOTS)]);
    let wider = BOTS.replace("client:bot\"]", "client:*\"]");
    let doubled = BOTS.replace("\"bots\"", "\"same\"");
    let after = folder(&[("bots.json", &wider), ("same.json", &doubled)]);
    let (old, new) = (before.path().to_str().unwrap(), after.path().to_str().unwrap());

    assert_eq!(aegisctl(&["policy", "check", old]).status.code(), Some(0));
    let checked = aegisctl(&["policy", "check", new]);
    assert_eq!(checked.status.code(), Some(1), "{}", stderr(&checked));
    assert!(stdout(&checked).contains("same/restart: redundant: "), "{}", stdout(&checked));
    let unserved = aegisctl(&["policy", "check", old, "--allowlist", "prod="]);
    assert!(stdout(&unserved).contains("bots/restart: namespace-unserved: "), "{}", stdout(&unserved));
    let stopped = aegisctl(&["policy", "check", new, "--steps", "2"]);
    assert_eq!(stopped.status.code(), Some(1));
    assert!(stdout(&stopped).contains("undecided: "), "{}", stdout(&stopped));

    assert_eq!(aegisctl(&["policy", "diff", old, old]).status.code(), Some(0));
    let compared = aegisctl(&["policy", "diff", old, new]);
    assert_eq!(compared.status.code(), Some(1), "{}", stderr(&compared));
    let told = stdout(&compared);
    assert!(told.contains("newly allowed: bots/restart\n    client:any restart"), "{told}");
    assert!(
        told.ends_with("1 newly allowed, 0 newly denied, 0 changed obligations, 0 undecided\n"),
        "{told}"
    );
}

#[test]
fn a_policy_that_cannot_be_read_is_told_with_its_place() {
    let folder =
        folder(&[("a.json", "{\n  \"schema\": \"aegis.policy/v1\", \"nmae\": 1 }"), ("b.json", MORE)]);
    let path = folder.path().to_str().unwrap();
    for command in ["test", "check"] {
        let refused = aegisctl(&["policy", command, path]);
        assert_eq!(refused.status.code(), Some(2));
        let told = stderr(&refused);
        assert!(told.contains("a.json:2:") && told.contains("did you mean `name`?"), "{told}");
        assert_eq!(stdout(&refused), "");
    }
    fs::remove_file(folder.path().join("a.json")).unwrap();
    let homeless = aegisctl(&["policy", "test", path]);
    assert!(stderr(&homeless).contains("no file given holds the policy bots"), "{}", stderr(&homeless));
    assert_eq!(aegisctl(&["policy", "test", "/nonexistent"]).status.code(), Some(2));
}
