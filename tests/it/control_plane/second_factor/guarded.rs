//! What asks for a second factor, and of whom.

use std::collections::BTreeSet;

use aegis_tests::authenticator::Authenticator;
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use serde_json::json;

use super::{forget_step_ups, fresh, person, person_with, privileged, sql, stack, step_up};
use crate::control_plane::callers::{call, routes};
use crate::control_plane::log::entries;

/// Everything that asks an admin who has a second factor for it.
const GUARDED: &str = "
POST /api/v1/actions/{id}/close
POST /api/v1/actions/{id}/review
POST /api/v1/actions/{id}/approve
POST /api/v1/actions/{id}/deny
POST /api/v1/actions/{id}/withdraw-approval
POST /api/v1/policy/sync
POST /api/v1/policies/{name}/activate
POST /api/v1/policies/{name}/deactivate
POST /api/v1/policies/{name}/release
POST /api/v1/alert-sources
DELETE /api/v1/alert-sources/{name}
POST /api/v1/alert-sources/{name}/disable
POST /api/v1/alert-sources/{name}/enable
POST /api/v1/alert-sources/{name}/credentials
DELETE /api/v1/alert-sources/{name}/credentials/{id}
PUT /api/v1/webhooks/{name}
DELETE /api/v1/webhooks/{name}
POST /api/v1/webhooks/{name}/rotate-secret
POST /api/v1/clients
PATCH /api/v1/clients/{name}
POST /api/v1/clients/{name}/disable
POST /api/v1/clients/{name}/enable
POST /api/v1/clients/{name}/keys
DELETE /api/v1/clients/{name}/keys/{id}
POST /api/v1/users
POST /api/v1/users/{id}/invite
POST /api/v1/users/{id}/disable
POST /api/v1/users/{id}/enable
PUT /api/v1/users/{id}/roles/{name}
DELETE /api/v1/users/{id}/roles/{name}
DELETE /api/v1/users/{id}/second-factor
POST /api/v1/role-grants/{id}/approve
POST /api/v1/role-grants/{id}/deny
POST /api/v1/users/me/password
DELETE /api/v1/users/me/second-factor
";

/// What an admin's session would not outlive.
const ENDS_IT: [(&str, &str); 2] = [("POST", "/api/v1/auth/logout"), ("DELETE", "/api/v1/sessions")];

#[tokio::test]
async fn what_a_thief_would_want_asks_for_a_second_factor_shown_lately_in_the_same_session() -> Result<()> {
    let stack = stack(&[]).await?;
    let user = stack.new_user("anna", &["admin"]).await?;
    let anna = person(&stack, 0, &user).await?;
    let (app, _) = Authenticator::enrol(&anna, &user.password).await?;
    let other = person_with(&stack, 1, &user, &app.code(0)).await?;
    forget_step_ups(&stack).await?;

    let asking = |code: &str| code == "step-up-required";
    let mut found = BTreeSet::new();
    for (method, path) in routes().filter(|route| !ENDS_IT.contains(route)) {
        if path.ends_with("/tail") {
            continue;
        }
        let answer = call(&anna, method, path).await?;
        if asking(answer.code()) {
            assert_eq!(answer.status, 403, "{method} {path}");
            let detail = answer.body["detail"].as_str().context("a detail")?;
            assert!(detail.contains("/api/v1/auth/step-up"), "{detail}");
            found.insert(format!("{method} {path}"));
        }
    }
    let expected: BTreeSet<String> = GUARDED.trim().lines().map(str::to_owned).collect();
    assert_eq!(found, expected);

    let until = step_up(&anna, &fresh(&stack, &app).await?).await?.expect(200)?;
    assert!(until.body["until"].is_string(), "{}", until.text);
    let own = "DELETE /api/v1/users/me/second-factor";
    for route in expected.iter().filter(|route| *route != own) {
        let (method, path) = route.split_once(' ').context("a route")?;
        let answer = call(&anna, method, path).await?;
        assert!(!asking(answer.code()), "{route}: {}", answer.text);
    }
    // It is of one session, of all replicas, and over after ten minutes.
    assert_eq!(privileged(&other).await?.code(), "step-up-required");
    assert_eq!(privileged(&anna.at(stack.control_plane(1).url())).await?.status, 404);
    for (ago, expected) in [("9 minutes", 404), ("601 s", 403)] {
        sql(&stack, &format!("update sessions set stepped_up_at = now() - interval '{ago}'")).await?;
        assert_eq!(privileged(&anna).await?.status, expected, "{ago}");
    }
    let steps = entries(&stack.admin()?, "kind=session.stepped-up").await?;
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert_eq!(steps[0]["data"]["by"], "code");

    // Who may not do it anyway is told that, and automation is never asked.
    let user = stack.new_user("ursula", &["user"]).await?;
    let ursula = person(&stack, 0, &user).await?;
    Authenticator::enrol(&ursula, &user.password).await?;
    forget_step_ups(&stack).await?;
    assert_eq!(privileged(&ursula).await?.expect(403)?.code(), "forbidden");
    assert_eq!(privileged(&stack.client()?).await?.expect(403)?.code(), "forbidden");
    // Who has none is not asked where none is demanded.
    assert_eq!(privileged(&stack.admin()?).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn where_it_is_demanded_nobody_activates_or_approves_without_having_one() -> Result<()> {
    let stack = stack(&[("SECOND_FACTOR", "required")]).await?;
    let admin = stack.admin()?;
    let refused = stack.allow_everything().await.err().context("nobody activates policy")?;
    assert!(format!("{refused:#}").contains("second-factor-needed"), "{refused:#}");
    assert_eq!(privileged(&stack.client()?).await?.expect(403)?.code(), "forbidden");
    Authenticator::enrol(&admin, &stack.admin_user().password).await?;
    stack.allow_everything().await?;
    let care = json!({ "id": "care", "effect": "REQUIRE", "reason": "care", "approvals": [{ "role": "sre", "min": 1 }] });
    let policy = json!({ "schema": "aegis.policy/v1", "name": "care", "description": "", "rules": [care] });
    admin.activate_policy(&policy).await?;

    let user = stack.new_user("anna", &["sre"]).await?;
    let anna = person(&stack, 0, &user).await?;
    stack.kubernetes().apply_in(stack.namespace(), deployment("web", "app:1", 1)).await?;
    let action = stack.action("restart", "Deployment", "web", &json!({}));
    let asked = stack.client()?.ask(&action, 0).await?.expect(202)?.body;
    let approve = format!("/api/v1/actions/{}/approve", asked["id"].as_str().context("id")?);
    let needed = anna.post(&approve, &json!({})).await?.expect(403)?;
    assert_eq!(needed.code(), "second-factor-needed");
    let detail = needed.body["detail"].as_str().context("a detail")?;
    assert!(detail.contains("/api/v1/users/me/second-factor"), "{detail}");
    // They can change their password without, which is theirs alone.
    let change = json!({ "currentPassword": user.password, "newPassword": user.password });
    anna.post("/api/v1/users/me/password", &change).await?.expect(204)?;

    let (app, _) = Authenticator::enrol(&anna, &user.password).await?;
    forget_step_ups(&stack).await?;
    assert_eq!(anna.post(&approve, &json!({})).await?.expect(403)?.code(), "step-up-required");
    step_up(&anna, &fresh(&stack, &app).await?).await?.expect(200)?;
    anna.post(&approve, &json!({})).await?.expect(200)?;
    Ok(())
}
