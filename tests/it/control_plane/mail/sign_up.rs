//! People who make accounts for themselves.

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::mail_server::Encryption;
use aegis_tests::stack::sign_in;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::log::entries;
use super::super::people::id_of;
use super::super::sign_in::seen;
use super::{NEW, Post};

async fn accept(post: &Post, replica: usize, token: &str) -> Result<Answer> {
    let body = json!({ "invitationToken": token, "password": NEW });
    let caller = Caller::anonymous(post.stack.control_plane(replica).url())?;
    caller.post("/api/v1/auth/accept-invitation", &body).await
}

#[tokio::test]
async fn who_signs_up_proves_the_address_first_and_is_a_user_and_nothing_more() -> Result<()> {
    let post = Post::open(Encryption::StartTls, &[("SIGN_UP_DOMAINS", "example.com")]).await?;
    let admin = post.stack.admin()?;
    for (email, status, code) in [
        ("nora@example.org", 403, "sign-up-off"),
        ("nora@example.com@example.org", 400, "invalid-parameter"),
        ("n\u{43e}ra@example.com", 403, "sign-up-off"),
        ("nora@example.com\r\nBcc: eve@example.com", 400, "invalid-parameter"),
        ("\"nora\"<x>@example.com", 400, "invalid-parameter"),
        ("\"nora\"@example.com", 400, "invalid-parameter"),
    ] {
        assert_eq!(post.ask("sign-up", email).await?.expect(status)?.code(), code, "{email}");
    }
    for more in [json!({ "role": "admin" }), json!({ "roles": ["admin"] }), json!({ "password": NEW })] {
        let mut body = more;
        body["email"] = json!("nora@example.com");
        assert_eq!(post.stack.anonymous()?.post("/api/v1/auth/sign-up", &body).await?.status, 400, "{body}");
    }

    // Known or not is one answer; who reads the mail is told.
    let fresh = post.ask("sign-up", "nora@example.com").await?.expect(202)?;
    let token = post.mail(1).await?.token()?;
    let known = post.ask("sign-up", &post.stack.admin_user().email).await?.expect(202)?;
    assert_eq!(seen(&fresh), seen(&known));
    let mail = post.mail(2).await?;
    assert_eq!(mail.recipients, [post.stack.admin_user().email.clone()]);
    assert!(mail.text.contains("You have one") && mail.token().is_err(), "{}", mail.text);

    // Before the mail was used there is nobody: the address is not taken from whom it belongs to.
    assert!(id_of(&admin, "nora").await.is_err());
    let (one, other) = tokio::join!(accept(&post, 0, &token), accept(&post, 1, &token));
    let mut statuses = [one?.status, other?.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 403]);
    assert_eq!(accept(&post, 0, &token).await?.code(), "invitation-invalid");
    let nora = sign_in(post.stack.control_plane(1).url(), "nora@example.com", NEW).await?;
    let nora = Caller::person(post.stack.control_plane(1).url(), &nora)?;
    assert_eq!(nora.get("/api/v1/whoami").await?.expect(200)?.body["roles"], json!(["user"]));
    assert_eq!(nora.get("/api/v1/users").await?.code(), "forbidden");
    let id = id_of(&admin, "nora").await?;
    let told: Vec<Value> = entries(&admin, "kind=user.created").await?;
    let told = told.last().context("an entry")?;
    assert_eq!(
        (&told["principal"], &told["data"]["roles"]),
        (&json!(format!("user:{id}")), &json!(["user"]))
    );
    assert!(!told.to_string().contains("nora@"), "{told}");

    // An admin who invites somebody meanwhile is first.
    post.ask("sign-up", "otto@example.com").await?.expect(202)?;
    let token = post.mail(3).await?.token()?;
    let invited = admin.post("/api/v1/users", &json!({ "email": "Otto@example.com" })).await?.expect(201)?;
    assert_eq!(accept(&post, 0, &token).await?.expect(403)?.code(), "invitation-invalid");
    accept(&post, 0, invited.body["invitationToken"].as_str().context("a token")?).await?.expect(204)?;

    // What is off again is off also for who was mailed before.
    post.ask("sign-up", "pia@example.com").await?.expect(202)?;
    let token = post.mail(4).await?.token()?;
    post.stack.control_plane(0).restart_with([("SIGN_UP_DOMAINS", "")]).await?;
    assert_eq!(post.ask("sign-up", "quinn@example.com").await?.expect(403)?.code(), "sign-up-off");
    assert_eq!(accept(&post, 0, &token).await?.expect(403)?.code(), "invitation-invalid");
    post.sql("update sign_ups set expires_at = clock_timestamp()").await?;
    assert_eq!(accept(&post, 1, &token).await?.code(), "invitation-invalid");
    Ok(())
}
