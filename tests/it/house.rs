//! The rules of the house: who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use aegis_tests::paths;
use serde_json::Value;

/// Crates that do IO, or that a decision must not depend on.
const IMPURE: [&str; 8] = ["tokio", "axum", "sqlx", "sqlx-core", "kube", "kube-client", "redis", "reqwest"];
/// Crates that are a Kubernetes client.
const KUBERNETES: [&str; 3] = ["kube", "kube-client", "k8s-openapi"];

/// Every workspace crate with the names of all it links, found by cargo with the features in use.
struct Links(BTreeMap<String, BTreeSet<String>>);

impl Links {
    fn read() -> Self {
        let host = run("rustc", &["--print", "host-tuple"]);
        let host = String::from_utf8(host).expect("a target is plain text");
        let metadata = run(
            "cargo",
            &["metadata", "--format-version=1", "--offline", "--locked", "--filter-platform", host.trim()],
        );
        let metadata: Value = serde_json::from_slice(&metadata).expect("cargo writes JSON");
        let names: BTreeMap<&str, &str> = array(&metadata["packages"])
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let direct: BTreeMap<&str, Vec<&str>> = array(&metadata["resolve"]["nodes"])
            .map(|node| (text(&node["id"]), array(&node["deps"]).filter_map(normal_dependency).collect()))
            .collect();
        let links = array(&metadata["workspace_members"])
            .map(|member| (names[text(member)].to_owned(), closure(text(member), &direct, &names)))
            .collect();
        Self(links)
    }

    fn of(&self, name: &str) -> &BTreeSet<String> {
        self.0.get(name).unwrap_or_else(|| panic!("no crate {name} in the workspace"))
    }

    fn assert_none(&self, name: &str, forbidden: &[&str]) {
        let found: Vec<_> = forbidden.iter().filter(|linked| self.of(name).contains(**linked)).collect();
        assert!(found.is_empty(), "{name} must not link {found:?}");
    }
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output =
        Command::new(program).args(arguments).current_dir(paths::checkout()).output().expect(program);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list").iter()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// The id of a dependency that ends up in the binary: neither a test's nor a build script's.
fn normal_dependency(dependency: &Value) -> Option<&str> {
    array(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()).then(|| text(&dependency["pkg"]))
}

fn closure(
    start: &str,
    direct: &BTreeMap<&str, Vec<&str>>,
    names: &BTreeMap<&str, &str>,
) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        for dependency in &direct[id] {
            if seen.insert(*dependency) {
                open.push(dependency);
            }
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Lines of code below `folder` that contain one of `words`, as `file:line: text`.
fn mentions(folder: &str, words: &[&str]) -> Vec<String> {
    let root = paths::checkout();
    let files = rust_files(&root.join(folder));
    assert!(!files.is_empty(), "{folder} holds no code: the rule has lost its subject");
    let mut found = Vec::new();
    for file in files {
        let content = std::fs::read_to_string(&file).expect("code can be read");
        for (index, line) in content.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!(
                    "{}:{}: {}",
                    file.strip_prefix(root).expect("it lies in the checkout").display(),
                    index + 1,
                    line.trim()
                ));
            }
        }
    }
    found
}

#[test]
fn the_pure_crates_link_nothing_that_does_io() {
    let links = Links::read();
    for name in ["aegis-contract", "aegis-evidence", "aegis-policy"] {
        links.assert_none(name, &IMPURE);
    }
}

#[test]
fn the_executor_cannot_link_the_policy_engine() {
    Links::read().assert_none("aegis-executor", &["aegis-policy", "aegis-control-plane"]);
}

#[test]
fn no_shipped_binary_but_the_executor_links_a_kubernetes_client() {
    let links = Links::read();
    for name in [
        "aegis-control-plane",
        "aegisctl",
        "aegis-runtime",
        "aegis-policy",
        "aegis-contract",
        "aegis-evidence",
    ] {
        links.assert_none(name, &KUBERNETES);
    }
    assert!(links.of("aegis-executor").contains("kube-client"), "the rule has lost its subject");
}

#[test]
fn routes_do_not_reach_past_the_services_to_the_database() {
    assert_eq!(mentions("control-plane/src/http", &["crate::store", "sqlx"]), Vec::<String>::new());
}

#[test]
fn use_cases_know_nothing_of_http() {
    assert_eq!(mentions("control-plane/src/service", &["axum", "StatusCode"]), Vec::<String>::new());
}

#[test]
fn all_sql_stands_in_the_stores() {
    for folder in ["control-plane/src/http", "control-plane/src/service", "control-plane/src/engine"] {
        assert_eq!(mentions(folder, &["sqlx::query"]), Vec::<String>::new());
    }
}

#[test]
fn the_pure_crates_read_no_clock_and_no_environment() {
    for folder in ["shared/contract/src", "shared/evidence/src", "control-plane/policy/src"] {
        let words = ["Timestamp::now", "SystemTime", "Instant::now", "std::env", "now_v7"];
        assert_eq!(mentions(folder, &words), Vec::<String>::new());
    }
}

#[test]
fn the_readme_shows_the_signed_request_that_the_tests_run() {
    let read = |name: &str| std::fs::read_to_string(paths::checkout().join(name)).expect(name);
    let script = read("docs/signed-request.sh");
    assert!(
        read("README.md").contains(&format!("```bash\n{script}```")),
        "copy docs/signed-request.sh into README.md"
    );
}
