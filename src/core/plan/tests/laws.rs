//! Laws that hold for every policy on every Deployment (1,024 generated cases each).

use json_patch::PatchOperation;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::generate;
use super::support::{
    check_laws, deployment, foreign_part, plan_for, policy, refused, server_defaults, without_empty_annotations,
};
use crate::api::WhenAlreadySet;
use crate::api::workload_health::HeldField;
use crate::core::plan::{Field, Input, Surroundings, declared_hash, plan, rode_along};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    /// A second plan is empty, also on what the server makes of the first; the grace period is never lowered; never two
    /// handlers; foreign fields stay byte-equal; a release gives the original back; a crash at any point loses nothing.
    #[test]
    fn one_policy_keeps_all_laws(policy in generate::policy(), deployment in generate::deployment()) {
        check_laws("generated", &policy, &deployment);
    }

    #[test]
    fn keep_never_changes_a_probe_or_hook_of_the_workload(mut policy in generate::policy(), deployment in generate::deployment()) {
        policy.when_already_set = WhenAlreadySet::Keep;
        let plan = plan_for(Some(&policy), &deployment, &[]);
        for change in &plan.changes {
            let raised = matches!(change.field, Field::TerminationGracePeriodSeconds | Field::ProgressDeadlineSeconds);
            let unset = change.from.as_ref().is_none_or(|value| *value == json!(0));
            prop_assert!(raised || unset, "{}", change.name());
            prop_assert!(change.to.is_some());
        }
    }

    #[test]
    fn one_policy_after_another_and_a_release_give_the_original_back(
        first in generate::policy(),
        second in generate::policy(),
        written in generate::deployment(),
    ) {
        let original = server_defaults(&written);
        let mut live = original.clone();
        let mut held: Vec<HeldField> = vec![];
        for policy in [Some(&first), Some(&second), None] {
            let plan = plan_for(policy, &live, &held);
            live = server_defaults(&plan.apply_to(&live).unwrap());
            held = plan.held.clone();
            prop_assert_eq!(refused(&live), None);
            prop_assert_eq!(foreign_part(&live), foreign_part(&original));
            let again = plan_for(policy, &live, &held);
            prop_assert!(again.is_empty(), "{}", again.patch());
        }
        prop_assert_eq!(live, original);
    }

    /// Also while a write is on its way, landed or not, and whatever the policy was before.
    #[test]
    fn no_policy_changes_what_a_workload_declares(
        first in generate::policy(),
        second in generate::policy(),
        written in generate::deployment(),
    ) {
        let mut live = server_defaults(&written);
        let declared = declared_hash(&live, &[]);
        let mut held: Vec<HeldField> = vec![];
        for policy in [Some(&first), Some(&second), None] {
            let plan = plan_for(policy, &live, &held);
            let on_its_way = plan.held_while_writing();
            prop_assert_eq!(&declared_hash(&live, &on_its_way), &declared, "before the write");
            live = server_defaults(&plan.apply_to(&live).unwrap());
            prop_assert_eq!(&declared_hash(&live, &on_its_way), &declared, "after the write");
            held = plan.held.clone();
            prop_assert_eq!(&declared_hash(&live, &held), &declared);
        }
    }

    #[test]
    fn what_a_user_changes_of_a_probe_is_declared(policy in generate::policy(), deployment in generate::deployment(), seed in any::<prop::sample::Index>()) {
        let mut live = server_defaults(&deployment);
        let plan = plan_for(Some(&policy), &live, &[]);
        let before = declared_hash(&live, &[]);
        live = server_defaults(&plan.apply_to(&live).unwrap());
        let containers = live["spec"]["template"]["spec"]["containers"].as_array().map_or(0, Vec::len);
        prop_assume!(containers > 0);
        let own = json!({"tcpSocket": {"port": 4711}, "periodSeconds": 17});
        live["spec"]["template"]["spec"]["containers"][seed.index(containers)]["readinessProbe"] = own;
        prop_assert_ne!(declared_hash(&server_defaults(&live), &plan.held), before);
    }

    #[test]
    fn the_result_does_not_depend_on_the_policy_before(
        first in generate::policy(),
        second in generate::policy(),
        written in generate::deployment(),
    ) {
        let mut original = server_defaults(&written);
        // Live, and written by an update: a number that is declared would be kept on one way and given back on the other.
        original["metadata"]["uid"] = json!("u");
        let detour = plan_for(Some(&first), &original, &[]);
        let live = server_defaults(&detour.apply_to(&original).unwrap());
        let there = plan_for(Some(&second), &live, &detour.held);
        let straight = plan_for(Some(&second), &original, &[]);
        let end = |plan: &crate::core::plan::Plan, from: &Value| without_empty_annotations(server_defaults(&plan.apply_to(from).unwrap()));
        prop_assert_eq!(end(&there, &live), end(&straight, &original));
        prop_assert_eq!(there.held, straight.held);
    }

    #[test]
    fn what_a_user_changes_is_theirs(policy in generate::policy(), deployment in generate::deployment(), seed in any::<prop::sample::Index>()) {
        let first = plan_for(Some(&policy), &deployment, &[]);
        let probes: Vec<_> = first.changes.iter().filter(|change| Field::PROBES.contains(&change.field)).collect();
        prop_assume!(!probes.is_empty());
        let change = probes[seed.index(probes.len())];
        let mut live = server_defaults(&first.apply_to(&deployment).unwrap());
        let theirs = json!({"tcpSocket": {"port": 4711}});
        *live.pointer_mut(&change.path).unwrap() = theirs;
        let live = server_defaults(&live);
        let next = plan_for(Some(&policy), &live, &first.held);
        let after = server_defaults(&next.apply_to(&live).unwrap());
        if policy.when_already_set == WhenAlreadySet::Keep {
            prop_assert_eq!(after.pointer(&change.path), live.pointer(&change.path));
            // Neither the lost ledger entry nor the old marker takes it back later.
            prop_assert!(plan_for(Some(&policy), &after, &next.held).is_empty());
            let release = plan_for(None, &after, &next.held).apply_to(&after).unwrap();
            prop_assert_eq!(release.pointer(&change.path), live.pointer(&change.path));
        } else {
            let release = plan_for(None, &after, &next.held).apply_to(&after).unwrap();
            prop_assert_eq!(release.pointer(&change.path), live.pointer(&change.path));
        }
    }

    #[test]
    fn the_json_patch_crate_comes_to_the_same_result(policy in generate::policy(), deployment in generate::deployment()) {
        let plan = plan_for(Some(&policy), &deployment, &[]);
        let mut patch = plan.patch();
        patch.0.retain(|operation| !matches!(operation, PatchOperation::Test(test) if test.value.is_null()));
        let mut result = deployment.clone();
        json_patch::patch(&mut result, &patch).unwrap();
        prop_assert_eq!(result, plan.apply_to(&deployment).unwrap());
    }

    #[test]
    fn a_patch_refuses_a_deployment_that_has_moved_on(policy in generate::policy(), deployment in generate::deployment()) {
        let plan = plan_for(Some(&policy), &deployment, &[]);
        prop_assume!(!plan.is_empty());
        // The same patch again: every field that it found absent is now there.
        let after = plan.apply_to(&deployment).unwrap();
        prop_assert!(plan.apply_to(&after).is_err());
        let elsewhere = plan.apply_to(&json!({}));
        prop_assert!(elsewhere.is_err());
    }

    #[test]
    fn the_status_fits_its_schema(policy in generate::policy(), deployment in generate::deployment()) {
        let plan = plan_for(Some(&policy), &deployment, &[]);
        let status = plan.to_status();
        let text = serde_json::to_string(&status).unwrap();
        prop_assert!(!text.contains("hush") && !text.contains("/tmp/ok"), "{}", text);
        prop_assert!(status.findings.iter().all(|finding| finding.message.chars().count() <= 512 && finding.message.ends_with('.')));
        prop_assert!(!text.chars().any(char::is_control));
    }

    #[test]
    fn what_rode_along_unseen_is_given_back_as_if_it_were_remembered(policy in generate::policy(), written in generate::deployment()) {
        let original = server_defaults(&written);
        let plan = plan_for(Some(&policy), &original, &[]);
        let mut live = server_defaults(&plan.apply_to(&original).unwrap());
        for held in &plan.held {
            let prefix = if held.container.is_empty() { String::new() } else { format!("{}.", held.container) };
            if let Some(text) = &held.original {
                live["metadata"]["annotations"][format!("{prefix}original.gracekeeper.dev/{}", held.field)] = json!(text);
            }
            live["metadata"]["annotations"]["gracekeeper.dev/filled-by"] = json!("web/shop/u/1");
        }
        let unseen = rode_along(&live);
        prop_assert_eq!(unseen.is_empty(), plan.held.is_empty());
        let release = plan_for(None, &live, &unseen);
        prop_assert_eq!(release.patch(), plan_for(None, &live, &[]).patch());
        let released = without_empty_annotations(release.apply_to(&live).unwrap());
        prop_assert_eq!(server_defaults(&released), without_empty_annotations(original));
    }

    /// Whatever is broken, the plan is made, and its patch fits the Deployment that it was made for.
    #[test]
    fn no_json_makes_a_plan_panic(
        policy in generate::policy(),
        mut deployment in generate::deployment(),
        junk in generate::anything(),
        place in any::<prop::sample::Index>(),
        marker in "[a-zP/,]{0,40}",
        release in any::<bool>(),
    ) {
        let places = generate::pointers(&deployment);
        *deployment.pointer_mut(&places[place.index(places.len())]).unwrap() = junk.clone();
        if let Some(annotations) = deployment.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.insert("gracekeeper.dev/filled".into(), json!(marker));
        }
        let held = [HeldField { container: "app".into(), field: "preStop".into(), value: junk.to_string(), original: Some(marker) }];
        let policy = Some(&policy).filter(|_| !release);
        let plan = plan_for(policy, &deployment, &held);
        let after = plan.apply_to(&deployment).unwrap_or_else(|error| panic!("{error}: {}", plan.patch()));
        let second = plan_for(policy, &after, &plan.held);
        prop_assert!(second.is_empty(), "{}\n{}", plan.patch(), second.patch());
        let _ = (plan_for(policy, &junk, &held), rode_along(&deployment), rode_along(&junk));
        let _ = (plan.to_status(), plan.hash(), plan.summary());
    }
}

#[test]
fn a_thousand_containers_are_planned_and_the_status_stays_bounded() {
    let containers: Vec<Value> = (0..1000)
        .map(|index| json!({"name": format!("c-{index}"), "image": "x:1", "readinessProbe": {"tcpSocket": {"port": "no"}}}))
        .collect();
    let deployment = json!({"metadata": {"name": "wide"}, "spec": {"template": {
        "metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "c-999"}}, "spec": {"containers": containers}}}});
    let entries: Vec<Value> = (0..16)
        .map(|index| json!({"name": format!("c-{}", index * 60), "probes": {"liveness": {"grpc": {"port": 1}}, "startup": {"grpc": {"port": 1}},
            "readiness": {"grpc": {"port": 1}}}, "preStop": {"exec": {"command": ["x"]}}}))
        .collect();
    let spec = json!({"selector": {}, "whenAlreadySet": "Replace", "containers": entries,
        "shutdown": {"drainSeconds": 5, "finishSeconds": 5}});
    let policy: crate::api::HealthPolicySpec = serde_json::from_value(spec).unwrap();
    let (first, after) = check_laws("wide", &policy, &deployment);
    // Exec hooks of unknown duration: 5 + 5 + 2 is within the default grace period.
    assert_eq!(first.changes.len(), 64);
    let status = first.to_status();
    assert_eq!((status.changes.len(), status.changes_not_listed), (64, 0));
    assert_eq!(status.findings.len(), 32);
    assert!(status.findings_not_listed > 1900, "{}", status.findings_not_listed);
    assert_eq!(first.timings_status().len(), 16);
    assert_eq!(first.timings_status()[0].container, "c-0");
    let surroundings = Surroundings::default();
    let release = plan(&Input { policy: None, deployment: &after, held: &first.held, surroundings: &surroundings });
    assert_eq!(release.changes.len(), 64);
}

#[test]
fn writes_that_fail_again_and_again_do_not_make_the_ledger_grow() {
    let before = deployment("containers: [{name: app}]");
    let mut held = vec![];
    for period in 1..50 {
        let probe = format!("containers: [{{probes: {{liveness: {{grpc: {{port: 1}}, periodSeconds: {period}}}}}}}]");
        held = plan_for(Some(&policy(&probe)), &before, &held).held_while_writing();
    }
    assert_eq!(held.len(), 3);
    // The newest come first: the last write may still have arrived.
    assert!(held[0].value.contains(":49") && held[1].value.contains(":48"), "{held:?}");
}
