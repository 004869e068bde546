//! Every reachable state of the gate in a small world, with crashes after every write, old views, and other actors.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::look::{Memory, Wish, Write, look};
use super::model::{Cluster, Set, Setting, VERSIONS};
use crate::api::gate::GateState;
use crate::api::rollout::{Approval, OnFailure, Patience, Rollout, Step, Tolerate, WhenBudgetSpent};
use crate::api::workload_health::Action as Asked;
use crate::core::rollout::Paused;
use crate::core::rollout::table::Wants;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    cluster: Cluster,
    memory: Memory,
    /// A write that was decided on, and whose intent is stored.
    flight: Option<Write>,
    /// Ready pods that were there to be kept when our last write of sizes was decided on; None once somebody else acted.
    kept: Option<u8>,
    /// The Deployment before our last write to it: what an old view may show after a restart.
    old: Option<Old>,
    /// ReplicaSets and pods before their last change, as long as no look has shown a newer view.
    behind: Option<[Set; VERSIONS]>,
    has_restarted: bool,
    /// Generation of our last pause, as long as this process knows of it and has not looked at it.
    paused_at: Option<u8>,
    policy_on: bool,
    wish: Option<Wish>,
    moves: u8,
    crashes: u8,
    wishes: u8,
    restores: [u8; VERSIONS],
    /// Whether we changed a size since we last resumed.
    has_scaled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Old {
    template: u8,
    paused: Paused,
    generation: u8,
}

/// Who makes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Controllers, pods, the gate, time: these go on by themselves.
    Nature,
    /// A pod that fails, a crash of the operator, a person, GitOps, an autoscaler: may or may not happen.
    Chance,
}

/// Reason of an end whose first path is printed; for people who ask how it comes to that.
const SHOW_END: Option<&str> = None;

/// Who may act besides nature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Actor {
    Git,
    Scaler,
    Person,
    Policy,
}

use Actor::{Git, Person, Policy, Scaler};

/// All of them.
const ALL: &[Actor] = &[Git, Scaler, Person, Policy];

/// What the gate makes of what it sees, worked out once.
type Looks = HashMap<(Cluster, Memory, bool, Option<Wish>, Option<u8>), (Memory, Option<Write>)>;

struct Explorer<'a> {
    setting: &'a Setting,
    actors: &'a [Actor],
    rollout: &'a Rollout,
    looks: Looks,
}

impl Explorer<'_> {
    fn look(&mut self, cluster: &Cluster, world: &World) -> (Memory, Option<Write>) {
        let key = (*cluster, world.memory, world.policy_on, world.wish, world.paused_at);
        let (setting, rollout) = (self.setting, self.rollout);
        *self.looks.entry(key).or_insert_with(|| {
            let rollout = world.policy_on.then_some(rollout);
            look(setting, cluster, world.memory, rollout, world.wish, world.paused_at)
        })
    }

    fn next(&mut self, world: &World) -> Vec<(Who, &'static str, World)> {
        let mut all = Vec::new();
        self.nature(world, &mut all);
        self.chance(world, &mut all);
        if self.setting.views_lag {
            for (_, name, next) in &mut all {
                if next.cluster.sets != world.cluster.sets {
                    next.behind = Some(world.cluster.sets);
                } else if *name == "look" {
                    next.behind = None;
                }
            }
        }
        all.retain(|(_, _, next)| next != world);
        all
    }

    fn nature(&mut self, world: &World, all: &mut Vec<(Who, &'static str, World)>) {
        let mut next = *world;
        next.cluster.deployment_controller(self.setting);
        self.check_capacity(world, &next);
        all.push((Who::Nature, "deployment controller", next));
        for index in 0..VERSIONS {
            let mut next = *world;
            next.cluster.replica_set_controller(index);
            all.push((Who::Nature, "replica set controller", next));
            let set = world.cluster.sets[index];
            if set.starting > 0 {
                let fails = index == 1 || index == 0 && self.setting.stable_fails;
                let mut next = *world;
                next.cluster.sets[index].starting -= 1;
                next.cluster.sets[index].ready += 1;
                all.push((if fails { Who::Chance } else { Who::Nature }, "pod ready", next));
                if fails {
                    let mut next = *world;
                    next.cluster.sets[index].starting -= 1;
                    next.cluster.sets[index].failing += 1;
                    all.push((Who::Nature, "pod fails at start", next));
                }
            }
        }
        let mut next = *world;
        next.memory = world.memory.later();
        all.push((Who::Nature, "time", next));
        let mut next = *world;
        if let Some(write) = world.flight {
            next.flight = None;
            Self::write(&mut next, write);
            self.check_capacity(world, &next);
            all.push((Who::Nature, "write", next));
        } else {
            next = self.decided(&world.cluster, world);
            // Sizes that were just read may change before the write all the same.
            if let Some(Write::Scale { others, .. }) = &mut next.flight {
                *others = None;
            }
            all.push((Who::Nature, "look", next));
        }
    }

    /// The gate looks, and stores the intent.
    fn decided(&mut self, seen: &Cluster, world: &World) -> World {
        let (memory, write) = self.look(seen, world);
        let mut next = World { memory, flight: write, has_restarted: false, ..*world };
        next.paused_at = world.paused_at.filter(|_| memory.pause.is_some_and(|(_, seen)| !seen));
        if let Some(Write::Scale { .. }) = write {
            next.kept = Some(kept(&world.cluster));
        }
        let begins = |state| matches!(state, GateState::Restoring | GateState::Reverted);
        let is_going_on = world.memory.state == GateState::Restored || world.memory.reason == "StableFails";
        let is_new = memory.state == GateState::Restoring && !is_going_on || memory.state == GateState::Reverted;
        if is_new && !begins(world.memory.state) {
            next.restores[usize::from(seen.template)] += 1;
        }
        assert!(next.restores.iter().all(|restores| *restores <= 1), "one restore per template: {next:?}");
        if let Some(passed) = memory.overridden {
            let is_kept = passed != seen.template || memory.wants() != Wants::Pause;
            assert!(is_kept, "what a person let pass is not held: {next:?}");
        }
        next
    }

    fn write(world: &mut World, write: Write) {
        let cluster = &mut world.cluster;
        let old = Old { template: cluster.template, paused: cluster.paused, generation: cluster.generation };
        match write {
            Write::Pause { generation } if generation == cluster.generation && cluster.paused == Paused::No => {
                assert!(
                    world.paused_at.is_none(),
                    "a pause of ours that stood, and was ended by others, comes back: {world:?}"
                );
                let pause = world.memory.pause;
                assert!(pause.is_some() && !world.memory.reason.is_empty(), "a pause of ours has owner and reason");
                cluster.paused = Paused::ByUs;
                cluster.generation += 1;
                world.paused_at = Some(cluster.generation);
                world.old = Some(old);
            }
            Write::Resume { generation } if generation == cluster.generation && cluster.paused != Paused::No => {
                assert_eq!(cluster.paused, Paused::ByUs, "only a pause of ours is ended");
                cluster.paused = Paused::No;
                cluster.generation += 1;
                world.old = Some(old);
                // What comes now is the controller's own again.
                world.has_scaled = false;
            }
            Write::Revert { generation, stable } if generation == cluster.generation => {
                assert_ne!(cluster.paused, Paused::ByOther);
                cluster.paused = Paused::No;
                cluster.template = stable;
                cluster.generation += 1;
                world.old = Some(old);
            }
            Write::Scale { index, from, to, others }
                if cluster.sets[index] == from
                    && others.is_none_or(|sizes| {
                        (0..VERSIONS).all(|one| one == index || cluster.sets[one].size == sizes[one])
                    }) =>
            {
                cluster.sets[index].size = to;
                world.has_scaled = true;
            }
            // A precondition failed.
            _ => {}
        }
    }

    /// Ready pods that no size asks to take away never fall below the floor because of a write of ours, or of the
    /// controller's answer to it.
    fn check_capacity(&self, before: &World, after: &World) {
        let is_handing_back = before.memory.state == GateState::Restoring && before.cluster.paused == Paused::ByUs;
        if let Some(base) = before.kept.filter(|_| is_handing_back) {
            let least = before.cluster.floor(self.setting).min(base);
            assert!(kept(&after.cluster) >= least, "capacity: {before:?}\n{after:?}");
        }
    }

    fn chance(&mut self, world: &World, all: &mut Vec<(Who, &'static str, World)>) {
        let mut push = |name: &'static str, change: &dyn Fn(&mut World)| {
            let mut next = World { kept: None, ..*world };
            change(&mut next);
            all.push((Who::Chance, name, next));
        };
        for index in 0..VERSIONS {
            let fails = index == 1 || index == 0 && self.setting.stable_fails;
            if fails && world.cluster.sets[index].ready > 0 {
                push("pod fails", &|next| {
                    next.cluster.sets[index].ready -= 1;
                    next.cluster.sets[index].failing += 1;
                });
            }
        }
        if world.crashes > 0 {
            push("crash", &|next| {
                next.kept = world.kept;
                next.flight = None;
                next.has_restarted = true;
                next.paused_at = None;
                next.crashes -= 1;
            });
        }
        if let Some(old) = world.old.filter(|_| world.has_restarted && world.flight.is_none()) {
            // A new process is served an old view of the Deployment, which speaks well of itself.
            let mut seen = world.cluster;
            (seen.template, seen.paused, seen.generation) = (old.template, old.paused, old.generation);
            seen.observed = old.generation;
            all.push((Who::Chance, "look at an old view", self.decided(&seen, world)));
        }
        if let Some(sets) = world.behind.filter(|_| world.flight.is_none()) {
            // The watches of ReplicaSets and pods are behind that of the Deployment.
            let seen = Cluster { sets, ..world.cluster };
            let mut next = self.decided(&seen, world);
            // What is decided on an old view is not made when sizes differ by then: it is no moment to count from.
            next.kept = world.kept;
            all.push((Who::Chance, "look at pods that are behind", next));
        }
        if world.moves == 0 {
            return;
        }
        let mut act = |actor: Actor, name: &'static str, change: &dyn Fn(&mut World)| {
            if !self.actors.contains(&actor) {
                return;
            }
            let mut next = World { kept: None, moves: world.moves - 1, ..*world };
            change(&mut next);
            let is_edit = (next.cluster.template, next.cluster.paused, next.cluster.replicas)
                != (world.cluster.template, world.cluster.paused, world.cluster.replicas);
            next.cluster.generation += u8::from(is_edit);
            all.push((Who::Chance, name, next));
        };
        for template in 0..3 {
            if template != world.cluster.template {
                act(Git, "push", &|next| next.cluster.template = template);
            }
        }
        match world.cluster.paused {
            Paused::No => act(Person, "pause", &|next| next.cluster.paused = Paused::ByOther),
            _ => act(Person, "resume", &|next| next.cluster.paused = Paused::No),
        }
        if world.cluster.replicas < self.setting.most_replicas {
            act(Scaler, "scale up", &|next| next.cluster.replicas += 1);
        }
        if world.cluster.replicas > 0 {
            act(Scaler, "scale down", &|next| next.cluster.replicas -= 1);
            act(Scaler, "scale to zero", &|next| next.cluster.replicas = 0);
        } else {
            act(Scaler, "scale from zero", &|next| next.cluster.replicas = self.setting.replicas);
        }
        act(Policy, "policy", &|next| next.policy_on = !next.policy_on);
        if world.memory.record.is_some() {
            for action in [Asked::Retry, Asked::Resume, Asked::Hold, Asked::Approve, Asked::Skip] {
                act(Person, "request", &|next| {
                    next.wish = Some(Wish { id: next.wishes, action, version: next.cluster.template });
                    next.wishes += 1;
                });
            }
        }
    }

    /// Nothing is left to do, and the state is one of those in which a rollout may end.
    fn is_end(&mut self, world: &World) -> bool {
        let state = world.memory.state;
        let is_final = matches!(
            state,
            GateState::Stable
                | GateState::Held
                | GateState::Restored
                | GateState::Reverted
                | GateState::NotGated
                | GateState::AwaitingApproval
        );
        let mut all = Vec::new();
        self.nature(world, &mut all);
        all.retain(|(who, _, next)| next != world && *who == Who::Nature);
        let is_paused_rightly = match world.cluster.paused {
            Paused::No => world.memory.wants() != Wants::Pause,
            Paused::ByUs => world.memory.wants() == Wants::Pause && world.memory.pause.is_some(),
            _ => world.memory.state == GateState::NotGated,
        };
        (is_final || Self::is_native_stall(world)) && all.is_empty() && is_paused_rightly
    }

    /// The controller's own: one active ReplicaSet has the right size, but was scaled for another number of replicas.
    /// The controller then takes every look for one at a scaling, finds nothing to scale, and never rolls (`sync.go`).
    /// That can happen when replicas go down at the very moment when an old one was scaled to just that number, and the
    /// new one has no pods yet. It is no doing of ours, as long as we changed no size since we last resumed.
    fn is_native_stall(world: &World) -> bool {
        let mut active = world.cluster.sets.iter().filter(|set| set.size > 0);
        let is_stalled =
            active.next().is_some_and(|set| set.desired != world.cluster.replicas) && active.next().is_none();
        is_stalled && !world.has_scaled && world.memory.state == GateState::Rolling
    }
}

/// Ready pods that no size asks to take away.
fn kept(cluster: &Cluster) -> u8 {
    cluster.sets.iter().map(|set| set.ready.min(set.size)).sum()
}

struct Found {
    states: usize,
    ends: HashMap<(GateState, &'static str), usize>,
    is_whole: bool,
}

fn explore(setting: &Setting, rollout: &Rollout, actors: &[Actor], moves: u8, crashes: u8) -> Found {
    let most = 60_000_000;
    let mut explorer = Explorer { setting, actors, rollout, looks: HashMap::new() };
    let start = World {
        cluster: Cluster::start(setting),
        memory: Memory::start(),
        flight: None,
        kept: None,
        old: None,
        behind: None,
        has_restarted: false,
        paused_at: None,
        policy_on: true,
        wish: None,
        moves,
        crashes,
        wishes: 0,
        restores: [0; VERSIONS],
        has_scaled: false,
    };
    // The bad version is pushed.
    let mut first = start;
    first.cluster.template = 1;
    first.cluster.generation += 1;
    let mut known: HashMap<World, u32> = HashMap::from([(first, 0)]);
    let mut worlds = vec![first];
    let mut from: Vec<(u32, &'static str)> = vec![(0, "start")];
    let mut before: Vec<Vec<u32>> = vec![Vec::new()];
    let mut ends: HashMap<(GateState, &'static str), usize> = HashMap::new();
    let mut good = VecDeque::new();
    let mut queue = VecDeque::from([0_u32]);
    while let Some(index) = queue.pop_front() {
        let world = worlds[index as usize];
        assert!(world.cluster.generation < 60, "writes for ever: {}", path(&worlds, &from, index));
        if explorer.is_end(&world) {
            let number = ends.entry((world.memory.state, world.memory.reason)).or_default();
            *number += 1;
            if *number == 1 && SHOW_END == Some(world.memory.reason) {
                println!("{}", path(&worlds, &from, index));
            }
            good.push_back(index);
        }
        if worlds.len() >= most {
            continue;
        }
        for (who, name, next) in explorer.next(&world) {
            let id = *known.entry(next).or_insert_with(|| {
                worlds.push(next);
                from.push((index, name));
                before.push(Vec::new());
                let id = u32::try_from(worlds.len() - 1).unwrap();
                queue.push_back(id);
                id
            });
            if who == Who::Nature {
                before[id as usize].push(index);
            }
        }
    }
    let is_whole = worlds.len() < most;
    // No livelock: by nature alone, every state can still come to an end.
    if is_whole {
        let mut reaches = vec![false; worlds.len()];
        for index in &good {
            reaches[*index as usize] = true;
        }
        while let Some(index) = good.pop_front() {
            for earlier in std::mem::take(&mut before[index as usize]) {
                if !std::mem::replace(&mut reaches[earlier as usize], true) {
                    good.push_back(earlier);
                }
            }
        }
        if let Some(stuck) = reaches.iter().position(|reaches| !reaches) {
            panic!("{}: comes to no end:\n{}", setting.name, path(&worlds, &from, u32::try_from(stuck).unwrap()));
        }
    }
    Found { states: worlds.len(), ends, is_whole }
}

/// How a state is reached, for people who read a failure.
fn path(worlds: &[World], from: &[(u32, &'static str)], mut index: u32) -> String {
    let mut lines = Vec::new();
    while index != 0 {
        let (earlier, name) = from[index as usize];
        let world = &worlds[index as usize];
        let sets: Vec<String> = world
            .cluster
            .sets
            .iter()
            .map(|set| format!("{}/{}:{}s{}r{}f", set.size, set.desired, set.starting, set.ready, set.failing))
            .collect();
        lines.push(format!(
            "{name:24} t{} r{} {:?} g{}/{} {sets:?} | {:?}/{} pause {:?} {:?} flight {:?} on {} wish {:?}",
            world.cluster.template,
            world.cluster.replicas,
            world.cluster.paused,
            world.cluster.generation,
            world.cluster.observed,
            world.memory.state,
            world.memory.reason,
            world.memory.pause,
            world.memory.record,
            world.flight,
            world.policy_on,
            world.wish,
        ));
        index = earlier;
    }
    lines.reverse();
    lines.join("\n")
}

fn policy(on_failure: OnFailure, steps: &[i32]) -> Rollout {
    let step = |pods: &i32| Step { pods: IntOrString::Int(*pods), bake_seconds: 60, approval: Approval::Automatic };
    Rollout {
        min_ready_seconds: None,
        on_failure,
        steps: steps.iter().map(step).collect(),
        tolerate: Tolerate::default(),
        patience: Patience::default(),
        bake_after_seconds: 120,
        when_budget_spent: WhenBudgetSpent::Proceed,
    }
}

const fn setting(name: &'static str, replicas: u8, surge: u8, unavailable: u8) -> Setting {
    Setting {
        name,
        replicas,
        most_replicas: replicas + 1,
        surge,
        unavailable,
        history_limit: 10,
        stable_fails: false,
        views_lag: false,
    }
}

type Run = (Setting, Rollout, &'static [Actor], u8, u8);

/// Explores all of these, to the last state.
fn explore_all(runs: &[Run]) {
    let begun = Instant::now();
    let mut all = 0;
    for (setting, rollout, actors, moves, crashes) in runs {
        let now = Instant::now();
        let found = explore(setting, rollout, actors, *moves, *crashes);
        assert!(found.is_whole, "{}: more states than were looked at", setting.name);
        let mut ends: Vec<String> =
            found.ends.iter().map(|((state, reason), number)| format!("{state:?}/{reason} {number}")).collect();
        ends.sort();
        println!(
            "{:34} {:>8} states in {:.1?}, {moves} moves of {actors:?}, {crashes} crashes; ends: {}",
            setting.name,
            found.states,
            now.elapsed(),
            ends.join(", ")
        );
        all += found.states;
    }
    println!("{all} states in {:.1?}", begun.elapsed());
}

// Two tests, so that they run side by side.

#[test]
fn no_order_of_events_breaks_the_gate_when_all_may_act() {
    use OnFailure::{Hold, Restore, Revert};
    explore_all(&[
        (setting("2 replicas, 1/0", 2, 1, 0), policy(Restore, &[]), ALL, 1, 0),
        (setting("1 replica, 1/0", 1, 1, 0), policy(Restore, &[]), ALL, 1, 1),
        (setting("2 replicas, 0/1", 2, 0, 1), policy(Restore, &[]), ALL, 1, 0),
        (setting("2 replicas, 1/0, hold", 2, 1, 0), policy(Hold, &[1]), ALL, 1, 0),
        (setting("2 replicas, 1/0, revert", 2, 1, 0), policy(Revert, &[1]), ALL, 1, 0),
    ]);
}

#[test]
fn no_order_of_events_breaks_the_gate_when_some_act_twice_or_it_crashes() {
    use OnFailure::Restore;
    let no_history = Setting { history_limit: 0, ..setting("2 replicas, 1/0, no history", 2, 1, 0) };
    let broken = Setting { stable_fails: true, ..setting("2 replicas, 1/0, stable fails too", 2, 1, 0) };
    explore_all(&[
        (setting("1 replica, 1/0", 1, 1, 0), policy(Restore, &[]), &[Git, Policy], 2, 1),
        (setting("1 replica, 1/0", 1, 1, 0), policy(Restore, &[]), &[Person], 2, 1),
        (setting("1 replica, 1/0", 1, 1, 0), policy(Restore, &[]), &[Scaler], 2, 0),
        (setting("2 replicas, 0/1", 2, 0, 1), policy(Restore, &[]), &[Scaler], 1, 1),
        (setting("2 replicas, 1/0", 2, 1, 0), policy(Restore, &[]), ALL, 0, 2),
        (setting("2 replicas, 1/0, a step", 2, 1, 0), policy(Restore, &[1]), ALL, 0, 1),
        (setting("3 replicas, 2/1, a step", 3, 2, 1), policy(Restore, &[1]), ALL, 0, 1),
        (setting("4 replicas, 1/1", 4, 1, 1), policy(Restore, &[]), ALL, 0, 1),
        (setting("5 replicas, 1/1", 5, 1, 1), policy(Restore, &[]), ALL, 0, 1),
        (no_history, policy(Restore, &[]), ALL, 0, 1),
        (broken, policy(Restore, &[]), ALL, 0, 1),
    ]);
}

#[test]
fn no_order_of_events_breaks_the_gate_when_pods_are_seen_late() {
    let late = |setting: Setting| Setting { views_lag: true, ..setting };
    let policy = policy(OnFailure::Restore, &[]);
    explore_all(&[
        (late(setting("1 replica, 1/0, late views", 1, 1, 0)), policy.clone(), &[Git], 1, 1),
        (late(setting("2 replicas, 1/0, late views", 2, 1, 0)), policy.clone(), ALL, 0, 1),
        (late(setting("2 replicas, 0/1, late views", 2, 0, 1)), policy, ALL, 0, 1),
    ]);
}

/// What takes too long for every run: `make explore`.
#[test]
fn no_order_of_events_breaks_the_gate_of_many_pods() {
    use OnFailure::{Restore, Revert};
    if std::env::var_os("GRACEKEEPER_EXPLORE").is_none() {
        println!("skipped: set GRACEKEEPER_EXPLORE, or `make explore`");
        return;
    }
    let late = |setting: Setting| Setting { views_lag: true, ..setting };
    explore_all(&[
        (setting("3 replicas, 1/0", 3, 1, 0), policy(Restore, &[]), ALL, 1, 1),
        (setting("3 replicas, 1/0, revert", 3, 1, 0), policy(Revert, &[1]), ALL, 1, 0),
        (setting("4 replicas, 1/1, a step", 4, 1, 1), policy(Restore, &[1]), ALL, 1, 0),
        (setting("6 replicas, 2/1", 6, 2, 1), policy(Restore, &[]), &[Git], 1, 0),
        (setting("6 replicas, 2/1", 6, 2, 1), policy(Restore, &[]), &[Scaler], 1, 0),
        (setting("6 replicas, 2/1", 6, 2, 1), policy(Restore, &[]), &[Person, Policy], 1, 0),
        (late(setting("3 replicas, 1/0, late views", 3, 1, 0)), policy(Restore, &[]), &[Git, Person], 1, 1),
    ]);
}

#[test]
fn no_order_of_events_breaks_the_gate_when_git_and_a_scaler_meet() {
    let shrinks = Setting { most_replicas: 2, ..setting("2 replicas, 1/0, never more", 2, 1, 0) };
    explore_all(&[(shrinks, policy(OnFailure::Restore, &[]), &[Git, Scaler], 2, 0)]);
}
