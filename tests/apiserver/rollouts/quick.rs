//! Releases follow each other before the gate is through with the first.

use std::time::Duration;

use serde_json::json;

use super::{Rig, manifest};
use crate::support::stays;

#[tokio::test]
async fn two_bad_versions_in_a_row_are_both_taken_out() {
    let rig = Rig::new("bad-twice", 3, json!({})).await;
    rig.release(&manifest(3, 2, "crash")).await;
    rig.says("Rolling", "Rolling").await;
    let second = rig.release(&manifest(3, 3, "image-pull")).await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(gate["rejected"].as_array().unwrap().last().unwrap()["reason"], "ImagePull");
    assert_eq!(rig.get().await["spec"]["template"], second["spec"]["template"]);
}

#[tokio::test]
async fn a_bad_version_that_comes_while_another_is_taken_back_is_taken_back_too() {
    let rig = Rig::new("bad-early", 10, json!({})).await;
    rig.release(&manifest(10, 2, "crash")).await;
    rig.passes_through("Restoring").await;
    let second = rig.release(&manifest(10, 3, "crash")).await;
    rig.passes_through("Rolling").await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(10).await;
    assert_eq!(gate["rejected"].as_array().unwrap().len(), 2);
    assert_eq!(rig.get().await["spec"]["template"], second["spec"]["template"]);
}

#[tokio::test]
async fn a_bad_version_right_after_a_good_one_goes_back_to_the_proven_one() {
    let rig = Rig::new("good-bad", 6, json!({})).await;
    rig.release(&manifest(6, 2, "")).await;
    rig.says("Rolling", "Rolling").await;
    rig.release(&manifest(6, 3, "crash")).await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(6).await;
    assert_eq!(gate["stable"]["replicaSet"], rig.stable.as_str());
    assert_eq!(gate["history"][0]["outcome"], "Superseded");
}

#[tokio::test]
async fn a_good_version_right_after_a_bad_one_passes() {
    let rig = Rig::new("bad-good", 3, json!({})).await;
    rig.release(&manifest(3, 2, "crash")).await;
    rig.says("Rolling", "Rolling").await;
    rig.release(&manifest(3, 3, "")).await;
    rig.another_is_proven().await;
    let web = rig.ns.settled("web").await;
    assert_eq!(web["spec"].get("paused"), None);
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "example.com/app:3");
    assert_eq!(rig.events("RolloutRestoring").await, 0);
}

#[tokio::test]
async fn a_bad_version_that_is_applied_again_and_again_meanwhile_is_taken_back_once() {
    let rig = Rig::new("resync-early", 10, json!({})).await;
    let bad = manifest(10, 2, "crash");
    let applied = rig.release(&bad).await;
    let sync = async {
        loop {
            rig.ns.apply(&bad).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let taken_back = async {
        rig.says("Restored", "Restored").await;
        rig.stable_has(10).await;
        stays("the stable version stays", Duration::from_secs(3), || async { rig.sizes().await == (10, 0) }).await;
    };
    tokio::select! {
        () = sync => {}
        () = taken_back => {}
    }
    assert_eq!(rig.events("RolloutRestoring").await, 1);
    let web = rig.get().await;
    assert_eq!((&web["spec"]["template"], &web["spec"]["paused"]), (&applied["spec"]["template"], &json!(true)));
}

#[tokio::test]
async fn a_held_version_that_is_applied_again_and_again_stays_held() {
    let (rig, _) = Rig::held("resync-held", 3).await;
    let writes = rig.writes();
    let bad = manifest(3, 2, "crash");
    stays("it is held", Duration::from_secs(4), || async {
        rig.ns.apply(&bad).await;
        rig.gate().await["state"] == "Held" && rig.is_paused().await
    })
    .await;
    assert_eq!(rig.writes(), writes);
    assert_eq!(rig.events("RolloutHeld").await, 1);
}
