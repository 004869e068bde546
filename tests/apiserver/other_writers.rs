//! The tools that wrote the Deployment write it again after us: what they say, what is lost (nothing of theirs), how
//! often the pods restart. Without ride-along admission: where that would change an answer, the comment says so.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::namespace::{condition, deployment, pod, web_policy};
use crate::support::{Operator, TestNamespace, Writer, eventually, stays};

/// A manifest with a bit of everything, as a user has it in Git.
fn manifest(name: &str, container: &str, image: &str) -> Value {
    let app = json!({
        "name": container, "image": image,
        "args": ["--verbose"],
        "env": [{"name": "LEVEL", "value": "info"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    });
    let mut manifest = deployment(name, 1, vec![app]);
    manifest["spec"]["template"]["spec"]["volumes"] = json!([{"name": "scratch", "emptyDir": {}}]);
    manifest["spec"]["template"]["metadata"]["annotations"] = json!({"team": "shop"});
    manifest
}

fn of(writer: Writer) -> Value {
    manifest(writer.name(), "app", "example.com/app:1")
}

fn with_liveness(mut manifest: Value, probe: Value) -> Value {
    manifest["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = probe;
    manifest
}

fn liveness(deployment: &Value) -> &Value {
    &pod(deployment)["containers"][0]["livenessProbe"]
}

/// Waits until the operator has looked at the newest generation, is content with it, and its rollout is complete.
async fn in_sync(ns: &TestNamespace, name: &str) -> Value {
    eventually(&format!("{name} is in sync and rolled out"), || async {
        let object = ns.settled(name).await;
        let health = serde_json::to_value(ns.healths().get_opt(name).await.unwrap()?).unwrap();
        let seen = health["status"]["template"]["generation"] == object["metadata"]["generation"];
        (seen && condition(&health, "Compliant")["reason"] == "InSync").then_some(object)
    })
    .await
}

/// The writer creates the Deployment, and the policy that is there is enforced on it.
async fn created(ns: &TestNamespace, writer: Writer, manifest: &Value) -> Value {
    writer.must_write(ns, manifest);
    let object = in_sync(ns, writer.name()).await;
    assert_ours(writer, &object);
    assert_theirs(writer, &object, manifest);
    object
}

/// The main container has everything that `web_policy` fills.
fn assert_ours(writer: Writer, object: &Value) {
    let app = &pod(object)["containers"][0];
    assert_eq!(app["livenessProbe"]["httpGet"]["path"], "/livez", "{writer:?}");
    assert_eq!(app["readinessProbe"]["httpGet"]["path"], "/readyz", "{writer:?}");
    assert_eq!(app["startupProbe"]["failureThreshold"], 24, "{writer:?}");
    assert_eq!(app["lifecycle"]["preStop"]["sleep"]["seconds"], 10, "{writer:?}");
    assert_eq!(pod(object)["terminationGracePeriodSeconds"], 37, "{writer:?}");
}

/// Whatever the manifest says is so.
fn assert_theirs(writer: Writer, object: &Value, manifest: &Value) {
    let lost = lost(&object["spec"], &manifest["spec"], "/spec");
    assert!(lost.is_empty(), "{writer:?}: not as in the manifest: {lost:?}");
}

fn lost(there: &Value, wanted: &Value, path: &str) -> Vec<String> {
    match wanted {
        Value::Object(map) => {
            map.iter().flat_map(|(key, value)| lost(&there[key], value, &format!("{path}/{key}"))).collect()
        }
        Value::Array(items) if there.as_array().is_some_and(|array| array.len() == items.len()) => {
            let numbered = items.iter().enumerate();
            numbered.flat_map(|(index, item)| lost(&there[index], item, &format!("{path}/{index}"))).collect()
        }
        _ if there == wanted => Vec::new(),
        _ => vec![format!("{path}: {there} instead of {wanted}")],
    }
}

fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap()
}

/// Neither the Deployment changes any more, nor has it more revisions than this.
async fn comes_to_rest(ns: &TestNamespace, name: &str, at: i64, revisions: usize) {
    stays(&format!("{name} rests"), Duration::from_secs(2), || async { generation(&ns.get(name).await) == at }).await;
    assert_eq!(ns.revisions(name).await, revisions, "revisions of {name}");
}

async fn scene(topic: &str, spec: Value) -> (TestNamespace, Operator) {
    let ns = TestNamespace::new(topic).await;
    let operator = Operator::start(&ns).await;
    ns.policy("web", spec).await;
    (ns, operator)
}

async fn findings(ns: &TestNamespace, name: &str) -> Vec<String> {
    let health = serde_json::to_value(ns.healths().get(name).await.unwrap()).unwrap();
    let all = health["status"]["plan"]["findings"].as_array().cloned().unwrap_or_default();
    all.iter().map(|finding| finding["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_unchanged_apply_succeeds_and_restarts_nothing() {
    let (ns, _operator) = scene("unchanged", web_policy()).await;
    join_all(Writer::MERGING.map(async |writer| {
        let before = created(&ns, writer, &of(writer)).await;
        writer.must_write(&ns, &of(writer));
        comes_to_rest(&ns, writer.name(), generation(&before), 2).await;
        let after = ns.get(writer.name()).await;
        assert_eq!(after["spec"], before["spec"], "{writer:?}");
    }))
    .await;
}

#[tokio::test]
async fn an_image_change_is_one_rollout_in_which_our_fields_stay() {
    let (ns, _operator) = scene("image", web_policy()).await;
    join_all(Writer::MERGING.map(async |writer| {
        let before = created(&ns, writer, &of(writer)).await;
        let next = manifest(writer.name(), "app", "example.com/app:2");
        writer.must_write(&ns, &next);
        let after = in_sync(&ns, writer.name()).await;
        assert_theirs(writer, &after, &next);
        assert_ours(writer, &after);
        comes_to_rest(&ns, writer.name(), generation(&before) + 1, 3).await;
    }))
    .await;
}

#[tokio::test]
async fn our_field_manager_owns_nothing_but_what_a_policy_sets() {
    let (ns, _operator) = scene("owned", web_policy()).await;
    join_all(Writer::MERGING.map(async |writer| {
        let object = created(&ns, writer, &of(writer)).await;
        let managers = object["metadata"]["managedFields"].as_array().unwrap();
        let ours: Vec<&Value> = managers.iter().filter(|entry| entry["manager"] == "gracekeeper").collect();
        assert_eq!(ours.len(), 1, "{writer:?}: {ours:?}");
        assert_eq!(ours[0]["operation"], "Update", "{writer:?}");
        let fields = &ours[0]["fieldsV1"];
        let annotations: Vec<&String> =
            fields["f:metadata"]["f:annotations"].as_object().unwrap().keys().filter(|key| *key != ".").collect();
        assert_eq!(annotations, ["f:gracekeeper.dev/filled"], "{writer:?}");
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(keys(fields), "f:metadata f:spec", "{writer:?}");
        assert_eq!(keys(&fields["f:spec"]), "f:template", "{writer:?}");
        let spec = &fields["f:spec"]["f:template"]["f:spec"];
        assert_eq!(keys(spec), "f:containers f:terminationGracePeriodSeconds", "{writer:?}");
        assert_eq!(
            keys(&spec["f:containers"]["k:{\"name\":\"app\"}"]),
            "f:lifecycle f:livenessProbe f:readinessProbe f:startupProbe",
            "{writer:?}"
        );
    }))
    .await;
}

// Row 6: a field that was written by an update does not keep its container alive.
#[tokio::test]
async fn a_renamed_container_goes_cleanly_and_its_successor_gets_our_fields() {
    let (ns, _operator) = scene("renamed", web_policy()).await;
    join_all(Writer::MERGING.map(async |writer| {
        created(&ns, writer, &of(writer)).await;
        let next = manifest(writer.name(), "main", "example.com/app:1");
        writer.must_write(&ns, &next);
        let after = in_sync(&ns, writer.name()).await;
        assert_theirs(writer, &after, &next);
        assert_ours(writer, &after);
        let marker = after["metadata"]["annotations"]["gracekeeper.dev/filled"].as_str().unwrap();
        assert!(marker.contains("main/livenessProbe") && !marker.contains("app/"), "{writer:?}: {marker}");
        // One rollout is the user's, one is ours: ride-along would save the second.
        comes_to_rest(&ns, writer.name(), generation(&after), 4).await;
    }))
    .await;
}

#[tokio::test]
async fn a_removed_container_goes_cleanly_and_the_policy_says_that_it_is_missing() {
    let mut spec = web_policy();
    spec["containers"][0]["name"] = json!("app");
    let readiness = json!({"httpGet": {"path": "/side", "port": 9090}});
    spec["containers"].as_array_mut().unwrap().push(json!({"name": "side", "probes": {"readiness": readiness}}));
    let (ns, _operator) = scene("removed", spec).await;
    join_all(Writer::MERGING.map(async |writer| {
        let alone = of(writer);
        let mut both = alone.clone();
        let side = json!({"name": "side", "image": "example.com/side:1"});
        both["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(side);
        let before = created(&ns, writer, &both).await;
        assert_eq!(pod(&before)["containers"][1]["readinessProbe"]["httpGet"]["path"], "/side", "{writer:?}");

        writer.must_write(&ns, &alone);
        ns.compliant(writer.name(), "MissingContainer").await;
        let after = ns.settled(writer.name()).await;
        assert_theirs(writer, &after, &alone);
        assert_ours(writer, &after);
        assert_eq!(ns.revisions(writer.name()).await, 3, "{writer:?}");
    }))
    .await;
}

// Rows 2 and 7. Ride-along admission is what can take our handler out within the user's own request.
#[tokio::test]
async fn a_handler_of_another_type_next_to_ours_is_refused_and_named_and_harms_nothing() {
    let (ns, _operator) = scene("othertype", web_policy()).await;
    join_all(Writer::MERGING.map(async |writer| {
        let before = created(&ns, writer, &of(writer)).await;
        let own = with_liveness(of(writer), json!({"tcpSocket": {"port": 8080}}));
        let error = writer.write(&ns, &own).unwrap_err();
        assert!(error.contains("livenessProbe.tcpSocket"), "{writer:?}: {error}");
        assert!(error.contains("may not specify more than 1 handler type"), "{writer:?}: {error}");
        comes_to_rest(&ns, writer.name(), generation(&before), 2).await;

        // The probe is taken out of the manifest again: all is as before.
        writer.must_write(&ns, &of(writer));
        comes_to_rest(&ns, writer.name(), generation(&before), 2).await;
        assert_ours(writer, &ns.get(writer.name()).await);
    }))
    .await;
}

#[tokio::test]
async fn a_handler_of_the_same_type_wins_by_client_side_apply_and_ours_comes_back_after_it() {
    let (ns, _operator) = scene("sametype", web_policy()).await;
    join_all([Writer::ClientSideApply, Writer::HelmClientSide].map(async |writer| {
        created(&ns, writer, &of(writer)).await;
        let own = with_liveness(of(writer), json!({"httpGet": {"path": "/own", "port": "http"}}));
        writer.must_write(&ns, &own);
        let after = in_sync(&ns, writer.name()).await;
        assert_theirs(writer, &after, &own);
        assert!(findings(&ns, writer.name()).await.contains(&"KeptExisting".into()), "{writer:?}");
        // Strategic merge: what their probe leaves out keeps our values.
        assert_eq!(liveness(&after)["failureThreshold"], 6, "{writer:?}");
        assert_eq!(ns.revisions(writer.name()).await, 3, "{writer:?}: one rollout, theirs");
        let events = ns.cluster.kubectl(&["get", "events", "-n", &ns.name, "-o", "jsonpath={.items[*].message}"]);
        assert!(!events.contains("0 fields"), "a marker that is put right is no event: {events}");

        writer.must_write(&ns, &of(writer));
        ns.until(writer.name(), "our probe is back", |d| liveness(d)["httpGet"]["path"] == "/livez").await;
        assert_ours(writer, &in_sync(&ns, writer.name()).await);
    }))
    .await;
}

// Row 9, the second half.
#[tokio::test]
async fn a_handler_of_the_same_type_conflicts_by_server_side_apply_and_names_us_and_the_field() {
    let (ns, _operator) = scene("conflict", web_policy()).await;
    join_all(Writer::SERVER_SIDE.map(async |writer| {
        let before = created(&ns, writer, &of(writer)).await;
        let own = with_liveness(of(writer), json!({"httpGet": {"path": "/own", "port": "http"}}));
        let error = writer.write(&ns, &own).unwrap_err();
        assert!(error.contains("conflict with \"gracekeeper\""), "{writer:?}: {error}");
        assert!(error.contains("livenessProbe.httpGet.path"), "{writer:?}: {error}");
        writer.must_write(&ns, &of(writer));
        comes_to_rest(&ns, writer.name(), generation(&before), 2).await;
    }))
    .await;
}

#[tokio::test]
async fn a_probe_that_was_forced_in_by_server_side_apply_and_taken_out_again_leaves_ours_and_no_wreck() {
    let (ns, _operator) = scene("forced", web_policy()).await;
    let writer = Writer::ServerSideApply;
    created(&ns, writer, &of(writer)).await;
    let own = with_liveness(of(writer), json!({"httpGet": {"path": "/own", "port": "http"}}));
    let forced = ["apply", "--server-side", "--force-conflicts", "-n", &ns.name, "-f", "-"];
    ns.cluster.try_kubectl(&forced, &own.to_string()).unwrap();
    assert_theirs(writer, &in_sync(&ns, writer.name()).await, &own);

    writer.must_write(&ns, &of(writer));
    ns.until(writer.name(), "our probe is back", |d| liveness(d)["httpGet"]["path"] == "/livez").await;
    assert_ours(writer, &in_sync(&ns, writer.name()).await);
}

// Row 9, the first half.
#[tokio::test]
async fn a_manifest_that_takes_over_our_very_values_and_drops_them_again_restarts_nothing() {
    let (ns, _operator) = scene("shared", web_policy()).await;
    join_all(Writer::SERVER_SIDE.map(async |writer| {
        let before = created(&ns, writer, &of(writer)).await;
        let probe = json!({"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 10, "failureThreshold": 6});
        let mut same = with_liveness(of(writer), probe);
        same["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(37);
        writer.must_write(&ns, &same);
        comes_to_rest(&ns, writer.name(), generation(&before), 2).await;
        writer.must_write(&ns, &of(writer));
        comes_to_rest(&ns, writer.name(), generation(&before), 2).await;
        assert_ours(writer, &ns.get(writer.name()).await);
    }))
    .await;
}

// Rows 1 and 1b: our other fields are no obstacle to a change of the workload's own probe.
#[tokio::test]
async fn the_workloads_own_probe_may_change_its_type_and_go() {
    let (ns, _operator) = scene("ownprobe", web_policy()).await;
    join_all(Writer::MERGING.map(async |writer| {
        let http = with_liveness(of(writer), json!({"httpGet": {"path": "/own", "port": 8080}, "periodSeconds": 7}));
        writer.must_write(&ns, &http);
        assert_theirs(writer, &in_sync(&ns, writer.name()).await, &http);

        let tcp = with_liveness(of(writer), json!({"tcpSocket": {"port": 8080}, "periodSeconds": 7}));
        writer.must_write(&ns, &tcp);
        let after = in_sync(&ns, writer.name()).await;
        assert_theirs(writer, &after, &tcp);
        assert_eq!(liveness(&after).get("httpGet"), None, "{writer:?}");
        assert_eq!(pod(&after)["containers"][0]["readinessProbe"]["httpGet"]["path"], "/readyz", "{writer:?}");

        writer.must_write(&ns, &of(writer));
        ns.until(writer.name(), "the gap is filled", |d| liveness(d)["httpGet"]["path"] == "/livez").await;
        let after = in_sync(&ns, writer.name()).await;
        assert_ours(writer, &after);
        assert_eq!(liveness(&after).get("tcpSocket"), None, "{writer:?}");
    }))
    .await;
}

// Rows 3, 4 and 7. Replace over a manifest that sets the field is a fight that the next apply loses.
#[tokio::test]
async fn replacing_a_probe_breaks_the_next_apply_until_the_policy_keeps_and_gives_the_original_back() {
    let mut spec = web_policy();
    spec["whenAlreadySet"] = json!("Replace");
    let (ns, _operator) = scene("replacing", spec).await;
    let own = |writer| with_liveness(of(writer), json!({"tcpSocket": {"port": 8080}, "periodSeconds": 7}));
    join_all(Writer::MERGING.map(async |writer| {
        writer.must_write(&ns, &own(writer));
        let after = in_sync(&ns, writer.name()).await;
        assert_ours(writer, &after);
        assert_eq!(liveness(&after).get("tcpSocket"), None, "{writer:?}: never two handlers");
        let error = writer.write(&ns, &own(writer)).unwrap_err();
        if writer.is_server_side() {
            assert!(error.contains("conflict with \"gracekeeper\""), "{writer:?}: {error}");
        } else {
            assert!(error.contains("may not specify more than 1 handler type"), "{writer:?}: {error}");
        }
    }))
    .await;
    ns.policy("web", web_policy()).await;
    join_all(Writer::MERGING.map(async |writer| {
        ns.until(writer.name(), "the original is back", |d| liveness(d)["tcpSocket"]["port"] == 8080).await;
        let after = in_sync(&ns, writer.name()).await;
        assert_eq!(liveness(&after)["periodSeconds"], 7, "{writer:?}: the original, not the default");
        writer.must_write(&ns, &own(writer));
        comes_to_rest(&ns, writer.name(), generation(&after), 3).await;
    }))
    .await;
}

#[tokio::test]
async fn a_put_takes_our_fields_out_and_they_come_back() {
    let (ns, operator) = scene("put", web_policy()).await;
    let writer = Writer::Replace;
    let name = writer.name();
    let before = created(&ns, writer, &of(writer)).await;

    // Unchanged. The PUT and our answer each start a rollout; ride-along would save both.
    writer.must_write(&ns, &of(writer));
    ns.until(name, "ours are back", |d| liveness(d)["httpGet"]["path"] == "/livez").await;
    let after = in_sync(&ns, name).await;
    assert_ours(writer, &after);
    comes_to_rest(&ns, name, generation(&before) + 2, 2).await;

    // With another image.
    let next = manifest(name, "app", "example.com/app:2");
    writer.must_write(&ns, &next);
    ns.until(name, "ours are back", |d| liveness(d)["httpGet"]["path"] == "/livez").await;
    let after = in_sync(&ns, name).await;
    assert_theirs(writer, &after, &next);
    comes_to_rest(&ns, name, generation(&before) + 4, 4).await;
    if let Some(writes) = operator.audit().writes("deployments") {
        assert_eq!(writes.len(), 3, "{writes:?}");
    }

    // A third one within ten minutes is one too many: without ride-along this cannot be told from a fight.
    writer.must_write(&ns, &next);
    let health = ns.compliant(name, "Contended").await;
    let message = condition(&health, "Compliant")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("kubectl-replace"), "{message}");
    assert_theirs(writer, &ns.settled(name).await, &next);
}

#[tokio::test]
async fn a_put_with_a_probe_of_another_type_or_without_it_or_with_another_container_is_taken_as_it_is() {
    let (ns, _operator) = scene("putprobe", web_policy()).await;
    let writer = Writer::Replace;
    let name = writer.name();
    created(&ns, writer, &of(writer)).await;

    let own = with_liveness(of(writer), json!({"tcpSocket": {"port": 8080}}));
    writer.must_write(&ns, &own);
    let ready = |d: &Value| pod(d)["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz";
    ns.until(name, "our other fields are back", ready).await;
    let after = in_sync(&ns, name).await;
    assert_theirs(writer, &after, &own);
    assert_eq!(liveness(&after).get("httpGet"), None);
    assert!(findings(&ns, name).await.contains(&"KeptExisting".into()));

    let renamed = manifest(name, "main", "example.com/app:1");
    writer.must_write(&ns, &renamed);
    ns.until(name, "ours are back", |d| liveness(d)["httpGet"]["path"] == "/livez").await;
    let after = in_sync(&ns, name).await;
    assert_theirs(writer, &after, &renamed);
    assert_ours(writer, &after);
}

/// A manifest that sets the numbers which a policy would otherwise raise, and a policy that needs more.
fn declared(writer: Writer) -> Value {
    let mut manifest = of(writer);
    manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(30);
    manifest["spec"]["minReadySeconds"] = json!(1);
    manifest["spec"]["progressDeadlineSeconds"] = json!(120);
    manifest
}

fn demanding_policy() -> Value {
    let mut spec = web_policy();
    spec["rollout"] = json!({"minReadySeconds": 5, "bakeAfterSeconds": 1,
                            "patience": {"scheduleSeconds": 300, "pullSeconds": 300}});
    spec
}

#[tokio::test]
async fn numbers_that_a_manifest_declares_are_kept_so_that_its_next_apply_succeeds() {
    let (ns, _operator) = scene("declared", demanding_policy()).await;
    join_all([Writer::ClientSideApply, Writer::ServerSideApply, Writer::HelmServerSide].map(async |writer| {
        writer.must_write(&ns, &declared(writer));
        let before = in_sync(&ns, writer.name()).await;
        assert_theirs(writer, &before, &declared(writer));
        assert_eq!(liveness(&before)["httpGet"]["path"], "/livez", "{writer:?}: the rest is enforced");
        let found = findings(&ns, writer.name()).await;
        for reason in ["GraceTooShort", "KeptExisting"] {
            assert!(found.contains(&reason.into()), "{writer:?}: {reason} is not in {found:?}");
        }

        writer.must_write(&ns, &declared(writer));
        comes_to_rest(&ns, writer.name(), generation(&before), 2).await;

        let mut next = declared(writer);
        next["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/app:2");
        writer.must_write(&ns, &next);
        let after = in_sync(&ns, writer.name()).await;
        assert_theirs(writer, &after, &next);
        comes_to_rest(&ns, writer.name(), generation(&before) + 1, 3).await;

        // The manifest lets go of them: now the policy's numbers hold.
        writer.must_write(&ns, &of(writer));
        ns.until(writer.name(), "the grace period is raised", |d| pod(d)["terminationGracePeriodSeconds"] == 37).await;
        let after = in_sync(&ns, writer.name()).await;
        assert_ours(writer, &after);
        assert_eq!(after["spec"]["minReadySeconds"], 5, "{writer:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_number_that_a_manifest_begins_to_declare_conflicts_once_by_server_side_apply_and_names_us() {
    let (ns, _operator) = scene("begins", web_policy()).await;
    let writer = Writer::ServerSideApply;
    created(&ns, writer, &of(writer)).await;
    let mut next = of(writer);
    next["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(30);
    let error = writer.write(&ns, &next).unwrap_err();
    assert!(error.contains("conflict with \"gracekeeper\""), "{error}");
    assert!(error.contains("terminationGracePeriodSeconds"), "{error}");

    // Forced, as the error proposes: it is theirs from then on, and their unforced apply goes through.
    let forced = ["apply", "--server-side", "--force-conflicts", "-n", &ns.name, "-f", "-"];
    ns.cluster.try_kubectl(&forced, &next.to_string()).unwrap();
    let after = in_sync(&ns, writer.name()).await;
    assert_theirs(writer, &after, &next);
    assert!(findings(&ns, writer.name()).await.contains(&"GraceTooShort".into()));
    writer.must_write(&ns, &next);
    comes_to_rest(&ns, writer.name(), generation(&after), 3).await;
}

// Helm without server-side apply leaves no trace of what its manifest declares.
#[tokio::test]
async fn helm_without_server_side_apply_sets_a_raised_grace_period_back_at_each_upgrade() {
    let (ns, _operator) = scene("helmcsa", web_policy()).await;
    let writer = Writer::HelmClientSide;
    let mut own = of(writer);
    own["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(30);
    writer.must_write(&ns, &own);
    let before = in_sync(&ns, writer.name()).await;
    assert_eq!(pod(&before)["terminationGracePeriodSeconds"], 37);
    writer.must_write(&ns, &own);
    let at_least = generation(&before) + 2;
    ns.until(writer.name(), "raised once more", |d| {
        generation(d) >= at_least && pod(d)["terminationGracePeriodSeconds"] == 37
    })
    .await;
    assert_eq!(ns.revisions(writer.name()).await, 3);
}
