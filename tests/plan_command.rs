//! Runs `gracekeeper plan` as people and CI jobs do.

#![allow(clippy::unwrap_used)] // clippy knows tests by #[test], not their helpers

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const POLICY: &str = "
apiVersion: gracekeeper.dev/v1alpha1
kind: HealthPolicy
metadata: {name: web}
spec:
  selector: {matchLabels: {tier: web}}
  mode: Enforce
  containers: [{probes: {readiness: {httpGet: {path: /readyz, port: http}}}}]
  shutdown: {drainSeconds: 10, finishSeconds: 30}
";
const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {tier: web}}
spec:
  replicas: 2
  template:
    spec:
      containers: [{name: app, image: 'shop:1', ports: [{name: http, containerPort: 8080}]}]
";

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn plan(args: &[&str], stdin: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gracekeeper"))
        .arg("plan")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("deeper")).unwrap();
        Self(path)
    }

    fn with(self, name: &str, text: &str) -> Self {
        fs::write(self.0.join(name), text).unwrap();
        self
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn changes_are_shown_as_a_diff_and_exit_with_1() {
    let run = plan(&["-f", "-"], &format!("{POLICY}\n---\n{DEPLOYMENT}"));
    assert_eq!((run.code, run.err.as_str()), (1, ""), "{}", run.out);
    for part in [
        "default/shop  policy web (Enforce)  restarts pods",
        "+         lifecycle:",
        "+             path: /readyz",
        "+       terminationGracePeriodSeconds: 42",
        "DRAIN   FINISH  GONE AFTER",
        "10-12s  32s     44s",
        "1 Deployment: 1 to change (1 restarts pods), 0 unchanged; 0 findings",
    ] {
        assert!(run.out.contains(part), "{part}\n{}", run.out);
    }
    assert!(!run.out.contains('\u{1b}'), "no colours into a pipe");
}

#[test]
fn folders_are_read_recursively_and_lists_and_json_too() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        serde_saphyr::from_str::<Value>(DEPLOYMENT).unwrap(), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}]});
    let folder = Folder::new("folders")
        .with("policy.yaml", POLICY)
        .with("deeper/list.json", &list.to_string())
        .with("deeper/notes.txt", "not: [yaml");
    let run = plan(&["-f", folder.path(), "-o", "json"], "");
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(run.code, 1);
    assert_eq!(
        report["summary"],
        json!({"policies": 1, "deployments": 1, "toChange": 1, "restartPods": 1, "unchanged": 0, "findings": 0, "errors": 0, "warnings": 0})
    );
    assert_eq!(report["ignoredObjects"], 1);
    let shop = &report["deployments"][0];
    assert_eq!(shop["policy"], json!({"name": "web", "mode": "Enforce", "others": []}));
    assert_eq!(shop["changes"][0]["path"], "/spec/template/spec/containers/0/readinessProbe");
    assert_eq!(shop["timings"][0]["drainSeconds"], 10);
    assert_eq!(shop["timings"][0]["shutdownSeconds"], 44, "the kubelet begins up to 2 s late");
}

#[test]
fn the_patch_makes_the_next_plan_empty() {
    let both = format!("{POLICY}\n---\n{DEPLOYMENT}");
    let run = plan(&["-f", "-", "-o", "patch"], &both);
    let patches: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(patches[0]["name"], "shop");
    let mut operations = patches[0]["patch"].clone();
    operations.as_array_mut().unwrap().retain(|each| each["op"] != "test");
    let mut deployment: Value = serde_saphyr::from_str(DEPLOYMENT).unwrap();
    json_patch::patch(&mut deployment, &serde_json::from_value::<json_patch::Patch>(operations).unwrap()).unwrap();
    let run = plan(&["-f", "-"], &format!("{POLICY}\n---\n{deployment}"));
    assert_eq!(run.code, 0, "{}", run.out);
    assert!(run.out.contains("0 to change, 1 unchanged"), "{}", run.out);
}

#[test]
fn bad_input_names_file_document_object_and_field_all_at_once() {
    let broken = format!(
        "{}\n---\n{{}}",
        POLICY.replace("port: http", "port: HTTP").replace("mode: Enforce", "mode: Enforce\n  priorty: 1")
    );
    let rules = POLICY.replace("drainSeconds: 10", "drainSeconds: 10, x: 1");
    let folder = Folder::new("bad")
        .with("a.yaml", &format!("{DEPLOYMENT}\n---\n{broken}"))
        .with("b.yaml", &rules.replace("name: web", "name: other"))
        .with("c.yaml", "spec: [1, 2\nkind: x\n")
        .with("d.yaml", &DEPLOYMENT.replace("containers", "contaners").replace("shop", "two"));
    let run = plan(&["-f", folder.path(), "-f", "/does/not/exist.yaml"], "");
    assert_eq!((run.code, run.out.as_str()), (2, ""));
    let root = folder.path();
    for part in [
        format!("error: {root}/a.yaml, document 2: HealthPolicy default/web: spec.priorty: unknown field"),
        format!("error: {root}/a.yaml, document 3: not a Kubernetes object: apiVersion and kind must be set"),
        format!("error: {root}/b.yaml, document 1: HealthPolicy default/other: spec.shutdown.x: unknown field"),
        format!("error: {root}/c.yaml, document 1: line "),
        format!(
            "error: {root}/d.yaml, document 1: Deployment default/two: spec.template.spec.containers: must be a list"
        ),
        "error: /does/not/exist.yaml: ".to_owned(),
    ] {
        assert!(run.err.contains(&part), "{part}\n{}", run.err);
    }
    let run = plan(&["-f", "-"], &POLICY.replace("port: http", "port: HTTP"));
    assert_eq!(run.code, 2);
    let rule = "error: -, document 1: HealthPolicy default/web: spec.containers[0].probes.readiness.httpGet.port: port must be a number from 1 to 65535";
    assert!(run.err.starts_with(rule), "{}", run.err);
}

#[test]
fn fail_on_decides_which_findings_count() {
    let odd = DEPLOYMENT.replace("replicas: 2", "replicas: 1").replace("tier: web", "tier: other");
    for (args, code) in
        [(&["-f", "-"][..], 0), (&["-f", "-", "--fail-on", "warning"], 0), (&["-f", "-", "--fail-on", "info"], 1)]
    {
        assert_eq!(plan(args, &odd).code, code, "{args:?}");
    }
    let both = format!("{POLICY}\n---\n{DEPLOYMENT}");
    assert_eq!(plan(&["-f", "-", "--fail-on", "never"], &both).code, 0);
}

#[test]
fn the_namespace_and_the_priority_decide_who_owns() {
    let stronger =
        POLICY.replace("name: web", "name: strong").replace("mode: Enforce", "mode: Suspended\n  priority: 1");
    let elsewhere = POLICY.replace("name: web", "name: web, namespace: shop");
    let run = plan(&["-f", "-"], &format!("{POLICY}\n---\n{stronger}\n---\n{DEPLOYMENT}"));
    assert_eq!(run.code, 0, "{}", run.out);
    assert!(run.out.contains("policy strong (Suspended)  suspended, nothing is written"), "{}", run.out);
    assert!(run.out.contains("also selected by weaker policies: web"), "{}", run.out);
    let run = plan(&["-f", "-"], &format!("{elsewhere}\n---\n{DEPLOYMENT}"));
    assert!(run.out.contains("default/shop  no policy selects it"), "{}", run.out);
    let run = plan(&["-n", "shop", "-f", "-", "-o", "table"], &format!("{elsewhere}\n---\n{DEPLOYMENT}"));
    assert!(run.out.contains("shop       shop  web     Enforce  3"), "{}", run.out);
}

#[test]
fn a_manifest_does_not_drive_the_terminal() {
    let hostile = DEPLOYMENT.replace("'shop:1'", "\"shop:1\\u001b[2J\\u0007\"");
    let run = plan(&["-f", "-"], &format!("{POLICY}\n---\n{hostile}"));
    assert!(!run.out.contains('\u{1b}') && !run.out.contains('\u{7}'), "{:?}", run.out);
}

#[test]
fn what_the_operator_holds_is_taken_from_a_workload_health() {
    let live = DEPLOYMENT.replace("name: app,", "name: app, readinessProbe: {httpGet: {path: /old, port: http}},");
    let health = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "WorkloadHealth", "metadata": {"name": "shop"},
        "status": {"heldFields": [{"container": "app", "field": "readinessProbe", "value": "{\"httpGet\":{\"path\":\"/old\",\"port\":\"http\"}}"}]}});
    let changes = |input: &str| {
        let report: Value = serde_json::from_str(&plan(&["-f", "-", "-o", "json"], input).out).unwrap();
        report["deployments"][0]["changes"].as_array().unwrap().len()
    };
    assert_eq!(changes(&format!("{POLICY}\n---\n{live}")), 2, "foreign: kept");
    assert_eq!(changes(&format!("{POLICY}\n---\n{live}\n---\n{health}")), 3, "ours: updated");
}

#[test]
fn yaml_output_says_the_same_as_json() {
    let both = format!("{POLICY}\n---\n{DEPLOYMENT}");
    let yaml: Value = serde_saphyr::from_str(&plan(&["-f", "-", "-o", "yaml"], &both).out).unwrap();
    let json: Value = serde_json::from_str(&plan(&["-f", "-", "-o", "json"], &both).out).unwrap();
    assert_eq!(yaml, json);
}

#[test]
fn nothing_to_read_is_an_error_so_that_a_failed_renderer_in_a_pipe_is_noticed() {
    let run = plan(&["-f", "-"], "");
    assert_eq!((run.code, run.out.trim()), (2, ""));
    assert_eq!(run.err.trim(), "error: -: no HealthPolicy and no Deployment was read");
}

#[test]
fn a_deployment_of_an_old_or_broken_shape_is_refused() {
    let old = "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: web}\n";
    assert_eq!(plan(&["-f", "-"], old).code, 2);
    let odd = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: three, template: {spec: {containers: [{name: a}]}}}\n";
    let run = plan(&["-f", "-"], odd);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("Deployment default/web: spec.replicas: must be a whole number"), "{}", run.err);
}
