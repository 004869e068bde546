//! A pod that sends requests at a steady rate, and what became of those that were lost.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::shop::{self, create};
use crate::support::{TestNamespace, eventually};
use crate::world::{World, image};

/// Connections of a change that the node may send to no pod: the moment in which it has the old rules no more and the new ones not
/// yet is shorter than the time between two. A Service without endpoints stays so for a second or more, and is in the record a
/// hundred times (few of those are lost: the kernel limits its refusals, and what got no answer is sent again).
pub(crate) const AT_MOST_BY_THE_NODE: usize = 2;
/// What is refused at its second try, a second later, was not refused by the rules of a moment.
const SENT_AGAIN_MILLIS: u64 = 900;

/// What the node has noted of the connections of one client, by their ports (docs/decisions/0054).
#[derive(Default)]
pub(crate) struct Record {
    /// Those that it sent to no pod.
    pub(crate) untranslated: BTreeSet<u64>,
    /// Those that a pod refused or broke off.
    resets: BTreeSet<u64>,
}

impl Record {
    /// How many of the lost requests the node itself refused, in the moment in which it replaced its rules: they went to no pod.
    pub(crate) fn refused_by_the_node(&self, report: &Value) -> u64 {
        let is_by_the_node = |loss: &&Value| {
            loss["reason"] == "connect: connection refused"
                && loss["tookMillis"].as_u64().is_some_and(|took| took < SENT_AGAIN_MILLIS)
                && loss["port"]
                    .as_u64()
                    .is_some_and(|port| self.untranslated.contains(&port) && !self.resets.contains(&port))
        };
        let lost = report["lostRequests"].as_array().into_iter().flatten();
        lost.filter(is_by_the_node).count() as u64
    }
}

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

    /// What the node has noted of its connections; empty where the node is not our own.
    pub(crate) async fn record(&self, world: &World) -> Record {
        let mut record = Record::default();
        if world.cluster.node.is_none() {
            return record;
        }
        let address = self.pod().await["status"]["podIP"].as_str().expect("the client has an address").to_owned();
        for line in world.node("refusals", &[]).lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["untranslated", client, port] if client == address => record.untranslated.extend(port.parse::<u64>()),
                ["resets", _, client, port] if client == address => record.resets.extend(port.parse::<u64>()),
                _ => {}
            }
        }
        record
    }
}
