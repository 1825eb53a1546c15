//! A software bill of materials in CycloneDX's JSON, from what cargo resolved. It lists every crate that a binary is
//! built from on this platform, build scripts' and tests' own dependencies left out. Cargo resolves features for the
//! whole workspace, so a crate may be listed with more of its dependencies than one binary uses.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// The parts of `cargo metadata` that are needed.
#[derive(Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

impl Dependency {
    fn is_linked(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.is_none())
    }
}

impl Package {
    /// The name by which bills of different makers know it.
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }

    fn component(&self, kind: &str, checksums: &BTreeMap<(String, String), String>) -> Value {
        let mut component =
            json!({ "type": kind, "bom-ref": self.purl(), "name": self.name, "version": self.version });
        if self.source.is_some() {
            component["purl"] = json!(self.purl());
        }
        if let Some(license) = &self.license {
            // Older crates separate alternatives by a slash.
            component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
        }
        if let Some(checksum) = checksums.get(&(self.name.clone(), self.version.clone())) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        component
    }
}

/// The checksums in a lock file, by name and version.
pub(super) fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let field = |entry: &str, name: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let entry =
        |entry: &str| Some(((field(entry, "name")?, field(entry, "version")?), field(entry, "checksum")?));
    lock.split("[[package]]").filter_map(entry).collect()
}

/// What a binary is built from.
pub(super) fn bill_of_materials(
    metadata: &Metadata,
    checksums: &BTreeMap<(String, String), String>,
    binary: &str,
) -> Result<Value> {
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let is_binary = |package: &&Package| package.name == binary && package.source.is_none();
    let root =
        metadata.packages.iter().find(is_binary).with_context(|| format!("the workspace has no {binary}"))?;

    let mut seen = BTreeSet::from([root.id.as_str()]);
    let mut open = vec![root.id.as_str()];
    let mut dependencies = Vec::new();
    while let Some(id) = open.pop() {
        let linked = nodes[id].deps.iter().filter(|dependency| dependency.is_linked());
        let linked: BTreeSet<&str> = linked.map(|dependency| dependency.pkg.as_str()).collect();
        let names: BTreeSet<_> = linked.iter().map(|id| packages[id].purl()).collect();
        dependencies.push(json!({ "ref": packages[id].purl(), "dependsOn": names }));
        open.extend(linked.into_iter().filter(|id| seen.insert(id)));
    }
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    let components: Vec<_> = seen
        .iter()
        .filter(|id| **id != root.id)
        .map(|id| packages[id].component("library", checksums))
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": root.component("application", checksums) },
        "components": components,
        "dependencies": dependencies,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let package = |name: &str, license: &str, source: Option<&str>| json!({ "id": format!("id:{name}"), "name": name, "version": "1.2.3", "license": license, "source": source });
        let dependency = |name: &str, kind: Option<&str>| json!({ "pkg": format!("id:{name}"), "dep_kinds": [{ "kind": kind }] });
        let node = |name: &str, deps: &[Value]| json!({ "id": format!("id:{name}"), "deps": deps });
        let document = json!({
            "packages": [
                package("tool", "Apache-2.0", None),
                package("far", "MIT/Apache-2.0", Some("registry")),
                package("near", "MIT", Some("registry")),
                package("tested", "MIT", Some("registry")),
            ],
            "resolve": { "nodes": [
                node("tool", &[dependency("near", None), dependency("tested", Some("dev"))]),
                node("near", &[dependency("far", None), dependency("tested", Some("build"))]),
                node("far", &[]),
                node("tested", &[]),
            ] },
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_bill_lists_what_is_linked_with_version_licence_and_checksum_and_nothing_else() {
        let lock = "version = 4\n\n[[package]]\nname = \"far\"\nversion = \"1.2.3\"\nsource = \"registry\"\nchecksum = \"abcd\"\n";
        let bill = bill_of_materials(&metadata(), &checksums(lock), "tool").unwrap();
        assert_eq!(bill["metadata"]["component"]["name"], "tool");
        let names: Vec<_> = bill["components"].as_array().unwrap().iter().map(|part| &part["name"]).collect();
        assert_eq!(names, ["far", "near"]);
        let far = &bill["components"][0];
        assert_eq!(far["purl"], "pkg:cargo/far@1.2.3");
        assert_eq!(far["licenses"], json!([{ "expression": "MIT OR Apache-2.0" }]));
        assert_eq!(far["hashes"], json!([{ "alg": "SHA-256", "content": "abcd" }]));
        let near = json!({ "ref": "pkg:cargo/near@1.2.3", "dependsOn": ["pkg:cargo/far@1.2.3"] });
        assert!(bill["dependencies"].as_array().unwrap().contains(&near));
        assert!(bill_of_materials(&metadata(), &checksums(lock), "absent").is_err());
    }
}
