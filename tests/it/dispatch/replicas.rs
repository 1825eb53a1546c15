//! A control plane that is killed with actions in every stage, and another one that goes on.

use aegis_tests::fault_proxy::Moment;
use aegis_tests::stack::{Part, StackOptions};
use anyhow::Result;

use super::held_claims::HeldClaims;
use super::lost_orders::{ORDERED_AGAIN, cut_acting};
use crate::actions::scene::{ORDERED, Scene, expect};
use crate::audit_log::{sequencer_and_other, until_sequenced};

fn part<'s>(scene: &'s Scene, url: &str) -> &'s Part {
    scene.stack.control_planes().iter().find(|part| part.url() == url).expect("it is one of them")
}

#[tokio::test]
async fn a_killed_control_plane_leaves_its_actions_to_another_and_none_is_written_twice() -> Result<()> {
    let options = StackOptions { control_planes: 2, order_proxy: true, ..StackOptions::default() };
    let mut scene = Scene::open(options).await?;
    scene.deploy_small(&["queued", "ordered"]).await?;
    // Only the first one is there to begin; it is the one that gives intents their places in the log.
    let (first, second) = {
        let (first, second) = sequencer_and_other(&scene.stack).await?;
        (first.url().to_owned(), second.url().to_owned())
    };
    scene.speak_to(&first);
    part(&scene, &second).stop()?;
    let at_work = scene.occupy("at-work").await?;
    scene.until_receipt(&at_work, "running").await?;
    let cut = cut_acting(&scene, Moment::BeforePassingOn)?;
    let ordered = scene.ask(&scene.restart("ordered")).await?;
    scene.until_state(&ordered, "running").await?;
    let claims = HeldClaims::take(&scene.stack).await?;
    let queued = scene.ask(&scene.scale("queued", 2)).await?;
    // An intent that comes into the log too late is never ordered, and the other one needs time to take over.
    until_sequenced(&scene.stack).await?;

    part(&scene, &first).kill()?;
    claims.release().await?;
    drop(cut);
    part(&scene, &second).cont()?;
    scene.speak_to(&second);

    for id in [&queued, &ordered] {
        expect(&scene.ended(id).await?, "succeeded", "rollout-complete");
    }
    assert_eq!(scene.action(&at_work).await?["state"], "running");
    scene.mend("at-work").await?;
    expect(&scene.ended(&at_work).await?, "succeeded", "rollout-complete");
    scene.expect_story(&at_work, &ORDERED).await?;
    scene.expect_story(&queued, &ORDERED).await?;
    // The dead one had signed an order and not sent it: it is closed, and another one signed.
    scene.expect_story(&ordered, &ORDERED_AGAIN).await?;
    for id in [&at_work, &ordered, &queued] {
        scene.only_write(id)?;
    }
    Ok(())
}
