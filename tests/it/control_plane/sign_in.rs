//! Signing in: what it tells strangers, what it costs, and how guessing is made slow without keeping the owner out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::stack::{RegisteredUser, Stack, StackOptions, sign_in};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::log::{entries, metric};

/// Guesses that are let through within minutes, after those that nobody waits for: after 1, 2, 4, … 64 seconds.
const DOUBLINGS: usize = 7;

async fn stack() -> Result<Stack> {
    // What is looked at here shall be what limits, and nothing else.
    let control_plane_settings = vec![("THROTTLES".to_owned(), "sign-in=100000".to_owned())];
    Stack::start(StackOptions { control_planes: 2, control_plane_settings, ..StackOptions::default() }).await
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Somebody at an address of this machine, before a replica.
fn stranger(stack: &Stack, replica: usize, last: u8) -> Result<Caller> {
    Caller::anonymous(stack.control_plane(replica).url())?.from_address(address(last))
}

async fn try_it(caller: &Caller, email: &str, password: &str) -> Result<Answer> {
    caller.post("/api/v1/auth/login", &json!({ "email": email, "password": password })).await
}

/// How many hashes the replicas have computed.
pub(super) async fn computed(stack: &Stack) -> Result<f64> {
    let mut sum = 0.0;
    for replica in stack.control_planes() {
        let page = Caller::anonymous(replica.url())?.get("/metrics").await?.expect(200)?.text;
        let line = "aegis_password_hashes_total{result=\"computed\"}";
        let found = page.lines().find_map(|found| found.strip_prefix(line)).map(str::trim);
        sum += found.map(str::parse::<f64>).transpose()?.unwrap_or_default();
    }
    Ok(sum)
}

/// Sends guesses, twenty at once; the answers.
async fn guess(callers: Vec<Caller>, emails: &[String]) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let mut tries: Vec<(Caller, String)> = callers.into_iter().zip(emails.iter().cycle().cloned()).collect();
    while !tries.is_empty() {
        let later = tries.split_off(tries.len().min(20));
        let mut guessing = JoinSet::new();
        for (caller, email) in std::mem::replace(&mut tries, later) {
            guessing.spawn(async move { try_it(&caller, &email, "a wrong password").await });
        }
        answers.extend(guessing.join_all().await.into_iter().collect::<Result<Vec<_>>>()?);
    }
    Ok(answers)
}

/// How many were judged; all others were sent away with a time to come again.
fn judged(answers: &[Answer]) -> Result<usize> {
    for answer in answers.iter().filter(|answer| answer.status != 401) {
        assert_eq!((answer.status, answer.code()), (429, "guessing-slowed"), "{}", answer.text);
        let seconds: u64 = answer.headers["retry-after"].to_str()?.parse()?;
        assert!((1..=900).contains(&seconds), "{seconds}");
    }
    Ok(answers.iter().filter(|answer| answer.status == 401).count())
}

/// Everything about an answer that is not of this request alone.
pub(super) fn seen(answer: &Answer) -> (u16, Vec<String>, Value) {
    let headers = answer.headers.keys().map(ToString::to_string).collect();
    let mut body = answer.body.clone();
    body["requestId"] = Value::Null;
    (answer.status, headers, body)
}

#[tokio::test]
async fn who_is_unknown_disabled_invited_or_wrong_is_answered_alike_and_costs_one_hash_each() -> Result<()> {
    let stack = stack().await?;
    let admin = stack.admin()?;
    stack.new_person("dora", &["user"]).await?;
    let dora = admin.get("/api/v1/users?email=dora@example.com").await?.expect(200)?.body;
    let path = format!("/api/v1/users/{}/disable", dora["items"][0]["id"].as_str().context("id")?);
    admin.post(&path, &json!({})).await?.expect(200)?;
    admin.post("/api/v1/users", &json!({ "email": "ivan@example.com" })).await?.expect(201)?;

    let long = "x".repeat(2_000);
    let mut first = None;
    for (email, password) in [
        (stack.admin_user().email.as_str(), "a wrong password"),
        (stack.admin_user().email.as_str(), long.as_str()),
        ("nobody@example.com", "a wrong password"),
        ("nobody@example.com", long.as_str()),
        ("", ""),
        ("nobody\0@example.com", "a wrong password"),
        ("dora@example.com", "a wrong password"),
        ("ivan@example.com", ""),
    ] {
        let before = computed(&stack).await?;
        let begun = Instant::now();
        let answer = try_it(&stranger(&stack, 0, 2)?, email, password).await?;
        assert!(begun.elapsed() >= Duration::from_millis(250), "{email}: {:?}", begun.elapsed());
        assert_eq!(answer.code(), "sign-in-failed", "{email}: {}", answer.text);
        assert_eq!(computed(&stack).await? - before, 1.0, "{email}");
        assert_eq!(first.get_or_insert_with(|| seen(&answer)), &seen(&answer), "{email}");
    }
    assert_eq!(metric(&stack, "aegis_sign_ins_total{result=\"failed\"}").await?, 8.0);
    Ok(())
}

#[tokio::test]
async fn a_hash_that_costs_too_little_is_made_anew_when_its_password_is_known() -> Result<()> {
    // From the reference implementation's own tests: 256 KiB and two passes.
    const WEAK: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let stack = stack().await?;
    stack.new_person("wanda", &["user"]).await?;
    let superuser = &stack.control_plane_database().superuser_url;
    execute(
        superuser,
        format!("update users set password_hash = '{WEAK}' where email = 'wanda@example.com'"),
    )
    .await?;
    let wrong = try_it(&stack.anonymous()?, "wanda@example.com", "passwort").await?;
    assert_eq!(wrong.code(), "sign-in-failed");
    // On both replicas at once: whoever comes second finds another hash than the one it has checked.
    let (one, other) = tokio::join!(
        sign_in(stack.control_plane(0).url(), "wanda@example.com", "password"),
        sign_in(stack.control_plane(1).url(), "wanda@example.com", "password")
    );
    one?;
    other?;
    let strong = "do $$ begin if not exists (select from users where email = 'wanda@example.com' \
                  and password_hash like '$argon2id$v=19$m=19456,t=2,p=1$%') then raise exception 'weak'; end if; end $$";
    execute(superuser, strong.to_owned()).await?;
    sign_in(stack.control_plane(0).url(), "wanda@example.com", "password").await?;
    let signed_in = entries(&stack.admin()?, "kind=user.signed-in").await?;
    let upgrades = signed_in.iter().filter(|entry| entry["data"]["hashUpgraded"] == true).count();
    assert_eq!(upgrades, 1, "{signed_in:?}");
    Ok(())
}

#[tokio::test]
async fn guesses_wait_longer_and_longer_whoever_they_are_about_and_wherever_they_arrive() -> Result<()> {
    let stack = stack().await?;
    let superuser = &stack.control_plane_database().superuser_url;
    let admin = stack.admin_user().clone();
    // As many of somebody as of nobody, at once and through both replicas.
    let before = computed(&stack).await?;
    let mut letting_through = Vec::new();
    for (email, last) in [(admin.email.as_str(), 2), ("nobody@example.com", 3)] {
        let callers = (0..60).map(|number| stranger(&stack, number % 2, last)).collect::<Result<_>>()?;
        let answers = guess(callers, &[email.to_owned()]).await?;
        let judged = judged(&answers)?;
        assert!((10..=10 + DOUBLINGS).contains(&judged), "{email}: {judged} of {}", answers.len());
        letting_through.push(judged);
    }
    let all: usize = letting_through.iter().sum();
    assert_eq!(computed(&stack).await? - before, f64::from(u32::try_from(all)?), "who waits costs nothing");

    // The wait after the next wrong one is twice the one before, on the other replica too, and ends at its longest.
    let owner = stranger(&stack, 0, 4)?;
    for (failures, shortest, longest) in [(13, 8, 16), (16, 60, 128), (40, 600, 900)] {
        try_it(&owner, &admin.email, "a wrong password").await?;
        let as_if = format!(
            "delete from sign_in_delays where failures >= 20; \
             update sign_in_delays set failures = {failures}, free_at = now()"
        );
        execute(superuser, as_if).await?;
        try_it(&owner, &admin.email, "a wrong password").await?.expect(401)?;
        for replica in [0, 1] {
            let slowed = try_it(&stranger(&stack, replica, 4)?, &admin.email, &admin.password).await?;
            assert_eq!(slowed.code(), "guessing-slowed", "the right one too: {}", slowed.text);
            let seconds: u64 = slowed.headers["retry-after"].to_str()?.parse()?;
            assert!((shortest..=longest).contains(&seconds), "{failures}: {seconds}");
        }
    }
    // Whoever was right begins anew.
    execute(superuser, "update sign_in_delays set free_at = now()".to_owned()).await?;
    try_it(&owner, &admin.email, &admin.password).await?.expect(200)?;
    for _ in 0..9 {
        try_it(&owner, &admin.email, "a wrong password").await?.expect(401)?;
    }

    // What a person is asked for once more is no way around it.
    let me = stack.admin()?;
    let body = json!({ "currentPassword": "a wrong one", "newPassword": "another one of mine" });
    for _ in 0..4 {
        assert_eq!(me.post("/api/v1/users/me/password", &body).await?.code(), "password-wrong");
    }
    execute(superuser, "update sign_in_delays set failures = 12, free_at = now()".to_owned()).await?;
    assert_eq!(me.post("/api/v1/users/me/password", &body).await?.code(), "password-wrong");
    assert_eq!(me.post("/api/v1/users/me/password", &body).await?.expect(429)?.code(), "guessing-slowed");

    let clear = "do $$ begin if exists (select from sign_in_delays where counter not like 'hmac-sha256:%') \
                 or exists (select from known_addresses where address not like 'hmac-sha256:%') \
                 then raise exception 'an address is stored'; end if; end $$";
    execute(superuser, clear.to_owned()).await
}

#[tokio::test]
async fn who_guesses_keeps_the_owner_out_neither_where_they_are_known_nor_of_their_session() -> Result<()> {
    let stack = stack().await?;
    let superuser = &stack.control_plane_database().superuser_url;
    let RegisteredUser { email, password, .. } = stack.admin_user().clone();
    let home = stranger(&stack, 0, 50)?;
    try_it(&home, &email, &password).await?.expect(200)?;

    // From everywhere at once: each address guesses once, and all together are slow.
    let callers =
        (60..=160).map(|last| stranger(&stack, usize::from(last % 2), last)).collect::<Result<_>>()?;
    let answers = guess(callers, std::slice::from_ref(&email)).await?;
    let through = judged(&answers)?;
    assert!((21..=21 + DOUBLINGS).contains(&through), "{through} of {}", answers.len());
    // From one address at many accounts.
    let emails: Vec<String> = (0..160).map(|number| format!("nobody-{number}@example.com")).collect();
    let callers = (0..160).map(|number| stranger(&stack, number % 2, 51)).collect::<Result<_>>()?;
    let answers = guess(callers, &emails).await?;
    let through = judged(&answers)?;
    assert!((101..=101 + DOUBLINGS).contains(&through), "{through} of {}", answers.len());
    // As hard as it can be, and for as long.
    let hardest =
        "update sign_in_delays set failures = 1000, free_at = now() + interval '60 s' where failures > 0";
    execute(superuser, hardest.to_owned()).await?;

    // The owner is slowed down where they never were, and nowhere else.
    let elsewhere = try_it(&stranger(&stack, 1, 52)?, &email, &password).await?;
    assert_eq!(elsewhere.code(), "guessing-slowed", "{}", elsewhere.text);
    assert!(elsewhere.headers["retry-after"].to_str()?.parse::<u64>()? <= 60);
    for replica in [0, 1] {
        try_it(&stranger(&stack, replica, 50)?, &email, &password).await?.expect(200)?;
    }
    stack.admin()?.get("/api/v1/whoami").await?.expect(200)?;
    // A wait that is over lets them in, and then they are known there too.
    execute(superuser, "update sign_in_delays set free_at = now()".to_owned()).await?;
    try_it(&stranger(&stack, 1, 52)?, &email, &password).await?.expect(200)?;
    execute(superuser, hardest.to_owned()).await?;
    try_it(&stranger(&stack, 0, 52)?, &email, &password).await?.expect(200)?;
    Ok(())
}
