//! What the lanes of a warp do together: shuffles, votes, reductions, `bar.warp.sync`.

use super::warp::{After, Fragment, State, Warp, trouble};
use super::{Environment, Step};
use crate::fault::FaultKind;
use crate::instruction::{Collective, Operation, Shuffle, ShuffleMode, VoteMode};
use crate::lanes::{LANES, for_each_lane};
use crate::types::Type;

/// Lanes that come to a collective with one mask, and that mask.
struct Group {
    lanes: u32,
    members: u32,
}

impl Warp {
    /// Runs the collective if all members are here; else the active lanes wait.
    pub(super) fn collective(
        &mut self,
        environment: &mut Environment<'_>,
        fragment: &mut Fragment,
        active: u32,
        collective: &Collective,
    ) -> Step<After> {
        let groups = self.groups(environment, active, collective)?;
        if groups.iter().any(|group| group.lanes != group.members & self.lanes) {
            return Ok(self.wait(fragment, active, State::AtCollective));
        }
        for group in &groups {
            self.perform(environment, group, collective)?;
        }
        Ok(After::Next)
    }

    /// The active lanes by the mask they come with.
    fn groups(&self, environment: &Environment<'_>, active: u32, collective: &Collective) -> Step<Vec<Group>> {
        let register = collective.members();
        self.check(environment, active, register)?;
        let mut groups = Vec::with_capacity(1);
        let mut rest = active;
        while rest != 0 {
            let first = rest.trailing_zeros() as usize;
            let members = self.rows[register as usize][first].get() as u32;
            let lanes = self.lanes_with_value(rest, register, members.into());
            if lanes & !members != 0 {
                let reason = "the lane isn't one of them itself".into();
                return Err(divergence(collective, members, reason, lanes & !members));
            }
            if members & self.exited != 0 {
                let reason = format!("the lanes {:#010x} have exited", members & self.exited);
                return Err(divergence(collective, members, reason, lanes));
            }
            groups.push(Group { lanes, members });
            rest &= !lanes;
        }
        Ok(groups)
    }

    fn perform(&mut self, environment: &mut Environment<'_>, group: &Group, collective: &Collective) -> Step {
        let lanes = group.lanes;
        match collective {
            Collective::Synchronize { .. } => {
                environment.memory.clock.synchronize_lanes(self.number, lanes, self.lanes);
            }
            Collective::Shuffle(shuffle) => self.shuffle(environment, lanes, shuffle)?,
            Collective::Vote { mode, destination, source, .. } => {
                let truths = self.truth(environment, lanes, *source)? & lanes;
                let agreed = match mode {
                    VoteMode::All => truths == lanes,
                    VoteMode::Any => truths != 0,
                    VoteMode::Uniform => truths == lanes || truths == 0,
                };
                self.set_predicate(lanes, *destination, if agreed { u32::MAX } else { 0 });
            }
            Collective::Ballot { destination, source, .. } => {
                let truths = self.truth(environment, lanes, *source)? & lanes;
                self.set_all(lanes, *destination, truths.into());
            }
            Collective::Reduce { operation, of, destination, source, .. } => {
                self.check(environment, lanes, *source)?;
                let row = &self.rows[*source as usize];
                let values = (0..LANES).filter(|lane| lanes >> lane & 1 == 1).map(|lane| row[lane].get() & of.mask());
                let sum = values.reduce(|a, b| super::atomic::combined(*operation, *of, a, b, 0)).unwrap_or(0);
                self.set_all(lanes, *destination, sum);
            }
            Collective::MatchAny { of, destination, source, .. } => {
                self.check(environment, lanes, *source)?;
                let matches: Vec<u32> = (0..LANES).map(|lane| self.lanes_alike(lanes, *source, lane, *of)).collect();
                for_each_lane(lanes, |lane| self.rows[*destination as usize][lane].set(matches[lane].into()));
                self.defined[*destination as usize] |= lanes;
            }
            Collective::MatchAll { of, destination, all, source, .. } => {
                self.check(environment, lanes, *source)?;
                let alike = self.lanes_alike(lanes, *source, lanes.trailing_zeros() as usize, *of) == lanes;
                self.set_all(lanes, *destination, if alike { lanes.into() } else { 0 });
                if let Some(all) = all {
                    self.set_predicate(lanes, *all, if alike { u32::MAX } else { 0 });
                }
            }
        }
        Ok(())
    }

    fn lanes_alike(&self, lanes: u32, register: u32, lane: usize, of: Type) -> u32 {
        let row = &self.rows[register as usize];
        let value = row[lane].get() & of.mask();
        let alike = (0..LANES).filter(|&other| row[other].get() & of.mask() == value);
        alike.fold(0, |mask, other| mask | 1 << other) & lanes
    }

    /// The segment of a lane and how far it may read are packed into `clamp`, as PTX defines them.
    fn shuffle(&mut self, environment: &Environment<'_>, lanes: u32, shuffle: &Shuffle) -> Step {
        for register in [shuffle.source, shuffle.lane, shuffle.clamp] {
            self.check(environment, lanes, register)?;
        }
        let row = |register: u32| &self.rows[register as usize];
        let values: [u64; LANES] = std::array::from_fn(|lane| row(shuffle.source)[lane].get() & 0xffff_ffff);
        let mut in_range = 0;
        let mut failed = Ok(());
        for_each_lane(lanes, |lane| {
            let own = lane as i64;
            let by = (row(shuffle.lane)[lane].get() & 31) as i64;
            let packed = row(shuffle.clamp)[lane].get();
            let (clamp, segment) = ((packed & 31) as i64, (packed >> 8 & 31) as i64);
            let last = (own & segment) | (clamp & !segment);
            let first = own & segment;
            let (from, reachable) = match shuffle.mode {
                ShuffleMode::Up => (own - by, own - by >= last),
                ShuffleMode::Down => (own + by, own + by <= last),
                ShuffleMode::Butterfly => (own ^ by, own ^ by <= last),
                ShuffleMode::Index => (first | (by & !segment), first | (by & !segment) <= last),
            };
            let from = if reachable { from } else { own };
            if lanes >> from & 1 == 0 && failed.is_ok() {
                failed = Err(trouble(FaultKind::ShuffleSource { source_lane: from as u32 }, 1 << lane));
            }
            row(shuffle.destination)[lane].set(values[from as usize & 31]);
            in_range |= u32::from(reachable) << lane;
        });
        failed?;
        self.defined[shuffle.destination as usize] |= lanes;
        if let Some(predicate) = shuffle.in_range {
            self.set_predicate(lanes, predicate, in_range);
        }
        Ok(())
    }

    /// When nothing else can run: joins what waits at one collective, and lets it go on if all members have come. False
    /// where nothing waits; a fault where somebody waits in vain.
    pub(super) fn resume_collectives(&mut self, environment: &mut Environment<'_>) -> Step<bool> {
        if !self.fragments.iter().any(|fragment| fragment.state == State::AtCollective) {
            return Ok(false);
        }
        self.join_all();
        let mut resumed = false;
        for place in 0..self.fragments.len() {
            let fragment = &self.fragments[place];
            if fragment.state == State::AtCollective && self.is_complete(environment, fragment)? {
                self.fragments[place].state = State::Running;
                resumed = true;
            }
        }
        if resumed || self.resume_synchronization(environment)? {
            return Ok(true);
        }
        Err(self.waits_in_vain(environment))
    }

    fn is_complete(&self, environment: &Environment<'_>, fragment: &Fragment) -> Step<bool> {
        let Some(collective) = collective_at(environment, fragment) else { return Ok(false) };
        let groups = self.groups(environment, fragment.lanes, collective).map_err(|mut trouble| {
            trouble.instruction.get_or_insert(fragment.next);
            trouble
        })?;
        Ok(groups.iter().all(|group| group.lanes == group.members & self.lanes))
    }

    /// `bar.warp.sync` may stand in several places: its members meet if their masks agree.
    fn resume_synchronization(&mut self, environment: &mut Environment<'_>) -> Step<bool> {
        let mut met: Vec<Group> = Vec::new();
        for fragment in self.fragments.iter().filter(|fragment| fragment.state == State::AtCollective) {
            if let Some(collective @ Collective::Synchronize { .. }) = collective_at(environment, fragment) {
                for group in self.groups(environment, fragment.lanes, collective)? {
                    match met.iter_mut().find(|other| other.members == group.members) {
                        Some(other) => other.lanes |= group.lanes,
                        None => met.push(group),
                    }
                }
            }
        }
        let Some(group) = met.into_iter().find(|group| group.lanes == group.members & self.lanes) else {
            return Ok(false);
        };
        environment.memory.clock.synchronize_lanes(self.number, group.lanes, self.lanes);
        for mut fragment in std::mem::take(&mut self.fragments) {
            let arrived = fragment.lanes & group.lanes;
            if arrived != 0 && fragment.state == State::AtCollective {
                let mut released = self.part(&mut fragment, arrived);
                released.state = State::Running;
                released.next += 1;
                self.fragments.push(released);
            }
            if fragment.lanes != 0 {
                self.fragments.push(fragment);
            }
        }
        Ok(true)
    }

    /// Of the first lanes that wait: where those are that they wait for.
    fn waits_in_vain(&self, environment: &Environment<'_>) -> Box<super::Trouble> {
        let waiting = self.fragments.iter().find(|fragment| fragment.state == State::AtCollective);
        let described = waiting.and_then(|fragment| Some((fragment, collective_at(environment, fragment)?)));
        let Some((fragment, collective)) = described else {
            return trouble(FaultKind::ControlFlow { reason: "lanes wait for nothing".into() }, self.lanes);
        };
        let members = self.rows[collective.members() as usize][fragment.lanes.trailing_zeros() as usize].get() as u32;
        let missing = members & self.lanes & !fragment.lanes;
        let mut reasons = Vec::new();
        for other in self.fragments.iter().filter(|other| other.lanes & missing != 0) {
            let origin = &environment.program.origins[other.next as usize];
            let lanes = other.lanes & missing;
            reasons.push(format!("the lanes {lanes:#010x} wait at line {} ({})", origin.line, origin.text));
        }
        let mut found = divergence(collective, members, reasons.join(", "), fragment.lanes);
        found.instruction = Some(fragment.next);
        found
    }

    /// `bar.sync` wants all lanes of a warp at once.
    pub(super) fn check_aligned(&mut self, environment: &Environment<'_>) -> Step {
        if self.fragments.len() <= 1 || self.is_running() {
            return Ok(());
        }
        self.join_all();
        let first = &self.fragments[0];
        let instruction = &environment.program.instructions[first.next as usize];
        let Operation::Barrier(barrier) = &instruction.operation else { return Ok(()) };
        if self.fragments.len() == 1 || !barrier.aligned {
            return Ok(());
        }
        let other = &self.fragments[1];
        let origin = &environment.program.origins[other.next as usize];
        let reason = format!("the lanes {:#010x} wait at line {} ({})", other.lanes, origin.line, origin.text);
        let members = self.lanes & !self.exited;
        let kind = FaultKind::Divergence { operation: "bar.sync", members, reason };
        let mut found = trouble(kind, first.lanes);
        found.instruction = Some(first.next);
        Err(found)
    }
}

fn collective_at<'p>(environment: &Environment<'p>, fragment: &Fragment) -> Option<&'p Collective> {
    match &environment.program.instructions[fragment.next as usize].operation {
        Operation::Collective(collective) => Some(collective),
        _ => None,
    }
}

#[cold]
fn divergence(collective: &Collective, members: u32, reason: String, lanes: u32) -> Box<super::Trouble> {
    let operation = match collective {
        Collective::Shuffle(_) => "shfl.sync",
        Collective::Vote { .. } | Collective::Ballot { .. } => "vote.sync",
        Collective::Reduce { .. } => "redux.sync",
        Collective::MatchAny { .. } | Collective::MatchAll { .. } => "match.sync",
        Collective::Synchronize { .. } => "bar.warp.sync",
    };
    trouble(FaultKind::Divergence { operation, members, reason }, lanes)
}
