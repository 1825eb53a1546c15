//! How outside tools see a stack: one JSON object, and the names of the parts they may kill and start again.

use aegis_tests::cluster::COMPONENTS;
use aegis_tests::process::Process;
use aegis_tests::stack::{Part, Stack, sign_in};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// A running stack, under the names by which outside tools know its parts.
pub(super) struct Description {
    stack: Stack,
    /// The last token there was: while no control plane answers, there is no newer one.
    access_token: String,
}

impl Description {
    /// Describes a stack and gathers all its logs in one folder.
    pub(super) fn of(stack: Stack) -> Result<Self> {
        let logs = stack.logs();
        std::os::unix::fs::symlink(stack.server().process().log(), logs.join("postgres.log"))?;
        for name in COMPONENTS {
            let log = format!("{name}.log");
            std::os::unix::fs::symlink(stack.cluster()?.logs().join(&log), logs.join(&log))?;
        }
        let access_token = stack.admin_user().access_token.clone();
        Ok(Self { stack, access_token })
    }

    /// Everything an outside tool needs. A part that does not run has `null` for its process id.
    pub(super) async fn describe(&mut self) -> Result<Value> {
        let stack = &self.stack;
        let (admin, client) = (stack.admin_user(), stack.registered_client());
        for part in stack.control_planes().iter().filter(|part| part.process().pid().is_some()) {
            // A token lives for 15 minutes; whoever asks gets a fresh one.
            let signed_in = sign_in(part.url(), &admin.email, &admin.password);
            if let Ok(Ok(token)) = tokio::time::timeout(std::time::Duration::from_secs(5), signed_in).await {
                self.access_token = token;
                break;
            }
        }
        let cluster = stack.cluster()?;
        Ok(json!({
            "controlPlane": stack.control_plane(0).url(),
            "controlPlanes": stack.control_planes().iter().map(Part::url).collect::<Vec<_>>(),
            "executor": stack.executor(0).url(),
            "kubeconfig": cluster.kubeconfig(),
            "databaseUrl": stack.control_plane_database().owner_url,
            "executorDatabaseUrl": stack.executor_database().owner_url,
            "admin": { "email": admin.email, "password": admin.password, "accessToken": self.access_token },
            "client": { "principal": client.principal, "keyId": client.key_id, "secret": client.secret },
            "cluster": stack.cluster_name(),
            "namespaces": stack.namespaces(),
            "kubeAudit": cluster.audit().path(),
            "logs": stack.logs(),
            "pids": self.pids()?,
        }))
    }

    fn pids(&self) -> Result<Value> {
        let mut pids = Map::new();
        for part in self.stack.control_planes().iter().chain(self.stack.executors()) {
            pids.insert(camel_case(part.process().name()), json!(part.process().pid()));
        }
        pids.insert("postgres".to_owned(), json!(self.stack.server().process().pid()));
        for name in COMPONENTS {
            pids.insert(
                camel_case(name),
                json!(self.stack.cluster()?.component(name).ok().and_then(Process::pid)),
            );
        }
        Ok(Value::Object(pids))
    }

    /// Starts a part again on its old port and data, after killing it if it still runs.
    pub(super) async fn restart(&self, name: &str) -> Result<()> {
        if name == "postgres" {
            return self.stack.server().restart().await;
        }
        if let Some(component) = COMPONENTS.into_iter().find(|component| camel_case(component) == name) {
            return self.stack.cluster()?.restart(component).await;
        }
        let mut parts = self.stack.control_planes().iter().chain(self.stack.executors());
        let part = parts.find(|part| camel_case(part.process().name()) == name);
        part.with_context(|| format!("the stack has no part `{name}`; its parts are the keys of `pids`"))?
            .restart()
            .await
    }
}

/// `kube-apiserver` → `kubeApiserver`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |joined, word| {
        let mut letters = word.chars();
        let capital = letters.next().map(|letter| letter.to_ascii_uppercase());
        joined + &capital.into_iter().chain(letters).collect::<String>()
    })
}

#[cfg(test)]
mod tests {
    use super::camel_case;

    #[test]
    fn parts_are_named_as_json_names_things() {
        for (program, key) in
            [("control-plane", "controlPlane"), ("control-plane-2", "controlPlane2"), ("etcd", "etcd")]
        {
            assert_eq!(camel_case(program), key);
        }
    }
}
