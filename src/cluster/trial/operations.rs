//! Operations: how clients begin them, what answers mean for them, and how they end.

use std::sync::Arc;

use rand::RngExt;
use serde_json::json;

use super::lives::INIT_TIMEOUT;
use super::mishaps::Instance;
use super::{Phase, Stray, TIMED_OUT, Trial, Violation};
use crate::cluster::clients::{Addressee, Ticket, Turn};
use crate::cluster::network::Endpoint;
use crate::cluster::reply::{Failure, Reply};
use crate::cluster::scenario::seconds;
use crate::history::{Event, EventKind, OpValue, Process};
use crate::node::Time;
use crate::workload::{Answered, Call, Last, Op, Rpc};

impl Trial {
    /// The next operation, if it is due and a client is free.
    pub(super) fn operate(&mut self, now: Time) -> bool {
        if self.next_op > now || self.scenario.rate == 0.0 || self.lull {
            return false;
        }
        let Some(first) = self.clients.take_any(&mut self.rng) else {
            self.late = true;
            return false;
        };
        let gap = seconds(2.0 * self.rng.random::<f64>() / self.scenario.rate);
        let Some((worker, op)) = self.draw_op(now, first) else {
            self.late = true;
            return false;
        };
        let begun = if std::mem::take(&mut self.late) { now } else { self.next_op };
        self.next_op = begun + gap;
        self.invoke(now, worker, op);
        true
    }

    /// The next operation of a worker that was taken, or of another free one if that has nothing to do.
    fn draw_op(&mut self, now: Time, first: usize) -> Option<(usize, Op)> {
        let since = self.since_began(now);
        let (mut worker, mut idle) = (Some(first), Vec::new());
        let mut found = None;
        while let Some(free) = worker {
            found = self.workload.next_op(since, free, &mut self.rng).map(|op| (free, op));
            if found.is_some() {
                break;
            }
            idle.push(free);
            worker = self.clients.take_any(&mut self.rng);
        }
        idle.into_iter().for_each(|worker| self.clients.put_back(worker));
        found
    }

    /// In the end: the next worker that is to be asked, if it is time.
    pub(super) fn ask(&mut self, now: Time) -> bool {
        if self.to_ask.first().is_none_or(|(at, _)| *at > now) {
            return false;
        }
        let Some((_, worker)) = self.to_ask.pop_first() else { return false };
        match self.workload.last(self.since_began(now), worker, &mut self.rng) {
            Last::Op(op) => self.invoke(now, worker, op),
            Last::Wait(until) => {
                self.to_ask.insert((self.began + until.since(Time::ZERO), worker));
            }
            Last::Done => self.clients.set_free(worker),
        }
        true
    }

    pub(super) fn invoke(&mut self, now: Time, worker: usize, op: Op) {
        let process = self.clients.process_of(worker);
        self.history.talks_to(process, self.clients.node_of(worker));
        self.record(now, process, EventKind::Invoke, &op, op.value.clone(), None);
        match self.workload.call(worker, &op) {
            Call::Rpc(rpc) => self.request(now, worker, rpc, op),
            Call::Crash => self.complete(now, worker, EventKind::Info, op.clone(), op.value, None),
            Call::Done(value) => self.complete(now, worker, EventKind::Ok, op, value, None),
        }
    }

    fn request(&mut self, now: Time, worker: usize, Rpc { kind, mut body }: Rpc, op: Op) {
        body["msg_id"] = json!(self.clients.next_msg_id(worker));
        let body: Arc<str> = body.to_string().into();
        let request = (kind, Arc::clone(&body));
        let Ticket { src, dest, .. } = self.clients.request(now, worker, request, Some(op));
        self.send(now, src, dest, body);
    }

    /// A client has received something.
    pub(super) fn answered(
        &mut self,
        now: Time,
        client: usize,
        src: Endpoint,
        body: &str,
    ) -> Result<(), Violation> {
        let reply = Reply::parse(body);
        match self.clients.answered(client, reply.in_reply_to) {
            Addressee::Nobody(stray) => {
                self.mishaps.stray(stray, &self.names.of(src), body);
                if let (Stray::Closed, Endpoint::Node(node), true) =
                    (stray, src, self.scenario.options.strict_maelstrom)
                {
                    self.unheard.insert(node);
                }
                Ok(())
            }
            Addressee::Init(node) => {
                if src != Endpoint::Node(node) || !self.lives.awaits(node, reply.in_reply_to) {
                    if self.began().is_some() {
                        self.mishaps.stray(Stray::Unasked, &self.names.of(src), body);
                    }
                    return Ok(());
                }
                if let Err(why) = reply.result("init", None) {
                    return Err(Violation::Refused { node, request: "init", why, answer: body.to_owned() });
                }
                self.lives.initialised(now, node);
                self.initialise_next(now);
                Ok(())
            }
            Addressee::Worker(Turn { worker, request, op: None, .. }) => {
                if let Err(why) = reply.result(request, self.workload.result_field(request)) {
                    let node = self.clients.node_of(worker);
                    return Err(Violation::Refused { node, request, why, answer: body.to_owned() });
                }
                self.clients.set_free(worker);
                if let Phase::SettingUp { waiting } = &mut self.phase {
                    *waiting -= 1;
                }
                Ok(())
            }
            Addressee::Worker(Turn { worker, request, body: asked, op: Some(op) }) => {
                match reply.judge(&mut *self.workload, worker, (request, &op)) {
                    Ok(Answered::Done(value)) => self.complete(now, worker, EventKind::Ok, op, value, None),
                    Ok(Answered::Next(rpc)) => self.request(now, worker, rpc, op),
                    Err(failure) => {
                        self.complete_failed(now, (worker, op), (request, &asked, Some(body)), failure);
                    }
                }
                Ok(())
            }
        }
    }

    /// Gives up on answers that are overdue.
    pub(super) fn time_out(&mut self, now: Time) -> Result<(), Violation> {
        if let Some(node) = self.lives.overdue(now) {
            let instead = self.instead_of_init_ok.remove(&node);
            let number = self.lives.number(node);
            return Err(Violation::NoInitOk { timeout: INIT_TIMEOUT, node, number, instead });
        }
        while let Some(Turn { worker, request, body, op }) = self.clients.overdue(now) {
            let Some(op) = op else {
                let node = self.clients.node_of(worker);
                return Err(Violation::Silent { node, request, timeout: self.workload.rpc_timeout() });
            };
            let failure = Failure::unknown(TIMED_OUT.to_owned());
            self.complete_failed(now, (worker, op), (request, &body, None), failure);
        }
        Ok(())
    }

    fn complete_failed(
        &mut self,
        now: Time,
        (worker, op): (usize, Op),
        (kind, request, answer): (&'static str, &Arc<str>, Option<&str>),
        failure: Failure,
    ) {
        let node = self.clients.node_of(worker);
        let asked = now.before(self.workload.rpc_timeout());
        let is_struck = self.lives.struck_until(node).is_some_and(|until| until >= asked);
        let (node, at) = (self.names.node(node), now.since(self.began));
        self.mishaps.note(&Instance { node, at, kind, request, answer, is_struck }, &failure);
        let Failure { definite, malformed, error } = failure;
        let is_told = definite && self.workload.trusts_errors() || self.workload.is_idempotent(op.f);
        let did_not_happen = is_told && !malformed;
        let kind = if did_not_happen { EventKind::Fail } else { EventKind::Info };
        let value = op.value.clone();
        self.complete(now, worker, kind, op, value, Some(error));
    }

    fn complete(
        &mut self,
        now: Time,
        worker: usize,
        kind: EventKind,
        op: Op,
        value: OpValue,
        error: Option<String>,
    ) {
        let process = self.clients.process_of(worker);
        self.workload.completed(worker, &op, kind, &value);
        self.record(now, process, kind, &op, value, error);
        if kind == EventKind::Ok {
            self.ok += 1;
        } else {
            self.not_ok += 1;
        }
        if kind == EventKind::Info {
            let keeps_client = self.workload.keeps_clients();
            self.clients.replace(worker, keeps_client);
            if !keeps_client {
                self.workload.reopened(worker);
            }
        }
        if self.phase == Phase::Final {
            self.to_ask.insert((now, worker));
        } else {
            self.clients.set_free(worker);
        }
    }

    pub(super) fn record(
        &mut self,
        now: Time,
        process: Process,
        kind: EventKind,
        op: &Op,
        value: OpValue,
        error: Option<String>,
    ) {
        let time = self.since_began(now);
        self.history.append(Event {
            index: 0,
            time,
            process,
            kind,
            f: op.f.into(),
            value,
            error,
            flag: op.flag,
        });
    }
}
