//! The lives of the nodes: each start of a node's process, as far as a trial knows of it.

use std::time::Duration;

use crate::node::Time;

/// How long a node may take to answer `init`, while nothing holds it up.
pub(super) const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The present or last life of each node.
#[derive(Debug)]
pub(super) struct Lives(Vec<Life>);

#[derive(Debug)]
struct Life {
    /// How many there have been. The `init` of a life has its number, so that no former one answers for it.
    number: i64,
    state: State,
    paused: bool,
    /// Until when it could not answer, because it was stopped or dead: if it is so now, for ever.
    struck: Option<Time>,
}

impl Life {
    fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead | State::Gone)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Started, and to answer `init` until then.
    Starting(Time),
    /// Has answered it.
    Up,
    Dead,
    /// Dead, and never started again.
    Gone,
}

impl Lives {
    /// So many nodes that have just been started for the first time.
    pub(super) fn new(nodes: usize, now: Time) -> Self {
        let state = State::Starting(now + INIT_TIMEOUT);
        let first = || Life { number: 1, state, paused: false, struck: None };
        Self((0..nodes).map(|_| first()).collect())
    }

    /// The number of a node's life.
    pub(super) fn number(&self, node: usize) -> i64 {
        self.0[node].number
    }

    /// Whether all nodes live, and have answered their `init`, but for those that are gone for good.
    pub(super) fn all_up(&self) -> bool {
        self.0.iter().all(|life| matches!(life.state, State::Up | State::Gone))
    }

    /// Whether a node has answered its `init`.
    pub(super) fn is_up(&self, node: usize) -> bool {
        self.0[node].state == State::Up
    }

    /// A dead node is never started again.
    pub(super) fn bury(&mut self, node: usize) {
        debug_assert!(self.0[node].is_dead());
        self.0[node].state = State::Gone;
    }

    /// Whether a node is dead for good.
    pub(super) fn is_gone(&self, node: usize) -> bool {
        self.0[node].state == State::Gone
    }

    /// Whether a node's answer to the `init` of that number is awaited.
    pub(super) fn awaits(&self, node: usize, number: Option<i64>) -> bool {
        let life = &self.0[node];
        matches!(life.state, State::Starting(_)) && number == Some(life.number)
    }

    /// A node has answered its `init`.
    pub(super) fn initialised(&mut self, now: Time, node: usize) {
        let life = &mut self.0[node];
        life.state = State::Up;
        if life.struck.is_some() && !life.paused {
            life.struck = Some(now);
        }
    }

    /// Until when a node could not answer, because it was stopped or dead: if it is so now, for ever; none if it never was.
    pub(super) fn struck_until(&self, node: usize) -> Option<Time> {
        self.0[node].struck
    }

    /// A node is killed. False if it is dead already.
    pub(super) fn kill(&mut self, node: usize) -> bool {
        let life = &mut self.0[node];
        let lived = !life.is_dead();
        if lived {
            (life.state, life.paused, life.struck) = (State::Dead, false, Some(Time::NEVER));
        }
        lived
    }

    /// A node is started again. False if it is not dead.
    pub(super) fn restart(&mut self, now: Time, node: usize) -> bool {
        let life = &mut self.0[node];
        let dead = life.state == State::Dead;
        if dead {
            let state = State::Starting(now + INIT_TIMEOUT);
            *life = Life { number: life.number + 1, state, paused: false, struck: life.struck };
        }
        dead
    }

    /// A node stops, or goes on; then it has the whole time for its answer again. The dead do neither.
    pub(super) fn set_paused(&mut self, now: Time, node: usize, paused: bool) {
        let life = &mut self.0[node];
        let was_paused = life.paused;
        life.paused = paused && !life.is_dead();
        if life.paused {
            life.struck = Some(Time::NEVER);
        } else if was_paused && !life.is_dead() {
            life.struck = Some(now);
        }
        if let State::Starting(deadline) = &mut life.state {
            *deadline = now + INIT_TIMEOUT;
        }
    }

    /// When the next answer to `init` is overdue, if one is awaited.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines().map(|(_, deadline)| deadline).min()
    }

    /// The first node whose answer to `init` is overdue.
    pub(super) fn overdue(&self, now: Time) -> Option<usize> {
        self.deadlines().find(|(_, deadline)| *deadline <= now).map(|(node, _)| node)
    }

    fn deadlines(&self) -> impl Iterator<Item = (usize, Time)> {
        let lives = self.0.iter().enumerate().filter(|(_, life)| !life.paused);
        lives.filter_map(|(node, life)| match life.state {
            State::Starting(deadline) => Some((node, deadline)),
            State::Up | State::Dead | State::Gone => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_present_life_answers_for_itself() {
        let mut lives = Lives::new(2, Time::ZERO);
        assert!(lives.awaits(0, Some(1)) && !lives.awaits(0, Some(2)) && !lives.awaits(0, None));
        lives.initialised(Time::ZERO, 0);
        lives.initialised(Time::ZERO, 1);
        assert!(lives.all_up() && !lives.awaits(0, Some(1)));
        assert!(lives.kill(0) && !lives.kill(0) && !lives.all_up());
        assert!(
            lives.restart(Time::ZERO, 0) && !lives.restart(Time::ZERO, 0) && !lives.restart(Time::ZERO, 1)
        );
        assert!(!lives.awaits(0, Some(1)) && lives.awaits(0, Some(2)));
    }

    #[test]
    fn a_node_that_is_gone_for_good_is_not_waited_for_and_not_started_again() {
        let mut lives = Lives::new(2, Time::ZERO);
        lives.initialised(Time::ZERO, 0);
        lives.kill(1);
        assert!(!lives.all_up() && !lives.is_gone(1));
        lives.bury(1);
        assert!(lives.all_up() && lives.is_gone(1) && !lives.kill(1) && !lives.restart(Time::ZERO, 1));
        assert_eq!(lives.next_deadline(), None);
    }

    #[test]
    fn an_answer_is_overdue_unless_the_node_is_paused_or_dead() {
        let (start, later) = (Time::ZERO, Time::ZERO + Duration::from_secs(7));
        let mut lives = Lives::new(1, start);
        assert_eq!((lives.next_deadline(), lives.overdue(later)), (Some(start + INIT_TIMEOUT), None));
        assert_eq!(lives.overdue(start + INIT_TIMEOUT), Some(0));
        lives.set_paused(start, 0, true);
        assert_eq!((lives.next_deadline(), lives.overdue(Time::NEVER)), (None, None));
        lives.set_paused(later, 0, false);
        assert_eq!(lives.next_deadline(), Some(later + INIT_TIMEOUT));
        lives.kill(0);
        assert_eq!(lives.overdue(Time::NEVER), None);
    }

    #[test]
    fn a_node_is_struck_until_it_goes_on_or_has_been_initialised_again() {
        let (start, later) = (Time::ZERO, Time::ZERO + Duration::from_secs(7));
        let mut lives = Lives::new(1, start);
        lives.initialised(start, 0);
        assert_eq!(lives.struck_until(0), None);
        lives.set_paused(start, 0, true);
        assert_eq!(lives.struck_until(0), Some(Time::NEVER));
        lives.set_paused(later, 0, false);
        assert_eq!(lives.struck_until(0), Some(later));
        lives.kill(0);
        lives.restart(later, 0);
        assert_eq!(lives.struck_until(0), Some(Time::NEVER));
        lives.initialised(later, 0);
        assert_eq!(lives.struck_until(0), Some(later));
    }
}
