//! The manifests in `k8s/`, as a real API server takes them. No container runs on the test bed: that traffic flows as
//! the network policies say, and what probes find, cannot be shown here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aegis_contract::peer::Peer;
use aegis_tests::eventually::until;
use aegis_tests::executor_accounts::ROLLBACK_ACCOUNT;
use aegis_tests::paths::checkout;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::installation::{ALLOWED, Installation, OVERLAYS, OWN_NAMESPACES, folder, items, labels, text};

fn containers(deployment: &Value) -> impl Iterator<Item = &Value> {
    let pod = &deployment["spec"]["template"]["spec"];
    items(&pod["initContainers"]).chain(items(&pod["containers"]))
}

#[tokio::test]
async fn both_overlays_are_taken_without_a_warning_and_every_replica_is_admitted() -> Result<()> {
    let installation = Installation::shared().await?;
    for (name, replicas) in [("aegis-control-plane", 3), ("aegis-executor", 2)] {
        let namespace = if name == "aegis-executor" { "aegis-system" } else { name };
        let deployment = installation.cluster.get(namespace, &format!("deployment/{name}")).await?;
        assert_eq!(deployment["status"]["availableReplicas"], replicas, "{name} after {OVERLAYS:?}");
    }
    assert_eq!(installation.objects("Deployment").len(), 4);
    Ok(())
}

#[tokio::test]
async fn pods_that_are_not_restricted_are_refused_beside_them() -> Result<()> {
    let installation = Installation::shared().await?;
    for namespace in OWN_NAMESPACES {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "intruder", "namespace": namespace },
            "spec": { "hostNetwork": true, "containers": [{ "name": "main", "image": "app:1" }] },
        });
        let refused = installation.cluster.apply(&pod).await.err().context("such a pod was admitted")?;
        assert!(refused.to_string().contains("violates PodSecurity \"restricted:latest\""), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn every_container_is_confined_bounded_and_of_this_version() -> Result<()> {
    let installation = Installation::shared().await?;
    for (overlay, deployment) in installation.objects("Deployment") {
        for container in containers(deployment) {
            let what = format!("{overlay}: {}", container["name"]);
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{what}");
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{what}");
            for bound in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    assert!(
                        container["resources"][bound][resource].is_string(),
                        "{what}: {bound} {resource}"
                    );
                }
            }
            let image = text(&container["image"])?;
            assert!(image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))), "{what}: {image}");
        }
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{overlay}");
        let is_executor = deployment["metadata"]["name"] == "aegis-executor";
        assert_eq!(
            pod["automountServiceAccountToken"], is_executor,
            "only the executor talks to the API server"
        );
    }
    Ok(())
}

/// What a container's environment says by itself, without its ConfigMap.
fn setting<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    items(&container["env"]).find(|setting| setting["name"] == name)?["value"].as_str()
}

#[tokio::test]
async fn probes_ask_the_health_routes_on_a_port_that_is_served_to_them() -> Result<()> {
    let installation = Installation::shared().await?;
    for (overlay, deployment) in installation.objects("Deployment") {
        let [container] =
            &items(&deployment["spec"]["template"]["spec"]["containers"]).collect::<Vec<_>>()[..]
        else {
            panic!("{overlay}: one container");
        };
        let is_executor = deployment["metadata"]["name"] == "aegis-executor";
        let is_production = overlay == "production";
        let what = format!("{overlay}: {}", container["name"]);

        let http: u64 = if is_executor { 4000 } else { 3000 };
        let observe = is_production.then_some(http + 1);
        let expected: BTreeMap<_, _> = [("http", Some(http)), ("observe", observe)]
            .into_iter()
            .filter(|(_, port)| port.is_some())
            .collect();
        let ports: BTreeMap<_, _> = items(&container["ports"])
            .filter_map(|port| Some((port["name"].as_str()?, port["containerPort"].as_u64())))
            .collect();
        assert_eq!(ports, expected, "{what}");
        let address = |port: u64| format!("0.0.0.0:{port}");
        assert_eq!(setting(container, "LISTEN_ADDRESS"), Some(address(http).as_str()), "{what}");
        assert_eq!(setting(container, "OBSERVE_ADDRESS"), observe.map(address).as_deref(), "{what}");

        // Probes have no certificate; the control plane asks callers for none.
        let asked_port = if is_executor && is_production { "observe" } else { "http" };
        for (probe, path) in
            [("startupProbe", "ping"), ("livenessProbe", "ping"), ("readinessProbe", "ready")]
        {
            let asked = &container[probe]["httpGet"];
            assert_eq!(asked["path"], format!("/health/{path}"), "{what}: {probe}");
            assert_eq!(asked["port"], asked_port, "{what}: {probe}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn in_production_both_have_certificates_and_every_file_of_them_is_mounted() -> Result<()> {
    let installation = Installation::shared().await?;
    let mut seen = BTreeSet::new();
    for (overlay, deployment) in installation.objects("Deployment") {
        let (pod, name) = (&deployment["spec"]["template"]["spec"], text(&deployment["metadata"]["name"])?);
        let names = match name {
            "aegis-executor" => ["TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"],
            _ => ["EXECUTOR_CERTIFICATE_FILE", "EXECUTOR_KEY_FILE", "EXECUTOR_CA_FILE"],
        };
        let container = items(&pod["containers"]).next().context("a container")?;
        if overlay != "production" {
            let found = names.into_iter().find(|name| setting(container, name).is_some());
            assert_eq!(found, None, "{overlay}: {name} has certificates");
            continue;
        }
        let volume = items(&pod["volumes"]).find(|volume| volume["name"] == "tls").context("a volume")?;
        assert_eq!(volume["secret"]["secretName"], format!("{name}-tls"));
        assert_ne!(volume["secret"]["optional"], true, "{name} starts without certificates");
        let mount = items(&container["volumeMounts"]).find(|mount| mount["name"] == "tls");
        assert_eq!(mount.context("a mount")?["mountPath"], "/run/secrets/aegis-tls", "{name}");
        for (setting_name, item) in names.into_iter().zip(["tls.crt", "tls.key", "ca.crt"]) {
            let path = format!("/run/secrets/aegis-tls/{item}");
            assert_eq!(setting(container, setting_name), Some(path.as_str()), "{name}");
        }
        seen.insert(name);
    }
    assert_eq!(seen, BTreeSet::from(["aegis-control-plane", "aegis-executor"]));
    Ok(())
}

#[test]
fn cert_manager_signs_in_the_control_planes_namespace_alone_and_names_what_services_look_for() -> Result<()> {
    let mut objects = Vec::new();
    for file in std::fs::read_dir(checkout().join("k8s/cert-manager"))? {
        let manifests = std::fs::read_to_string(file?.path())?;
        objects.extend(manifests.split("\n---\n").map(str::to_owned));
    }
    // Whoever may ask an issuer can be any service: none may be asked from another namespace.
    for object in &objects {
        assert!(object.contains("\n  namespace: aegis-control-plane\n"), "{object}");
        assert!(!object.contains("ClusterIssuer"), "{object}");
    }
    let authorities: Vec<_> = objects.iter().filter(|object| object.contains("isCA: true")).collect();
    let [authority] = authorities[..] else { panic!("one authority: {authorities:?}") };
    assert!(authority.contains("rotationPolicy: Never"), "its key would change by itself: {authority}");

    let executor = Peer::Executor { cluster: "prod-1".to_owned() };
    let settings = std::fs::read_to_string(folder("production/executor").join("executor.env"))?;
    assert!(settings.contains("\nCLUSTER=prod-1\n"), "{settings}");
    for (peer, usage, secret) in [
        (Peer::ControlPlane, "client auth", "aegis-control-plane-tls"),
        (executor, "server auth", "aegis-executor-prod-1-tls"),
    ] {
        let uris = format!("  uris: [\"{peer}\"]\n");
        let asked = objects.iter().find(|object| object.contains(&uris)).context(uris)?;
        assert!(asked.contains(&format!("  usages: [digital signature, {usage}]\n")), "{asked}");
        assert!(asked.contains(&format!("  secretName: {secret}\n")), "{asked}");
        assert!(asked.contains("  issuerRef: { kind: Issuer, name: aegis }\n"), "{asked}");
    }
    Ok(())
}

#[tokio::test]
async fn the_readme_makes_every_secret_with_exactly_the_files_that_are_looked_for() -> Result<()> {
    let installation = Installation::shared().await?;
    let readme = std::fs::read_to_string(checkout().join("k8s/README.md"))?.replace("\\\n", "");
    for (overlay, deployment) in installation.objects("Deployment") {
        let namespace = text(&deployment["metadata"]["namespace"])?;
        let volumes = &deployment["spec"]["template"]["spec"]["volumes"];
        for container in containers(deployment) {
            for mount in items(&container["volumeMounts"]) {
                let volume = items(volumes).find(|volume| volume["name"] == mount["name"]);
                let Some(secret) = volume.context("a volume")?["secret"]["secretName"].as_str() else {
                    continue;
                };
                let command = format!("kubectl -n {namespace} create secret generic {secret} ");
                let line = readme.lines().find(|line| line.starts_with(&command)).context(command)?;
                let made: BTreeSet<_> = line
                    .split_whitespace()
                    .filter_map(|word| {
                        word.strip_prefix("--from-file=").or_else(|| word.strip_prefix("--from-literal="))
                    })
                    .filter_map(|pair| pair.split('=').next())
                    .collect();
                let path = format!("{}/", text(&mount["mountPath"])?);
                let looked_for: BTreeSet<_> = items(&container["env"])
                    .filter_map(|setting| setting["value"].as_str()?.strip_prefix(&path))
                    .collect();
                assert_eq!(made, looked_for, "{overlay}: {secret}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn secrets_are_only_referred_to_and_every_setting_is_one_the_program_reads() -> Result<()> {
    let installation = Installation::shared().await?;
    for overlay in OVERLAYS {
        let rendered =
            installation.cluster.kubectl(["kustomize".as_ref(), folder(overlay).as_os_str()]).await?;
        assert!(!rendered.lines().any(|line| line == "kind: Secret"), "{overlay} holds a Secret");
    }
    let configurations = installation.objects("ConfigMap");
    for (overlay, deployment) in installation.objects("Deployment") {
        let name = text(&deployment["metadata"]["name"])?;
        let crate_folder = name.trim_start_matches("aegis-");
        let source = std::fs::read_to_string(checkout().join(crate_folder).join("src/settings.rs"))?;
        let names = |setting: &str| source.contains(&format!("\"{setting}\""));
        let is_known = |setting: &str| names(setting) || names(setting.trim_end_matches("_FILE"));
        let (endings, plain): (&[&str], &[&str]) = match overlay {
            "production" => (&["", "-owner", "-tls"], &["LISTEN_ADDRESS", "OBSERVE_ADDRESS"]),
            _ => (&["", "-owner"], &["LISTEN_ADDRESS"]),
        };
        let expected: BTreeSet<_> = endings.iter().map(|ending| format!("{name}{ending}")).collect();
        let secrets = mounted_secrets(deployment);
        assert!(secrets.iter().eq(&expected), "{overlay}: {name}: {secrets:?}");
        for container in containers(deployment) {
            for setting in items(&container["env"]) {
                let (setting, value) = (text(&setting["name"])?, text(&setting["value"])?);
                assert!(is_known(setting), "{overlay}: {name} does not read {setting}");
                let is_mounted = items(&container["volumeMounts"])
                    .filter_map(|mount| value.strip_prefix(mount["mountPath"].as_str()?))
                    .any(|rest| rest.starts_with('/'));
                assert!(
                    plain.contains(&setting) || (setting.ends_with("_FILE") && is_mounted),
                    "{overlay}: {setting}={value}"
                );
            }
            for reference in items(&container["envFrom"]) {
                let named = &reference["configMapRef"]["name"];
                let found = configurations.iter().find(|(_, map)| map["metadata"]["name"] == *named);
                let (_, map) = found.with_context(|| format!("{overlay}: no ConfigMap {named}"))?;
                for setting in labels(&map["data"]).into_keys() {
                    assert!(is_known(setting), "{overlay}: {name} does not read {setting}");
                }
            }
        }
    }
    Ok(())
}

/// The names of the Secrets that a Deployment mounts.
fn mounted_secrets(deployment: &Value) -> BTreeSet<&str> {
    let volumes = items(&deployment["spec"]["template"]["spec"]["volumes"]);
    volumes.filter_map(|volume| volume["secret"]["secretName"].as_str()).collect()
}

#[tokio::test]
async fn nothing_flows_but_what_a_policy_names_with_its_ports_and_peers() -> Result<()> {
    let installation = Installation::shared().await?;
    let policies = installation.objects("NetworkPolicy");
    for overlay in OVERLAYS {
        for namespace in OWN_NAMESPACES {
            let denies = |object: &Value| {
                let spec = &object["spec"];
                object["metadata"]["namespace"] == namespace
                    && spec["podSelector"] == json!({})
                    && spec["policyTypes"] == json!(["Ingress", "Egress"])
                    && spec.get("ingress").is_none()
                    && spec.get("egress").is_none()
            };
            let found = policies.iter().any(|(name, object)| *name == overlay && denies(object));
            assert!(found, "{overlay}: nothing denies all flows of {namespace}");
        }
    }
    let reads_metrics =
        json!({ "namespaceSelector": { "matchLabels": { "aegis.dev/reads-metrics": "true" } } });
    let mut observing = 0;
    for (overlay, policy) in policies {
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in items(&policy["spec"][rules]) {
                let what = format!("{overlay}: {} of {}", rules, policy["metadata"]["namespace"]);
                assert!(items(&rule["ports"]).count() > 0, "{what} names no port: {rule}");
                assert!(items(&rule[peers]).count() > 0, "{what} names no peer: {rule}");
                if overlay == "production" && items(&rule[peers]).any(|peer| *peer == reads_metrics) {
                    assert_eq!(rule["ports"], json!([{ "protocol": "TCP", "port": "observe" }]), "{what}");
                    observing += 1;
                }
                for peer in items(&rule[peers]) {
                    assert_ne!(peer, &json!({}), "{what} names everybody: {rule}");
                    assert_ne!(peer["namespaceSelector"], json!({}), "{what} names every namespace: {rule}");
                    assert_ne!(peer["ipBlock"]["cidr"], "0.0.0.0/0", "{what} names every address: {rule}");
                }
            }
        }
    }
    assert_eq!(observing, 2, "in production metrics are read from both, at ports of their own");
    Ok(())
}

#[tokio::test]
async fn a_drain_may_take_one_replica_at_a_time() -> Result<()> {
    let installation = Installation::shared().await?;
    for (namespace, name, replicas) in
        [("aegis-control-plane", "aegis-control-plane", 3), ("aegis-system", "aegis-executor", 2)]
    {
        until("the disruption budget counting its pods", Duration::from_secs(60), async || {
            let budget =
                installation.cluster.kubectl(["-n", namespace, "get", "pdb", name, "-o", "json"]).await?;
            let status = serde_json::from_str::<Value>(&budget)?["status"].take();
            Ok(status["expectedPods"] == replicas && status["disruptionsAllowed"] == 1)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_executors_allowlist_and_its_roles_name_the_same_namespaces() -> Result<()> {
    let installation = Installation::shared().await?;
    for overlay in &installation.overlays {
        let of_kind =
            |kind: &'static str| overlay.objects.iter().filter(move |object| object["kind"] == kind);
        let namespaces: BTreeSet<_> =
            of_kind("RoleBinding").filter_map(|binding| binding["metadata"]["namespace"].as_str()).collect();
        let lists: Vec<Value> = of_kind("ConfigMap")
            .filter_map(|map| map["data"]["allowlist.json"].as_str())
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let [list] = &lists[..] else { panic!("{}: {lists:?}", overlay.name) };
        let listed = list["namespaces"].as_object().context("namespaces")?;
        assert_eq!(namespaces, BTreeSet::from([ALLOWED]), "{}", overlay.name);
        assert!(listed.keys().eq(&namespaces), "{}: {list}", overlay.name);
        for kind in ["ClusterRole", "ClusterRoleBinding"] {
            assert_eq!(of_kind(kind).count(), 0, "{} binds something everywhere", overlay.name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn rollbacks_are_off_until_an_overlay_names_their_account_whose_token_is_then_mounted() -> Result<()> {
    let installation = Installation::shared().await?;
    for overlay in &installation.overlays {
        let text = json!(overlay.objects).to_string();
        for trace in ["ROLLBACK_TOKEN_FILE", "\"rollback\""] {
            assert!(!text.contains(trace), "{}: {trace}", overlay.name);
        }
        let accounts = overlay.objects.iter().filter(|object| object["kind"] == "ServiceAccount");
        assert!(accounts.into_iter().all(|account| account["metadata"]["name"] != ROLLBACK_ACCOUNT));
    }
    let objects = &installation.with_rollback.objects;
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").context("a Deployment")?;
    assert!(mounted_secrets(deployment).contains(ROLLBACK_ACCOUNT), "{deployment}");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let setting = items(&container["env"]).find(|setting| setting["name"] == "ROLLBACK_TOKEN_FILE");
    let path = text(&setting.context("the setting")?["value"])?;
    let mount = items(&container["volumeMounts"]).find(|mount| mount["name"] == "rollback");
    let folder = text(&mount.context("the mount")?["mountPath"])?;
    assert_eq!(path, format!("{folder}/token"));
    until("Kubernetes filling in the token", Duration::from_secs(60), async || {
        let secret = installation.cluster.get("aegis-system", &format!("secret/{ROLLBACK_ACCOUNT}")).await?;
        Ok(secret["data"]["token"].is_string())
    })
    .await
}

#[tokio::test]
async fn the_admission_policies_fit_the_types_that_they_are_about() -> Result<()> {
    let installation = Installation::shared().await?;
    let policies = installation.objects("ValidatingAdmissionPolicy");
    let bindings = installation.objects("ValidatingAdmissionPolicyBinding");
    assert_eq!((policies.len(), bindings.len()), (6, 6), "three in each overlay");
    for (overlay, policy) in policies {
        let name = text(&policy["metadata"]["name"])?;
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{name}");
        let is_bound =
            |(of, binding): &(&str, &Value)| *of == overlay && binding["spec"]["policyName"] == name;
        let (_, binding) = bindings.iter().find(|found| is_bound(found)).context("a binding")?;
        assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]), "{name}");
        assert!(binding["spec"].get("matchResources").is_none(), "{name} holds everywhere");
        let path = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{name}");
        until("the API server having checked the types", Duration::from_secs(60), async || {
            let policy: Value = serde_json::from_str(&installation.cluster.read(&path).await?)?;
            let checked = &policy["status"]["typeChecking"];
            let warnings = &checked["expressionWarnings"];
            assert!(warnings.is_null(), "{name}: {warnings:#}");
            Ok(checked.is_object())
        })
        .await?;
    }
    Ok(())
}
