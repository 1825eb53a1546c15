//! Signed requests from all sides, sent to the running control plane: good ones, and those that each rule of the profile
//! refuses, every one with its recorded reason.

use std::collections::BTreeMap;

use aegis_contract::dsse::ReceiptKey;
use aegis_contract::http_signature::{SigningKey, content_digest};
use aegis_contract::key::SharedSecret;
use aegis_tests::callers::Finished;
use aegis_tests::database::execute;
use aegis_tests::paths::random_name;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;

use super::cases::{BAD, Change, EVALUATE, GOOD, TAMPERED, now};
use super::draft::Draft;
use crate::control_plane::log::{entries, metric};

/// A stack, and keys by what they are.
struct Scene {
    stack: Stack,
    keys: BTreeMap<&'static str, SigningKey>,
}

impl Scene {
    async fn start() -> Result<Self> {
        let stack = Stack::start(StackOptions::default()).await?;
        let part = stack.control_plane(0);
        let address = part.url().strip_prefix("http://").context("http")?;
        part.restart_with([("PUBLIC_AUTHORITIES", format!("{address},aegis.example:443"))]).await?;
        let mut scene = Self { stack, keys: BTreeMap::new() };
        for what in ["secret", "second", "revoked", "expired", "of-disabled", "of-expired"] {
            let key_id = scene.add_client(what, None).await?;
            scene.spoil(what, &key_id).await?;
        }
        let pair = ReceiptKey::from_seed(&[7; 32]);
        let key_id = scene.add_client("pair", Some(&pair.public_pem())).await?;
        scene.keys.insert("pair", SigningKey::ed25519_pkcs8_pem(&key_id, &pair.to_pkcs8_pem())?);
        // The classic confusion: a MAC made with the public key's text, which everybody knows.
        let public = SharedSecret::from_bytes(pair.public_pem().as_bytes())?;
        scene.keys.insert("confused", SigningKey::hmac_sha256(&key_id, public)?);
        let known = scene.keys["secret"].id().to_owned();
        let other = SharedSecret::from_bytes(&[8; 32])?;
        scene.keys.insert("wrong", SigningKey::hmac_sha256(&known, other.clone())?);
        scene.keys.insert("unknown", SigningKey::hmac_sha256("nobody.1", other)?);
        let (order_key_id, order_key) = scene.stack.order_key()?;
        let order_key = SharedSecret::from_bytes(&order_key)?;
        scene.keys.insert("orders", SigningKey::hmac_sha256(order_key_id, order_key.clone())?);
        scene.keys.insert("orders-as-client", SigningKey::hmac_sha256(&known, order_key)?);
        Ok(scene)
    }

    /// Adds a client named so; the id of its key.
    async fn add_client(&mut self, what: &'static str, public_key: Option<&str>) -> Result<String> {
        let body = json!({ "name": what, "owner": self.stack.admin_user().email, "publicKey": public_key });
        let made = self.stack.admin()?.post("/api/v1/clients", &body).await?.expect(201)?.body;
        let key = &made["keys"][0];
        let key_id = key["id"].as_str().context("an id")?.to_owned();
        if let Some(secret) = key["secret"].as_str() {
            let key = SigningKey::hmac_sha256(&key_id, SharedSecret::from_base64(secret)?)?;
            self.keys.insert(what, key);
        }
        Ok(key_id)
    }

    /// Makes a key what its name says.
    async fn spoil(&mut self, what: &'static str, key_id: &str) -> Result<()> {
        let admin = self.stack.admin()?;
        let over = "set expires_at = now() - interval '1 second' where";
        let database = &self.stack.control_plane_database().superuser_url;
        match what {
            "second" => {
                let made = admin.post("/api/v1/clients/second/keys", &json!({})).await?.expect(201)?.body;
                let key = &made["keys"][0];
                let (id, secret) = key["id"].as_str().zip(key["secret"].as_str()).context("a second key")?;
                let key = SigningKey::hmac_sha256(id, SharedSecret::from_base64(secret)?)?;
                self.keys.insert("second", key);
            }
            "revoked" => {
                admin.delete(&format!("/api/v1/clients/revoked/keys/{key_id}")).await?.expect(204)?;
            }
            "expired" => execute(database, format!("update client_keys {over} id = '{key_id}'")).await?,
            "of-disabled" => {
                admin.post("/api/v1/clients/of-disabled/disable", &json!({})).await?.expect(200)?;
            }
            "of-expired" => execute(database, format!("update clients {over} name = 'of-expired'")).await?,
            _ => {}
        }
        Ok(())
    }

    /// A sound request, changed before it is signed by the key of that name.
    fn request(&self, key: &str, change: Change) -> Result<Finished> {
        let key = self.keys.get(key).with_context(|| format!("no key is called {key}"))?;
        let url = self.stack.control_plane(0).url();
        let authority = url.strip_prefix("http://").context("http")?;
        let mut draft = Draft::new();
        draft.authority = authority.to_owned();
        draft.path = EVALUATE.to_owned();
        draft.query = None;
        draft.body =
            json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" }).to_string().into();
        draft.set_header("content-digest", content_digest(&draft.body));
        draft.set_param(&format!("keyid=\"{}\"", key.id()));
        draft.set_param(&format!("nonce=\"{}\"", random_name(32)));
        draft.set_times(now(), now() + 200);
        change(&mut draft);
        let mut request = self.stack.anonymous()?.request(Method::POST, "/").finish()?;
        request.headers = draft.signed_headers(key);
        if draft.authority != authority && !draft.late_headers.iter().any(|(name, _)| *name == "host") {
            request.headers.insert("host", draft.authority.parse()?);
        }
        request.method = draft.method.parse()?;
        let query = draft.query.map(|query| format!("?{query}")).unwrap_or_default();
        request.url = format!("{url}{}{query}", draft.path);
        request.body = draft.body;
        Ok(request)
    }

    /// Checks that a request gets the one public answer, and that its reason is counted and recorded.
    async fn refused(&self, what: &str, key: &str, request: &Finished, reason: &str) -> Result<()> {
        // So that it is the first of its reason, key and minute.
        execute(&self.stack.control_plane_database().superuser_url, "delete from refusals".to_owned())
            .await?;
        let counted = format!("aegis_signature_refusals_total{{reason=\"{reason}\"}}");
        let before = metric(&self.stack, &counted).await?;
        let answer = request.send().await?;
        assert_eq!((answer.status, answer.code()), (401, "signature-invalid"), "{what}: {}", answer.text);
        assert!(!answer.text.contains(reason), "{what} is told: {}", answer.text);
        assert_eq!(answer.body["serverTime"].is_string(), TIMES.contains(&reason), "{what}: {}", answer.text);
        assert_eq!(metric(&self.stack, &counted).await? - before, 1.0, "{what} is not counted");

        let id = answer.body["requestId"].as_str().context("a problem names its request")?;
        let recorded = entries(&self.stack.admin()?, &format!("kind=request.refused&requestId={id}")).await?;
        let [entry] = &recorded[..] else { anyhow::bail!("{what} is not recorded once: {recorded:?}") };
        assert_eq!(
            (&entry["data"]["reason"], &entry["principal"]),
            (&json!(reason), &json!("anonymous")),
            "{what}"
        );
        let key_id = &entry["data"]["keyId"];
        let is_known = *key_id == self.keys[key].id();
        assert!(is_known || (key_id.is_null() && KEYLESS.contains(&reason)), "{what}: {entry}");
        Ok(())
    }
}

/// Reasons that callers may learn one thing of: the server's time.
const TIMES: [&str; 4] = ["expired", "created-in-future", "lifetime-too-long", "lifetime-reversed"];
/// Reasons with which the key may not be known.
const KEYLESS: [&str; 6] = [
    "signature-missing",
    "signature-malformed",
    "header-doubled",
    "label-wrong",
    "parameter-missing",
    "key-unknown",
];

#[tokio::test]
async fn every_good_request_is_accepted_and_every_bad_one_refused_for_the_reason_that_is_recorded()
-> Result<()> {
    let scene = Scene::start().await?;
    for (what, key, change) in GOOD {
        let answer = scene.request(key, *change)?.send().await?;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text);
    }
    for (what, key, change, reason) in BAD {
        scene.refused(what, key, &scene.request(key, *change)?, reason).await?;
    }
    for (what, change, tamper) in TAMPERED {
        let mut request = scene.request("secret", *change)?;
        tamper(&mut request);
        scene.refused(what, "secret", &request, "signature-wrong").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_key_and_a_wrong_signature_cannot_be_told_apart() -> Result<()> {
    let scene = Scene::start().await?;
    let mut answers = Vec::new();
    for key in ["unknown", "wrong", "revoked", "expired", "of-disabled", "of-expired", "orders"] {
        let mut answer = scene.request(key, |_| {})?.send().await?.expect(401)?;
        for header in ["date", "x-request-id", "traceparent"] {
            answer.headers.remove(header);
        }
        let members = answer.body.as_object_mut().context("a problem")?;
        members.remove("requestId").context("a problem names its request")?;
        answers.push((key, answer.body, format!("{:?}", answer.headers)));
    }
    let (_, body, headers) = answers[0].clone();
    for (key, other_body, other_headers) in answers {
        assert_eq!((&other_body, &other_headers), (&body, &headers), "{key}");
    }
    Ok(())
}
