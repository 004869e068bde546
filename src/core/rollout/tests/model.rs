//! A model of the world around the gate: the Deployment controller (rolling update, pause, scaling of several active
//! ReplicaSets, saturation, cleanup), the ReplicaSet controller, pods, people, GitOps, an autoscaler. Written from the
//! controller's source, not from the gate's own prediction of it.

use crate::core::rollout::Paused;

/// Versions that take part: 0 is stable at the start, 1 is bad, 2 is good.
pub(super) const VERSIONS: usize = 3;

/// What does not change during one exploration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) replicas: u8,
    pub(super) most_replicas: u8,
    pub(super) surge: u8,
    pub(super) unavailable: u8,
    pub(super) history_limit: u8,
    /// Whether pods of the stable version fail too.
    pub(super) stable_fails: bool,
    /// Whether the views of ReplicaSets and pods may be behind that of the Deployment.
    pub(super) views_lag: bool,
}

/// A ReplicaSet and its pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Set {
    pub(super) exists: bool,
    /// Order of creation.
    pub(super) born: u8,
    pub(super) size: u8,
    /// Annotation `desired-replicas`.
    pub(super) desired: u8,
    pub(super) starting: u8,
    pub(super) ready: u8,
    pub(super) failing: u8,
}

impl Set {
    pub(super) fn pods(self) -> u8 {
        self.starting + self.ready + self.failing
    }
}

/// `RoundToInt32`.
#[allow(clippy::cast_possible_truncation)] // a few pods
fn round(size: f64) -> i16 {
    size.round() as i16
}

/// The cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cluster {
    pub(super) replicas: u8,
    pub(super) template: u8,
    pub(super) paused: Paused,
    pub(super) generation: u8,
    pub(super) observed: u8,
    pub(super) sets: [Set; VERSIONS],
}

impl Cluster {
    pub(super) fn start(setting: &Setting) -> Self {
        let stable = Set {
            exists: true,
            size: setting.replicas,
            desired: setting.replicas,
            ready: setting.replicas,
            ..Set::default()
        };
        Self {
            replicas: setting.replicas,
            template: 0,
            paused: Paused::No,
            generation: 1,
            observed: 1,
            sets: [stable, Set::default(), Set::default()],
        }
    }

    fn sum(&self) -> u8 {
        self.sets.iter().map(|set| set.size).sum()
    }

    fn ceiling(&self, setting: &Setting) -> u8 {
        if self.replicas == 0 { 0 } else { self.replicas + setting.surge }
    }

    pub(super) fn floor(&self, setting: &Setting) -> u8 {
        self.replicas.saturating_sub(setting.unavailable)
    }

    fn current(&self) -> usize {
        usize::from(self.template)
    }

    fn scale(&mut self, index: usize, size: u8) {
        self.sets[index].size = size;
        self.sets[index].desired = self.replicas;
    }

    fn active(&self) -> Vec<usize> {
        (0..VERSIONS).filter(|index| self.sets[*index].size > 0).collect()
    }

    /// `syncDeployment`.
    pub(super) fn deployment_controller(&mut self, setting: &Setting) {
        self.observed = self.generation;
        let is_scaling = self.active().iter().any(|index| self.sets[*index].desired != self.replicas);
        if self.paused != Paused::No || is_scaling {
            self.sync(setting);
        } else {
            self.roll(setting);
        }
    }

    /// `sync` and `scale`.
    fn sync(&mut self, setting: &Setting) {
        let has_new = self.sets[self.current()].exists;
        let active = self.active();
        match active.as_slice() {
            [] => {
                let newest =
                    (0..VERSIONS).filter(|index| self.sets[*index].exists).max_by_key(|index| self.sets[*index].born);
                if let Some(index) = if has_new { Some(self.current()) } else { newest }
                    && self.sets[index].size != self.replicas
                {
                    self.scale(index, self.replicas);
                }
            }
            [only] => {
                if self.sets[*only].size != self.replicas {
                    self.scale(*only, self.replicas);
                }
            }
            _ if has_new && self.is_saturated() => {
                for index in active {
                    if index != self.current() {
                        self.scale(index, 0);
                    }
                }
            }
            _ => self.scale_in_proportion(active, setting),
        }
        if self.paused != Paused::No {
            self.clean_up(setting);
        }
    }

    fn is_saturated(&self) -> bool {
        let set = self.sets[self.current()];
        set.size == self.replicas && set.desired == self.replicas && set.ready == self.replicas
    }

    fn scale_in_proportion(&mut self, mut active: Vec<usize>, setting: &Setting) {
        let allowed = i16::from(self.ceiling(setting));
        let to_add = allowed - i16::from(self.sum());
        // Larger first; at a tie the newer first on the way up, the older first on the way down.
        active.sort_by_key(|index| {
            let set = self.sets[*index];
            let age = if to_add > 0 { -i16::from(set.born) } else { i16::from(set.born) };
            (-i16::from(set.size), age)
        });
        let mut added = 0;
        let mut sizes = Vec::new();
        for index in &active {
            let set = self.sets[*index];
            let share = if to_add == 0 || to_add == added {
                0
            } else {
                let noted = set.desired + setting.surge;
                let before = if noted > 0 { noted } else { self.sets.iter().map(|set| set.pods()).sum() };
                let part = if self.replicas == 0 {
                    -i16::from(set.size)
                } else if before == 0 {
                    0
                } else {
                    let before = f64::from(before);
                    let now = f64::from(i16::from(set.size) * i16::from(self.ceiling(setting))) / before;
                    round(now) - i16::from(set.size)
                };
                if to_add > 0 { part.min(to_add - added) } else { part.max(to_add - added) }
            };
            added += share;
            sizes.push(i16::from(set.size) + share);
        }
        for (place, index) in active.iter().enumerate() {
            let leftover = if place == 0 && to_add != 0 { to_add - added } else { 0 };
            self.scale(*index, u8::try_from((sizes[place] + leftover).max(0)).unwrap());
        }
    }

    /// `rolloutRolling`.
    fn roll(&mut self, setting: &Setting) {
        let new = self.current();
        if !self.sets[new].exists {
            let born = self.sets.iter().filter(|set| set.exists).map(|set| set.born + 1).max().unwrap_or(0);
            self.sets[new] = Set { exists: true, born, ..Set::default() };
            let size = self.new_size(setting);
            self.scale(new, size);
            return;
        }
        let size = self.new_size(setting);
        if self.sets[new].size != size {
            self.scale(new, size);
            return;
        }
        self.scale_down_old(setting);
        let set = self.sets[new];
        let others = (0..VERSIONS).filter(|index| *index != new).all(|index| self.sets[index].pods() == 0);
        if set.size == self.replicas && set.ready == self.replicas && others {
            self.clean_up(setting);
        }
    }

    fn new_size(&self, setting: &Setting) -> u8 {
        let size = self.sets[self.current()].size;
        if size >= self.replicas {
            return self.replicas;
        }
        let room = self.ceiling(setting).saturating_sub(self.sum());
        size + room.min(self.replicas - size)
    }

    fn scale_down_old(&mut self, setting: &Setting) {
        let new = self.current();
        let mut old: Vec<usize> = self.active().into_iter().filter(|index| *index != new).collect();
        old.sort_by_key(|index| self.sets[*index].born);
        if old.is_empty() {
            return;
        }
        let floor = i16::from(self.floor(setting));
        let unavailable = i16::from(self.sets[new].size) - i16::from(self.sets[new].ready.min(self.sets[new].size));
        let most = i16::from(self.sum()) - floor - unavailable;
        if most <= 0 {
            return;
        }
        let mut cleaned = 0;
        for index in &old {
            let set = self.sets[*index];
            let unhealthy = i16::from(set.size) - i16::from(set.ready.min(set.size));
            let down = unhealthy.min(most - cleaned).max(0);
            if down > 0 {
                self.scale(*index, u8::try_from(i16::from(set.size) - down).unwrap());
                cleaned += down;
            }
        }
        let available: i16 = self.sets.iter().map(|set| i16::from(set.ready)).sum();
        let mut left = available - floor;
        for index in old {
            let size = i16::from(self.sets[index].size);
            let down = size.min(left);
            if down > 0 {
                self.scale(index, u8::try_from(size - down).unwrap());
                left -= down;
            }
        }
    }

    /// `cleanupDeployment`: oldest first, only empty ones.
    fn clean_up(&mut self, setting: &Setting) {
        let new = self.current();
        let mut old: Vec<usize> = (0..VERSIONS).filter(|index| self.sets[*index].exists && *index != new).collect();
        old.sort_by_key(|index| self.sets[*index].born);
        let surplus = old.len().saturating_sub(usize::from(setting.history_limit));
        for index in old.into_iter().take(surplus) {
            if self.sets[index].size == 0 && self.sets[index].pods() == 0 {
                self.sets[index] = Set::default();
            }
        }
    }

    /// The ReplicaSet controller: pods that are not ready go first.
    pub(super) fn replica_set_controller(&mut self, index: usize) {
        let set = &mut self.sets[index];
        while set.pods() < set.size {
            set.starting += 1;
        }
        while set.pods() > set.size {
            if set.starting > 0 {
                set.starting -= 1;
            } else if set.failing > 0 {
                set.failing -= 1;
            } else {
                set.ready -= 1;
            }
        }
    }
}
