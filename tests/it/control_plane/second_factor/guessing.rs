//! Guessing codes is bounded for whoever has the password, and keeps the owner out nowhere that they have been.

use std::net::{IpAddr, Ipv4Addr};

use aegis_tests::authenticator::Authenticator;
use aegis_tests::callers::{Answer, Caller};
use aegis_tests::stack::Stack;
use anyhow::Result;
use tokio::task::JoinSet;

use super::{fresh, login, person, privileged, sql, stack, step_up};

/// Tries that are let through within minutes: four that nobody waits after, and those after 1, 2, 4, … 64 seconds.
const TRIES_MAX: usize = 5 + 7;

/// Somebody at an address of this machine, before a replica.
fn stranger(stack: &Stack, replica: usize, last: u8) -> Result<Caller> {
    let address: IpAddr = Ipv4Addr::new(127, 0, 0, last).into();
    Caller::anonymous(stack.control_plane(replica).url())?.from_address(address)
}

/// A code that is none of those that are good about now.
fn wrong(app: &Authenticator) -> String {
    let good: Vec<String> = (-3..=3).map(|off| app.code(off)).collect();
    let candidates = ["000000", "111111", "222222", "333333", "444444", "555555", "666666", "777777"];
    candidates.into_iter().find(|code| !good.iter().any(|good| good == code)).unwrap_or("888888").to_owned()
}

/// How many were judged and wrong; all others were sent away for a while.
fn judged(answers: &[Answer]) -> Result<usize> {
    for answer in answers.iter().filter(|answer| answer.code() != "code-wrong") {
        assert_eq!((answer.status, answer.code()), (429, "guessing-slowed"), "{}", answer.text);
        let seconds: u64 = answer.headers["retry-after"].to_str()?.parse()?;
        assert!((1..=3_600).contains(&seconds), "{seconds}");
    }
    Ok(answers.iter().filter(|answer| answer.status == 403).count())
}

#[tokio::test]
async fn wrong_codes_are_few_wherever_they_come_from_and_keep_no_owner_out() -> Result<()> {
    let stack = stack(&[]).await?;
    let user = stack.new_user("anna", &["admin"]).await?;
    let anna = person(&stack, 0, &user).await?;
    let (app, _) = Authenticator::enrol(&anna, &user.password).await?;
    login(&stranger(&stack, 0, 50)?, &user, Some(&app.code(0))).await?.expect(200)?;
    let stale = wrong(&app);

    // Whoever has the password tries from an address each, through both replicas, and asks in between without a code.
    let mut answers = Vec::new();
    for round in 0..3_u8 {
        let mut trying = JoinSet::new();
        for number in 0..12_u8 {
            let caller = stranger(&stack, usize::from(number % 2), 100 + round * 12 + number)?;
            let (user, code) = (user.clone(), stale.clone());
            trying.spawn(async move { login(&caller, &user, Some(&code)).await });
        }
        answers.extend(trying.join_all().await.into_iter().collect::<Result<Vec<_>>>()?);
        let missing = login(&stranger(&stack, 0, 99)?, &user, None).await?;
        assert!(["code-required", "guessing-slowed"].contains(&missing.code()), "{}", missing.text);
    }
    let through = judged(&answers)?;
    assert!((5..=TRIES_MAX).contains(&through), "{through} of {}", answers.len());

    // As hard as it can be: not even the right one is looked at there.
    let hardest =
        "update sign_in_delays set failures = 1000, free_at = now() + interval '1 hour' where failures > 0";
    sql(&stack, hardest).await?;
    let elsewhere = login(&stranger(&stack, 1, 98)?, &user, Some(&fresh(&stack, &app).await?)).await?;
    assert_eq!(elsewhere.code(), "guessing-slowed", "{}", elsewhere.text);
    // The owner signs in where they have been, and goes on in the session that has shown a code before.
    login(&stranger(&stack, 1, 50)?, &user, Some(&fresh(&stack, &app).await?)).await?.expect(200)?;
    step_up(&anna, &fresh(&stack, &app).await?).await?.expect(200)?;
    assert_eq!(privileged(&anna).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn wrong_codes_in_a_stolen_session_are_few_too() -> Result<()> {
    let stack = stack(&[]).await?;
    let user = stack.new_user("anna", &["admin"]).await?;
    let (anna, stolen) = (person(&stack, 0, &user).await?, person(&stack, 1, &user).await?);
    let (app, _) = Authenticator::enrol(&anna, &user.password).await?;
    let stale = wrong(&app);
    for thief in [&stolen, &anna] {
        let mut trying = JoinSet::new();
        for number in 0..24 {
            let (caller, code) = (thief.at(stack.control_plane(number % 2).url()), stale.clone());
            trying.spawn(async move { step_up(&caller, &code).await });
        }
        let answers = trying.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        let through = judged(&answers)?;
        assert!((5..=TRIES_MAX).contains(&through), "{through} of {}", answers.len());
        if std::ptr::eq(thief, &stolen) {
            // A session that never showed one counts with all other strangers, the owner's by itself.
            step_up(&anna, &fresh(&stack, &app).await?).await?.expect(200)?;
        }
    }
    Ok(())
}
