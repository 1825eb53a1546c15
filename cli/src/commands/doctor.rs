//! `aegisctl doctor`: looks at everything between this command line and the clusters, in the order in which
//! a request passes it, and says for each fault what to do.

use aegis_contract::http_signature::CREATED_AHEAD_MAX;
use aegis_runtime::clock;
use http::header::DATE;
use http::{HeaderMap, Method};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::client::Client;
use crate::exit::Exit;
use crate::failure::{DOCTOR, Failure};
use crate::output::{Column, column};
use crate::settings::Settings;

/// How far the server's `Date` may seem ahead or behind although the clocks agree: it has whole seconds, and
/// the answer was on its way for a moment.
const DATE_UNCERTAINTY: SignedDuration = SignedDuration::from_secs(2);

/// Say what is wrong with this set-up, and what to do about it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  aegisctl doctor

Looks at the settings, the way to the control plane, its database, the clocks, the credentials and the
clusters. Exits with 0 if nothing is wrong, else with the code of the first fault.")]
pub(crate) struct Doctor {}

/// What became of one check.
struct Finding {
    check: String,
    /// `None`: nothing is wrong.
    fault: Option<Exit>,
    detail: String,
    advice: String,
}

const COLUMNS: [Column; 4] = [
    column("check", "/check"),
    column("result", "/result"),
    column("detail", "/detail"),
    column("advice", "/advice"),
];

/// Runs the command.
pub(crate) async fn run(settings: &Settings<'_>) -> Result<Exit, Failure> {
    let findings = examine(settings).await;
    let items: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "check": finding.check,
                "result": if finding.fault.is_some() { "wrong" } else { "ok" },
                "detail": finding.detail,
                "advice": finding.advice,
            })
        })
        .collect();
    settings.output.list(&items, None, &COLUMNS)?;
    Ok(findings.iter().find_map(|finding| finding.fault).unwrap_or(Exit::Done))
}

async fn examine(settings: &Settings<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let anonymous = match settings.anonymous_client() {
        Ok(client) => client,
        Err(failure) => return vec![from_failure("settings", &failure)],
    };
    let client = match settings.client() {
        Ok(client) => {
            findings.push(ok("settings", "the options, the environment and the context fit together"));
            Some(client)
        }
        Err(failure) => {
            findings.push(from_failure("settings", &failure));
            None
        }
    };
    match anonymous.send(&anonymous.call(Method::GET, &["health", "ping"])).await {
        Ok(answer) => {
            findings.push(ok("control plane", &format!("{} answers", anonymous.base())));
            findings.push(check_clock(&answer.headers, clock::now()));
        }
        Err(failure) => {
            findings.push(from_failure("control plane", &failure));
            return findings;
        }
    }
    let ready = check_ready(&anonymous).await;
    let is_ready = ready.fault.is_none();
    findings.push(ready);
    // Without its database the control plane knows neither callers nor clusters.
    let client = client.filter(|_| is_ready);
    let Some(client) = client else { return findings };
    findings.push(check_credentials(&client).await);
    findings.extend(check_clusters(&client).await);
    findings
}

fn check_clock(headers: &HeaderMap, now: Timestamp) -> Finding {
    let date = headers.get(DATE).and_then(|value| value.to_str().ok());
    let Some(server) = date.and_then(|text| DateTimeParser::new().parse_timestamp(text).ok()) else {
        return wrong(
            "clock",
            Exit::Failed,
            "the server does not tell the time",
            "is --url the control plane itself?",
        );
    };
    let ahead = server.duration_until(now);
    let seconds = ahead.as_secs();
    if ahead > CREATED_AHEAD_MAX + DATE_UNCERTAINTY {
        let detail = format!("this clock is {seconds} s ahead of the server's");
        return wrong(
            "clock",
            Exit::NotPermitted,
            &detail,
            "signatures will be refused: set the clock (NTP)",
        );
    }
    if ahead < -(crate::client::SIGNATURE_LIFETIME - DATE_UNCERTAINTY) {
        let detail = format!("this clock is {} s behind the server's", -seconds);
        return wrong(
            "clock",
            Exit::NotPermitted,
            &detail,
            "signatures expire before they arrive: set the clock (NTP)",
        );
    }
    ok("clock", "agrees with the server's well enough to sign")
}

async fn check_ready(client: &Client) -> Finding {
    match client.send(&client.call(Method::GET, &["health", "ready"])).await {
        Ok(_) => ok("database", "the control plane can work"),
        Err(failure) => {
            let advice = "see that PostgreSQL runs, then the control plane's log";
            wrong("database", failure.exit(), &failure.cause.to_string(), advice)
        }
    }
}

async fn check_credentials(client: &Client) -> Finding {
    if !client.has_credentials() {
        let advice = "set AEGIS_KEY_ID and AEGIS_SECRET_FILE, or sign in with `aegisctl login --keep`";
        return wrong("credentials", Exit::NotPermitted, "none are set", advice);
    }
    match client.get(&["whoami"]).await {
        Ok(caller) => {
            let principal = caller.get("principal").and_then(Value::as_str).unwrap_or("somebody");
            ok("credentials", &format!("you are {principal}"))
        }
        Err(failure) => from_failure("credentials", &failure),
    }
}

async fn check_clusters(client: &Client) -> Vec<Finding> {
    let health = match client.get(&["health"]).await {
        Ok(health) => health,
        Err(failure) => return vec![from_failure("clusters", &failure)],
    };
    let executors = health.get("executors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if executors.is_empty() {
        let advice = "register one with `aegis-control-plane cluster create`";
        return vec![wrong("clusters", Exit::Unavailable, "none is registered", advice)];
    }
    executors.iter().map(check_cluster).collect()
}

fn check_cluster(executor: &Value) -> Finding {
    let text = |name: &str| executor.get(name).and_then(Value::as_str).unwrap_or_default();
    let check = format!("cluster {}", text("cluster"));
    if text("status") == "up" {
        return ok(&check, "its executor is ready");
    }
    let advice = "see that its executor runs and is reached at the address registered for it, then its log";
    wrong(&check, Exit::Unavailable, &format!("its executor is {}", text("status")), advice)
}

fn ok(check: &str, detail: &str) -> Finding {
    Finding { check: check.to_owned(), fault: None, detail: detail.to_owned(), advice: String::new() }
}

fn wrong(check: &str, exit: Exit, detail: &str, advice: &str) -> Finding {
    Finding {
        check: check.to_owned(),
        fault: Some(exit),
        detail: detail.to_owned(),
        advice: advice.to_owned(),
    }
}

fn from_failure(check: &str, failure: &Failure) -> Finding {
    let mut lines = failure.lines().into_iter();
    let detail = lines.next().unwrap_or_default();
    let advice: Vec<String> =
        lines.map(|line| line.trim_start_matches("hint: ").trim_end_matches(DOCTOR).to_owned()).collect();
    wrong(check, failure.exit(), detail.trim_start_matches("error: "), &advice.join("; "))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_clock_is_wrong_when_its_signatures_would_be_refused() {
        let headers =
            HeaderMap::from_iter([(DATE, HeaderValue::from_static("Fri, 20 Nov 2026 12:00:00 GMT"))]);
        for (now, is_wrong) in [
            ("2026-11-20T12:00:00Z", false),
            ("2026-11-20T12:00:06Z", false),
            ("2026-11-20T12:00:09Z", true),
            ("2026-11-20T11:59:10Z", false),
            ("2026-11-20T11:58:50Z", true),
        ] {
            let finding = check_clock(&headers, now.parse().unwrap());
            assert_eq!(finding.fault.is_some(), is_wrong, "{now}: {}", finding.detail);
        }
        assert!(check_clock(&HeaderMap::new(), clock::now()).fault.is_some());
    }
}
