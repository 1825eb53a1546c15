//! A whole stack that tells, and what a test asks of it.

use std::sync::atomic::{AtomicU32, Ordering};

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::eventually::eventually;
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::actions::scene::{Scene, WITHIN, id_of};

/// Lets receivers stand on this machine.
pub(super) const PRIVATE: (&str, &str) = ("DANGEROUS_ALLOW_PRIVATE_WEBHOOKS", "true");

/// A stack in which everything is allowed, and whose webhooks a test manages.
pub(super) struct Hooks {
    pub(super) scene: Scene,
    asked: AtomicU32,
}

impl Hooks {
    /// A stack that may call receivers on this machine.
    pub(super) async fn open(options: StackOptions) -> Result<Self> {
        Self::with(options, &[]).await
    }

    /// The same with further settings.
    pub(super) async fn with(mut options: StackOptions, settings: &[(&str, &str)]) -> Result<Self> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        options.control_plane_settings = [PRIVATE].iter().chain(settings).map(owned).collect();
        Ok(Self { scene: Scene::open(options).await?, asked: AtomicU32::new(0) })
    }

    pub(super) fn admin(&self) -> &Caller {
        &self.scene.admin
    }

    pub(super) async fn put(&self, name: &str, body: &Value) -> Result<Answer> {
        self.admin().request(Method::PUT, &format!("/api/v1/webhooks/{name}")).json(body).send().await
    }

    /// Adds a webhook, and returns it with its secret.
    pub(super) async fn set(&self, name: &str, body: &Value) -> Result<Value> {
        Ok(self.put(name, body).await?.expect(201)?.body)
    }

    /// Sends a webhook something to try it with; returns the delivery's id.
    pub(super) async fn test(&self, name: &str) -> Result<String> {
        let path = format!("/api/v1/webhooks/{name}/test");
        id_of(&self.admin().post(&path, &json!({})).await?.expect(202)?.body)
    }

    /// Has an action end at once, refused because its target is not there; returns the id of the entry that says so.
    pub(super) async fn end_one(&self) -> Result<String> {
        let name = format!("absent-{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let action = id_of(&self.scene.carry_out(&self.scene.restart(&name)).await?)?;
        let entries = self.scene.entries(&action).await?;
        id_of(entries.last().context("a story")?)
    }

    /// Makes everything that waits due at once: nobody waits six hours in a test.
    pub(super) async fn hurry(&self) -> Result<()> {
        let due = "update webhook_deliveries set due_at = clock_timestamp() where state = 'waiting'";
        execute(&self.scene.stack.control_plane_database().superuser_url, due.to_owned()).await
    }

    pub(super) async fn delivery(&self, webhook: &str, id: &str) -> Result<Value> {
        Ok(self.admin().get(&format!("/api/v1/webhooks/{webhook}/deliveries/{id}")).await?.expect(200)?.body)
    }

    /// Waits until so many attempts are recorded.
    pub(super) async fn until_attempted(&self, webhook: &str, id: &str, attempts: usize) -> Result<()> {
        eventually(&format!("attempt {attempts}"), WITHIN, async || {
            let delivery = self.delivery(webhook, id).await?;
            let recorded = delivery["log"].as_array().context("a log")?.len();
            ensure!(recorded >= attempts, "{delivery}");
            Ok(Some(()))
        })
        .await
    }

    pub(super) async fn until_state(&self, webhook: &str, id: &str, state: &str) -> Result<()> {
        eventually(&format!("the delivery being {state}"), WITHIN, async || {
            let delivery = self.delivery(webhook, id).await?;
            ensure!(delivery["state"] == state, "{delivery}");
            Ok(Some(()))
        })
        .await
    }

    pub(super) async fn until_delivered(&self, webhook: &str, id: &str) -> Result<()> {
        self.until_state(webhook, id, "delivered").await
    }

    /// Waits until nothing is left to be sent to a webhook.
    pub(super) async fn until_all_delivered(&self, webhook: &str) -> Result<()> {
        let path = format!("/api/v1/webhooks/{webhook}/deliveries?limit=200");
        eventually("everything being delivered", WITHIN, async || {
            let page = self.admin().get(&path).await?.expect(200)?.body;
            let items = page["items"].as_array().context("items")?;
            ensure!(!items.is_empty() && items.iter().all(|item| item["state"] == "delivered"), "{page}");
            Ok(Some(()))
        })
        .await
    }
}
