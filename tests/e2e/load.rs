//! A pod that sends requests at a steady rate, and what became of those that were lost.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::shop::{self, create};
use crate::support::{TestNamespace, eventually};
use crate::world::{World, image};

/// A Service without a pod to send to is one for a second or more, which is hundreds of requests; the moment in which the node
/// has its old rules no more and its new ones not yet lasts for less than the time between two.
const AT_MOST_BY_THE_NODE: u64 = 2;

#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) ns: &'a TestNamespace,
    pub(crate) name: &'a str,
}

impl Client<'_> {
    /// Sends to this address, so many requests a second, for so long.
    pub(crate) async fn start(&self, address: &str, rate: u32, seconds: u32) {
        create(self.ns, ("", "v1", "Pod", "pods"), json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name},
            "spec": {"restartPolicy": "Never", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 15,
                "containers": [{"name": "load", "image": image("shop"), "imagePullPolicy": "IfNotPresent",
                    "args": ["load", address, "--rate", rate.to_string(), "--seconds", seconds.to_string()]}]},
        }))
        .await;
    }

    pub(crate) async fn sends(&self) {
        eventually("the client sends", || async { self.log().contains("sending").then_some(()) }).await;
    }

    pub(crate) async fn pod(&self) -> Value {
        shop::pod(self.ns, self.name).await.expect("the client is there")
    }

    /// Waits for its end; whether it lost nothing.
    pub(crate) async fn succeeds(&self) -> bool {
        let phase = eventually("the client ends", || async {
            let phase = self.pod().await["status"]["phase"].as_str()?.to_owned();
            ["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase)
        })
        .await;
        phase == "Succeeded"
    }

    fn log(&self) -> String {
        self.ns.cluster.try_kubectl(&["logs", "-n", &self.ns.name, self.name], "").unwrap_or_default()
    }

    /// Ends it, and answers with what it has counted.
    pub(crate) async fn report(&self) -> Value {
        // Out of time, its container is ended as if the pod were deleted, but pod and log stay to be read.
        let over = json!({"spec": {"activeDeadlineSeconds": 1}}).to_string();
        self.ns.cluster.kubectl(&["patch", "pod", self.name, "-n", &self.ns.name, "--type=merge", "-p", &over]);
        self.succeeds().await;
        let log = self.log();
        let report = log.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        report.unwrap_or_else(|| panic!("the client says no report but {log}"))
    }

    /// How many of the lost requests were refused by the node itself, in the moment in which it replaced its rules: they went to
    /// no pod (docs/decisions/0054). Each one must be in the node's own record, by its port.
    pub(crate) async fn refused_by_the_node(&self, world: &World, report: &Value) -> u64 {
        let address = self.pod().await["status"]["podIP"].as_str().expect("the client has an address").to_owned();
        let untranslated = world.untranslated();
        let lost = report["lostRequests"].as_array().into_iter().flatten();
        let by_the_node = lost.filter(|loss| {
            loss["reason"] == "connect: connection refused"
                && untranslated.contains(&(address.clone(), loss["port"].to_string()))
        });
        let by_the_node = by_the_node.count() as u64;
        if by_the_node > AT_MOST_BY_THE_NODE { 0 } else { by_the_node }
    }
}

impl World {
    /// Addresses and ports of the connections to a Service that the node sent to no pod; empty where the node is not our own.
    fn untranslated(&self) -> BTreeSet<(String, String)> {
        let refusals = if self.cluster.node.is_some() { self.node("refusals", &[]) } else { String::new() };
        let parse = |line: &str| {
            let [kind, address, port] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
            (kind == "untranslated").then(|| (address.to_owned(), port.to_owned()))
        };
        refusals.lines().filter_map(parse).collect()
    }
}
