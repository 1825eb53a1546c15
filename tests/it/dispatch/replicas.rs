//! A control plane that is killed with actions in every stage, and another one that goes on.

use aegis_tests::fault_proxy::Moment;
use aegis_tests::stack::StackOptions;
use anyhow::Result;

use super::held_claims::HeldClaims;
use super::lost_orders::{ORDERED_AGAIN, cut_acting};
use crate::actions::scene::{ORDERED, Scene, expect};

#[tokio::test]
async fn a_killed_control_plane_leaves_its_actions_to_another_and_none_is_written_twice() -> Result<()> {
    let options = StackOptions { control_planes: 2, order_proxy: true, ..StackOptions::default() };
    let scene = Scene::open(options).await?;
    scene.deploy_small(&["queued", "ordered"]).await?;
    let [first, second] = scene.stack.control_planes() else { panic!("two control planes") };
    // Only the first one is there to begin.
    second.stop()?;
    let at_work = scene.occupy("at-work").await?;
    scene.until_receipt(&at_work, "running").await?;
    let cut = cut_acting(&scene, Moment::BeforePassingOn)?;
    let ordered = scene.ask(&scene.restart("ordered")).await?;
    scene.until_state(&ordered, "running").await?;
    let claims = HeldClaims::take(&scene.stack).await?;
    let queued = scene.ask(&scene.scale("queued", 2)).await?;

    first.kill()?;
    claims.release().await?;
    drop(cut);
    second.cont()?;
    let Scene { stack, client, admin } = scene;
    let (client, admin) = (client.at(stack.control_plane(1).url()), admin.at(stack.control_plane(1).url()));
    let scene = Scene { stack, client, admin };

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
