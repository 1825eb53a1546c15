//! What every answer tells browsers: that it is nothing to show, to run, to keep, or to give to other sites.

use aegis_tests::callers::Answer;
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::wire::Wire;
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::plain;

const NO_ID: &str = "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90";
/// What an answer must bear, whatever it is.
const GUARDS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

fn expect_guards(what: &str, headers: &reqwest::header::HeaderMap) {
    for (name, value) in GUARDS {
        let found: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(found, [value], "{name} of {what}");
    }
    assert!(headers.get("strict-transport-security").is_none(), "{what} came without TLS");
    let told = headers.keys().find(|name| name.as_str().starts_with("access-control-"));
    assert_eq!(told, None, "{what} lets other sites in");
}

/// Every method of every route that the API describes, as requests that find nothing.
fn routes(description: &Value) -> Result<Vec<(String, String)>> {
    let mut routes = Vec::new();
    for (path, operations) in description["paths"].as_object().context("paths")? {
        let path = path.replace("{id}", NO_ID).replace("{version}", "1").replace("{path}", "0/000");
        let path = path.split('/').map(|part| if part.starts_with('{') { "absent" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        let methods = operations.as_object().context("operations")?.keys();
        routes.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    Ok(routes)
}

#[tokio::test]
async fn every_answer_bears_the_guards_and_no_site_is_let_in() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let (anonymous, client) = (stack.anonymous()?, stack.client()?);
    let description = anonymous.get("/api/v1/openapi.json").await?.expect(200)?;
    expect_guards("the description", &description.headers);
    let expect = |what: &str, answer: &Answer| expect_guards(what, &answer.headers);
    let routes = routes(&description.body)?;
    assert!(routes.len() > 50, "{} routes", routes.len());
    for (method, path) in routes {
        let what = format!("{method} {path}");
        let draft = client.request(method.parse()?, &path).header("origin", "https://elsewhere.example");
        let draft = if method == "GET" { draft } else { draft.json(&json!({})) };
        expect(&what, &draft.send().await?);
        // What a browser asks before it lets another site's page send this.
        let preflight = anonymous
            .request(Method::OPTIONS, &path)
            .header("origin", "https://elsewhere.example")
            .header("access-control-request-method", &method)
            .header("access-control-request-headers", "authorization,content-type");
        let answer = preflight.send().await?.expect(405)?;
        expect(&format!("the preflight of {what}"), &answer);
    }
    for (what, answer) in [
        ("what there is not", anonymous.get("/nowhere").await?.expect(404)?),
        ("another method", anonymous.delete("/metrics").await?.expect(405)?),
        ("metrics", anonymous.get("/metrics").await?.expect(200)?),
        ("what is good", client.get("/api/v1/whoami").await?.expect(200)?),
    ] {
        expect(what, &answer);
    }
    Ok(())
}

#[tokio::test]
async fn so_does_what_the_executor_answers_and_who_is_turned_away_at_the_door() -> Result<()> {
    let settings = [("CONNECTIONS_MAX", "30"), ("CONNECTIONS_PER_ADDRESS_MAX", "10")];
    let control_plane_settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let stack = Stack::start(StackOptions { control_plane_settings, ..Default::default() }).await?;
    let http = plain()?;
    for (method, path, status) in [
        (Method::GET, "/health/ready", 200),
        (Method::GET, "/metrics", 200),
        (Method::POST, "/v1/orders", 400),
        (Method::OPTIONS, "/v1/orders", 405),
        (Method::GET, "/nowhere", 404),
    ] {
        let url = format!("{}{path}", stack.executor(0).url());
        let answer = http.request(method, url).header("origin", "https://elsewhere.example").send().await?;
        assert_eq!(answer.status(), status, "{path}");
        expect_guards(path, answer.headers());
    }
    let mut held = Vec::new();
    for _ in 0..11 {
        held.push(Wire::connect(stack.control_plane(0).url(), 2).await?);
    }
    let last = held.last_mut().context("eleven connections")?;
    let head = last.head().await?.to_lowercase();
    assert!(head.starts_with("http/1.1 503"), "{head}");
    for (name, value) in GUARDS {
        assert!(head.contains(&format!("\r\n{name}: {value}\r\n")), "{name}: {head}");
    }
    Ok(())
}
