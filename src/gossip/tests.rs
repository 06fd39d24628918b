//! What one message changes between two nodes, where no run of a whole cluster shows it for sure.

use std::time::Duration;

use super::core::{Core, Tick};
use super::membership::{Arrival, Kind, Membership, Peer, What};
use super::plan::Strategy;
use super::schedule::GATHER;
use super::{Brought, LockFree, start};
use crate::config::Config;
use crate::node::{Node, Outbox, Time};
use crate::protocol::link::{Acked, Digest, Echo, Header, Range, Restart, Sync};
use crate::protocol::{Generation, Value};
use crate::queue::{Log, Origin, Span};
use crate::random::Random;
use crate::sync::{AtomicU64, Ordering};

const NOW: Time = Time::from_nanos(5_000_000_000);
const HUB: Peer = Peer(0);
const LEAF: Peer = Peer(1);

/// Shows a test the ticking thread of one of the three nodes of a star, and what it sends.
fn node(name: &str, test: impl FnOnce(&mut Core, &Tick<'_>, &mut Outbox)) {
    node_of(&["n0", "n1", "n2"], name, test);
}

fn node_of(names: &[&str], name: &str, test: impl FnOnce(&mut Core, &Tick<'_>, &mut Outbox)) {
    let members = Membership::new(name, names, 7, Time::ZERO);
    let (config, random, log, incarnation) =
        (Config::default(), Random::new(1), Log::default(), AtomicU64::new(5));
    let tick = Tick {
        now: NOW,
        config: &config,
        random: &random,
        log: &log,
        members: &members,
        incarnation: &incarnation,
    };
    test(&mut Core::new(&members), &tick, &mut Outbox::default());
}

/// A message of a peer that holds one value more than this node, and has heard its message of the stamp `heard`.
fn header(heard: u64) -> Header {
    let digest = Digest { count: 1, sum: 77, ..Digest::default() };
    Header {
        incarnation: 3,
        to: Some(5),
        at: 1,
        echo: Some(Echo { at: heard, hold: 0 }),
        digest,
        ..Header::default()
    }
}

fn arrival(header: Header, kind: Kind) -> Arrival {
    Arrival { at: NOW, what: What::Gossip { header, acked: false, kind } }
}

fn text(out: &mut Outbox) -> String {
    String::from_utf8(out.lines_mut().clone()).expect("text")
}

fn step(round: u64) -> Sync {
    Sync { round, ..Sync::default() }
}

#[test]
fn a_round_gives_way_to_a_new_one_and_not_to_one_that_was_answered() {
    node("n1", |core, tick, out| {
        let runs = |core: &mut Core| core.link(tick, HUB).comparison.round.is_some();
        let begin = |core: &mut Core, out: &mut Outbox| {
            core.start_round(tick, HUB, tick.now);
            core.try_round(tick, HUB, out);
        };
        begin(core, out);
        core.compare(tick, HUB, &step(9), out);
        assert!(!runs(core), "the hub's goes on");
        begin(core, out);
        core.compare(tick, HUB, &step(9), out);
        assert!(runs(core), "the hub's may be over");
        core.compare(tick, HUB, &step(10), out);
        assert!(!runs(core));
    });
}

#[test]
fn a_peer_that_answers_again_is_compared_with_though_it_has_begun_a_round_itself() {
    node("n0", |core, tick, out| {
        core.link(tick, LEAF).clock.stamp(NOW);
        core.suspect(tick, LEAF, out);
        let heard = core.link(tick, LEAF).clock.stamped();
        core.hear(
            tick,
            LEAF,
            arrival(Header { up: true, ..header(heard) }, Kind::Sync(Box::new(step(9)))),
            out,
        );
        let link = core.link(tick, LEAF);
        assert!(!link.health.is_suspected());
        let round = link.comparison.round.expect("its round may be one that it has given up");
        assert!(round.id != 9 && round.retry_at <= NOW);
    });
}

#[test]
fn a_neighbour_that_is_compared_with_again_and_again_waits_for_a_timeout() {
    node("n0", |core, tick, out| {
        core.start_round(tick, LEAF, tick.now);
        core.try_round(tick, LEAF, out);
        core.link(tick, LEAF).comparison.round = None;
        core.start_round(tick, LEAF, tick.now);
        let link = core.link(tick, LEAF);
        let round = link.comparison.round.expect("it is only put off");
        assert_eq!(round.retry_at, NOW + link.trip.timeout());
    });
}

#[test]
fn who_has_a_node_compare_again_and_again_gets_its_share_of_the_time() {
    node("n0", |core, tick, out| {
        let values: Vec<Value> = (0..1000).collect();
        tick.log.append(&values, Origin::Client, NOW);
        core.absorb(tick);
        for _ in 0..100 {
            core.start_round(tick, LEAF, tick.now);
            core.try_round(tick, LEAF, out);
        }
        assert_eq!(text(out).matches(r#""type":"sync""#).count(), 9);
        let round = core.link(tick, LEAF).comparison.round.expect("it goes on later");
        assert!(round.retry_at > NOW);
    });
}

#[test]
fn a_round_that_has_not_been_sent_gives_way_to_any() {
    node("n0", |core, tick, out| {
        core.start_round(tick, LEAF, NOW + Duration::from_secs(1));
        core.compare(tick, LEAF, &step(9), out);
        let link = core.link(tick, LEAF);
        assert!(link.comparison.round.is_none() && link.push.is_synced, "the leaf's goes on");
    });
}

#[test]
fn a_round_that_is_begun_anew_gives_way_no_more_than_the_one_before() {
    node("n0", |core, tick, out| {
        core.start_round(tick, LEAF, tick.now);
        core.try_round(tick, LEAF, out);
        core.start_round(tick, LEAF, tick.now);
        // The leaf had sent that before it gave its round up for the first one.
        core.compare(tick, LEAF, &step(9), out);
        assert!(core.link(tick, LEAF).comparison.round.is_some());
    });
}

/// A node that has sent the first step of a round hears something of its peer; does the round go on?
fn goes_on(name: &str, peer: Peer, heard: impl IntoIterator<Item = (Header, Kind)>) -> bool {
    let mut goes_on = false;
    node(name, |core, tick, out| {
        let link = core.link(tick, peer);
        (link.incarnation, link.overlay.is_child) = (3, true);
        core.start_round(tick, peer, tick.now);
        core.try_round(tick, peer, out);
        let id = |core: &mut Core| core.link(tick, peer).comparison.round.map(|round| round.id);
        let before = id(core);
        for (header, kind) in heard {
            core.hear(tick, peer, arrival(header, kind), out);
        }
        goes_on = before.is_some() && id(core) == before;
    });
    goes_on
}

#[test]
fn a_step_that_was_overtaken_or_is_for_a_former_incarnation_takes_no_rounds_place() {
    let sync = || Kind::Sync(Box::new(step(9)));
    let at = |at| Header { at, ..header(0) };
    assert!(!goes_on("n1", HUB, [(at(1), sync())]), "the hub's round goes on");
    assert!(goes_on("n1", HUB, [(at(2), Kind::Ack), (at(1), sync())]));
    assert!(goes_on("n1", HUB, [(Header { to: Some(4), ..at(1) }, sync())]));
}

#[test]
fn equality_ends_a_round_only_if_the_peer_has_heard_of_it() {
    let equal = |heard| Header { digest: Digest::default(), ..header(heard) };
    assert!(goes_on("n0", LEAF, [(equal(0), Kind::Ack)]));
    assert!(!goes_on("n0", LEAF, [(equal(NOW.as_micros()), Kind::Ack)]));
}

#[test]
fn what_a_former_incarnation_says_late_is_passed_on_as_if_a_client_had_said_it() {
    let node = LockFree::new(Config::default(), 1);
    node.init(NOW, "n1", &["n0", "n1", "n2"]).expect("n1 is a member");
    node.begin(NOW, start::FIRST);
    let members = node.membership.get().expect("initialised");
    let origin_of = |value, incarnation| {
        let header = Header { incarnation, all: true, ..header(0) };
        let kind = Kind::Delta { base: Generation(1), generation: Generation(1), now: false };
        node.gossip(NOW, members, HUB, (&header, kind), Brought { values: &[value], age: Duration::ZERO });
        node.tick(NOW, &mut Outbox::default());
        node.log.get(node.log.len() - 1).origin
    };
    assert_eq!([(0, 3), (1, 4)].map(|(value, incarnation)| origin_of(value, incarnation)), [Origin::Told; 2]);
    assert_eq!(origin_of(2, 3), Origin::Client, "nobody else may hold it");
}

#[test]
fn a_neighbour_is_compared_with_once_somebody_tells_that_it_was_started_again() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        let link = core.link(tick, HUB);
        (link.incarnation, link.push.is_synced) = (3, true);
        let restarts = vec![Restart { rank: 0, incarnation: 4 }];
        core.hear(tick, Peer(2), arrival(Header { restarts, ..header(0) }, Kind::Ack), out);
        assert!(core.link(tick, HUB).comparison.round.is_some());
    });
}

#[test]
fn whom_a_node_could_not_tell_what_it_told_all_its_parent_compares_with() {
    let mut said = String::new();
    node("n1", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(HUB);
        core.link(tick, HUB).incarnation = 3;
        core.link(tick, Peer(2)).push.is_synced = true;
        tick.log.append(&[7], Origin::Client, NOW);
        core.absorb(tick);
        core.flush(tick, Peer(2), out);
        core.suspect(tick, Peer(2), out);
        assert!(core.link(tick, HUB).acks.due() <= NOW + GATHER, "the parent is told at once");
        core.send_ack(tick, HUB, out);
        said = text(out);
    });
    assert!(said.contains(r#""untold":[2]"#), "{said}");
    node("n0", |core, tick, out| {
        core.link(tick, Peer(2)).incarnation = 3;
        core.hear(tick, LEAF, arrival(Header { untold: vec![0, 2, 9], ..header(0) }, Kind::Ack), out);
        assert!(core.link(tick, Peer(2)).comparison.round.is_some());
    });
}

#[test]
fn a_new_parent_hears_of_those_whom_its_child_can_not_tell() {
    node("n2", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(LEAF);
        core.link(tick, HUB).clock.stamp(NOW);
        core.suspect(tick, HUB, out);
        core.reroute(tick, out);
        core.link(tick, LEAF).incarnation = 3;
        assert_eq!(core.header(tick, LEAF).untold, [] as [u64; 0], "there was nothing that the hub lacked");
        core.suspect(tick, LEAF, out);
        core.reroute(tick, out);
        let heard = core.link(tick, LEAF).clock.stamped();
        core.hear(tick, LEAF, arrival(header(heard), Kind::Ack), out);
        core.reroute(tick, out);
        assert_eq!((core.overlay.parent, core.header(tick, LEAF).untold), (Some(LEAF), vec![0]));
    });
}

#[test]
fn a_round_that_was_put_off_goes_on_when_the_peer_answers_again() {
    node("n1", |core, tick, out| {
        core.start_round(tick, Peer(2), tick.now);
        core.try_round(tick, Peer(2), out);
        core.suspect(tick, Peer(2), out);
        let round =
            |core: &mut Core| core.link(tick, Peer(2)).comparison.round.expect("the peer may rely on it");
        assert_eq!(round(core).retry_at, Time::NEVER);
        let heard = core.link(tick, Peer(2)).clock.stamped();
        core.hear(tick, Peer(2), arrival(header(heard), Kind::Ack), out);
        assert!(round(core).retry_at < Time::NEVER);
    });
}

#[test]
fn what_is_said_to_be_told_to_all_a_node_of_another_plan_passes_on() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        core.link(tick, HUB).push.is_synced = true;
        tick.log.append(&[7], Origin::Told, NOW);
        core.absorb(tick);
        assert!(core.schedule.up_at < Time::NEVER);
        core.flush(tick, HUB, out);
        assert!(text(out).contains("[7]"));
    });
}

#[test]
fn what_is_in_flight_and_for_nobody_any_more_ends_no_flush() {
    node("n1", |core, tick, out| {
        tick.log.append(&[7], Origin::Peer(2), NOW);
        tick.log.append(&[8], Origin::Client, NOW);
        core.absorb(tick);
        let spans = (0..2).map(|from| Span { from, to: from + 1, whole: false });
        core.link(tick, Peer(2)).push.lacking.extend(spans);
        core.flush(tick, Peer(2), out);
        assert!(text(out).contains("[8]"));
        assert!(core.link(tick, Peer(2)).push.lacking.is_empty());
    });
}

#[test]
fn a_batch_that_is_more_when_it_is_sent_again_is_followed_by_the_rest() {
    node("n1", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(HUB);
        let link = core.link(tick, Peer(2));
        (link.push.is_synced, link.incarnation) = (true, 3);
        // By the direct plan the parent tells everybody itself.
        (0..70).for_each(|value| tick.log.append(&[value], Origin::Peer(0), NOW));
        tick.log.append(&[70], Origin::Client, NOW);
        core.absorb(tick);
        core.flush(tick, Peer(2), out);
        core.overlay.plan.strategy = Strategy::Star;
        let slots = &tick.shared(Peer(2)).slots;
        let first = slots.in_flight().next().expect("the batch");
        core.send_again(tick, Peer(2), first, out);
        assert!(!text(out).contains("69,70]"));
        let acked = Acked { next: first.generation, later: 0 };
        slots.ack(first.generation);
        core.hear(tick, Peer(2), arrival(Header { acked: Some(acked), ..header(0) }, Kind::Ack), out);
        assert!(text(out).contains("69,70]"), "when there is room");
    });
}

#[test]
fn a_node_in_a_tree_of_its_own_has_a_bridge_to_one_whose_root_comes_before() {
    node_of(&["n0", "n1", "n2", "n3"], "n1", |core, tick, out| {
        (core.started, core.overlay.parent) = (true, Some(HUB));
        core.link(tick, HUB).clock.stamp(NOW);
        let of_tree = |peer, root, at| {
            let header = Header { root, at, ..header(0) };
            (peer, arrival(header, Kind::Ack))
        };
        for (peer, message) in [of_tree(Peer(2), 2, 1), of_tree(Peer(3), 0, 1)] {
            core.hear(tick, peer, message, out);
        }
        core.reroute(tick, out);
        assert_eq!(core.overlay.bridge, None, "it is in the first tree itself");
        core.suspect(tick, HUB, out);
        core.reroute(tick, out);
        assert_eq!(
            (core.overlay.root, core.overlay.bridge),
            (1, None),
            "n3 may be in this tree, and not know yet"
        );
        core.reroute(&Tick { now: NOW + Duration::from_secs(2), ..*tick }, out);
        assert_eq!(core.overlay.bridge, Some(Peer(3)), "n2 is in a later tree");
        assert!(core.header(tick, Peer(3)).up && core.is_neighbour(Peer(3)));
        let (peer, message) = of_tree(Peer(3), 1, 2);
        core.hear(tick, peer, message, out);
        core.reroute(tick, out);
        assert_eq!(core.overlay.bridge, None, "n3 has come to this tree");
    });
}

#[test]
fn others_are_asked_in_turn_to_look_for_a_lost_child() {
    node_of(&["n0", "n1", "n2", "n3"], "n0", |core, tick, out| {
        for peer in [1, 2, 3].map(Peer) {
            let link = core.link(tick, peer);
            (link.incarnation, link.overlay.is_child, link.push.is_synced) = (3, true, true);
            link.clock.stamp(NOW);
        }
        core.changed(tick);
        core.suspect(tick, LEAF, out);
        assert!(core.link(tick, Peer(2)).acks.due() <= NOW + GATHER, "the first one is asked at once");
        let mut named = |after: u64| {
            let later = Tick { now: NOW + Duration::from_secs(after), ..*tick };
            core.changed(&later);
            let named = [2, 3].map(|peer| core.header(&later, Peer(peer)).untold);
            for peer in [2, 3].map(Peer) {
                let heard = core.link(tick, peer).clock.stamped();
                core.hear(
                    &later,
                    peer,
                    arrival(Header { at: after, up: true, ..header(heard) }, Kind::Ack),
                    out,
                );
            }
            named
        };
        let [to_2, to_3, to_nobody] = [[vec![1], vec![]], [vec![], vec![1]], [vec![], vec![]]];
        assert_eq!([1, 2, 5, 6].map(&mut named), [to_2.clone(), to_nobody.clone(), to_3, to_nobody]);
        assert_eq!(named(11), to_2);
    });
}

#[test]
fn whom_others_look_for_is_named_on_if_it_does_not_answer() {
    node_of(&["n0", "n1", "n2", "n3"], "n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        for peer in [0, 2].map(Peer) {
            let link = core.link(tick, peer);
            (link.incarnation, link.overlay.is_child, link.push.is_synced) = (3, peer == Peer(2), true);
        }
        core.hear(tick, HUB, arrival(Header { untold: vec![3], ..header(0) }, Kind::Ack), out);
        core.suspect(tick, Peer(3), out);
        assert_eq!([0, 2].map(|peer| core.header(tick, Peer(peer)).untold), [vec![3], vec![]]);
        let heard = core.link(tick, HUB).clock.stamped();
        let later = Tick { now: NOW + Duration::from_secs(4), ..*tick };
        core.hear(&later, HUB, arrival(Header { at: 2, ..header(heard) }, Kind::Ack), out);
        let last = Tick { now: later.now + Duration::from_secs(4), ..*tick };
        core.changed(&last);
        assert_eq!([0, 2].map(|peer| core.header(&last, Peer(peer)).untold), [vec![], vec![3]]);
    });
}

#[test]
fn who_hears_its_parent_is_not_compared_with_by_others_of_its_tree() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        core.overlay.root = 0;
        let link = core.link(tick, HUB);
        (link.incarnation, link.push.is_synced) = (3, true);
        core.hear(tick, HUB, arrival(Header { more: true, ..header(0) }, Kind::Ack), out);
        let mut compares = |after: u64, root| {
            let later = Tick { now: NOW + Duration::from_millis(after), ..*tick };
            let asks = Header { at: 1 + after + root, root, ..header(0) };
            core.hear(&later, Peer(2), arrival(asks, Kind::Ping), out);
            core.link(tick, Peer(2)).comparison.round.take().is_some()
        };
        assert!(!compares(0, 0) && compares(0, 2) && compares(1000, 0));
    });
}

#[test]
fn who_asks_and_does_not_hear_its_parent_compares() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        core.overlay.root = 0;
        core.link(tick, Peer(2)).incarnation = 3;
        core.send_ping(tick, Peer(2), out);
        let heard = core.link(tick, Peer(2)).clock.stamped();
        core.hear(tick, Peer(2), arrival(header(heard), Kind::Ack), out);
        assert!(core.link(tick, Peer(2)).comparison.round.is_some());
    });
}

#[test]
fn a_peer_that_answers_again_is_pushed_nothing_before_it_is_compared_with() {
    node("n0", |core, tick, out| {
        let link = core.link(tick, LEAF);
        (link.incarnation, link.overlay.is_child, link.push.is_synced) = (3, true, true);
        link.clock.stamp(NOW);
        core.suspect(tick, LEAF, out);
        tick.log.append(&[7, 8, 9], Origin::Client, NOW);
        let heard = core.link(tick, LEAF).clock.stamped();
        core.hear(tick, LEAF, arrival(Header { up: true, ..header(heard) }, Kind::Ack), out);
        core.flush(tick, LEAF, out);
        assert!(tick.shared(LEAF).slots.is_empty());
        core.try_round(tick, LEAF, out);
        let push = &core.link(tick, LEAF).push;
        assert_eq!((push.is_synced, push.cursor), (true, 3), "others may have told it");
    });
}

#[test]
fn a_later_step_of_the_round_that_goes_on_is_answered_though_it_was_overtaken() {
    node("n1", |core, tick, out| {
        let sync = || Kind::Sync(Box::new(step(9)));
        let mut answers = |at, kind| {
            let before = text(out).matches(r#""answer":true"#).count();
            core.hear(tick, HUB, arrival(Header { at, ..header(0) }, kind), out);
            text(out).matches(r#""answer":true"#).count() > before
        };
        assert!(!answers(2, Kind::Ack) && !answers(1, sync()), "the round may be over");
        assert!(answers(3, sync()) && !answers(5, Kind::Ack) && answers(4, sync()));
    });
}

#[test]
fn a_round_that_takes_anothers_place_has_a_link_be_pushed_to_that_is_not_synced() {
    node("n0", |core, tick, out| {
        core.start_round(tick, LEAF, tick.now);
        core.try_round(tick, LEAF, out);
        core.link(tick, LEAF).push.is_synced = false;
        core.start_round(tick, LEAF, tick.now);
        core.try_round(tick, LEAF, out);
        let id = |core: &mut Core| core.link(tick, LEAF).comparison.round.expect("it goes on").id;
        let before = id(core);
        core.hear(tick, LEAF, arrival(Header { up: true, more: true, ..header(0) }, Kind::Ack), out);
        assert!(core.link(tick, LEAF).push.is_synced && id(core) == before, "its answer is still awaited");
    });
}

#[test]
fn a_peer_gets_what_it_lacks_while_another_one_brings_many_values() {
    node("n0", |core, tick, out| {
        tick.log.append(&[7], Origin::Client, NOW);
        core.absorb(tick);
        assert!(core.reconciliation.fetches.may_begin(NOW, Peer(2), Duration::from_secs(1)));
        core.start_round(tick, LEAF, tick.now);
        core.try_round(tick, LEAF, out);
        let round = core.link(tick, LEAF).comparison.round.expect("it has begun").id;
        let range = |first, last, count| Range { first, last, count, fingerprint: 77 };
        let ranges = vec![range(Value::MIN, 7, 0), range(8, Value::MAX, 1000)];
        core.compare(tick, LEAF, &Sync { answer: true, ranges, ..step(round) }, out);
        let said = text(out);
        assert!(said.contains(r#""values":[7]"#) && !said.contains("wants"), "{said}");
        assert!(core.link(tick, LEAF).comparison.round.is_some(), "it is tried again");
    });
}

#[test]
fn what_a_peer_lacks_here_and_there_comes_in_one_step() {
    node("n0", |core, tick, out| {
        let values: Vec<Value> = (0..200).collect();
        values.chunks(50).for_each(|values| {
            tick.log.append(values, Origin::Client, NOW);
        });
        core.absorb(tick);
        core.link(tick, LEAF).incarnation = 3;
        core.start_round(tick, LEAF, tick.now);
        core.try_round(tick, LEAF, out);
        let round = core.link(tick, LEAF).comparison.round.expect("it has begun").id;
        let empty = |value| Range { first: value, last: value, count: 0, fingerprint: 0 };
        let ranges = [0, 100, 199].map(empty).to_vec();
        core.compare(tick, LEAF, &Sync { answer: true, ranges, ..step(round) }, out);
        assert!(text(out).contains(r#""values":[0,100,199]"#) && tick.shared(LEAF).slots.is_empty());
        assert!(core.link(tick, LEAF).comparison.round.is_some(), "it ends when that has come");
        core.compare(tick, LEAF, &Sync { answer: true, ..step(round) }, out);
        assert!(core.link(tick, LEAF).comparison.round.is_none());
    });
}

#[test]
fn a_new_root_asks_whom_it_has_never_heard_though_news_keeps_coming() {
    node("n1", |core, tick, out| {
        (core.started, core.overlay.parent) = (true, Some(HUB));
        core.link(tick, HUB).clock.stamp(NOW);
        core.suspect(tick, HUB, out);
        core.reroute(tick, out);
        let mut asks = |ms: u64| {
            let later = Tick { now: NOW + Duration::from_millis(ms), ..*tick };
            core.changed(&later);
            core.ask_due(&later, out);
            core.links.get(&Peer(2)).is_some_and(|link| link.health.is_asked())
        };
        assert!(!asks(0) && !asks(1999) && asks(2000));
    });
}

#[test]
fn a_stranger_that_does_not_answer_a_peer_is_asked() {
    node("n2", |core, tick, out| {
        core.hear(tick, HUB, arrival(Header { untold: vec![1], ..header(0) }, Kind::Ack), out);
        assert!(core.link(tick, LEAF).health.is_asked());
    });
}

#[test]
fn a_peer_that_comes_for_a_child_is_compared_with_as_some_was_not_for_it_before() {
    node("n1", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(HUB);
        let link = core.link(tick, Peer(2));
        (link.push.is_synced, link.incarnation) = (true, 3);
        // By the direct plan the parent tells everybody itself.
        tick.log.append(&[7], Origin::Peer(0), NOW);
        core.absorb(tick);
        core.flush(tick, Peer(2), out);
        assert_eq!((core.link(tick, Peer(2)).push.cursor, text(out).as_str()), (1, ""));
        core.hear(tick, Peer(2), arrival(Header { up: true, ..header(0) }, Kind::Ack), out);
        assert!(core.link(tick, Peer(2)).comparison.round.is_some());
    });
}

#[test]
fn a_settled_node_tells_a_neighbour_once_that_is_not() {
    node("n0", |core, tick, out| {
        let hear = |core: &mut Core, up: bool, at: u64, out: &mut Outbox| {
            let header = Header { digest: Digest::default(), up, at, ..header(0) };
            core.hear(tick, LEAF, arrival(header, Kind::Ack), out);
            core.link(tick, LEAF).acks.due()
        };
        core.changed(tick);
        core.equals.heard(2, []);
        assert_eq!(hear(core, true, 1, out), NOW, "now all are equal");
        core.send_ack(tick, LEAF, out);
        assert_eq!(hear(core, true, 2, out), Time::NEVER);
        // Whoever is no neighbour asks, and is answered.
        core.held.epoch += 1;
        assert_eq!(hear(core, false, 3, out), Time::NEVER);
    });
}

#[test]
fn what_is_in_flight_to_the_parent_goes_to_all_when_the_plan_becomes_direct() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        core.link(tick, HUB).push.is_synced = true;
        tick.log.append(&[7], Origin::Client, NOW);
        core.absorb(tick);
        core.flush(tick, HUB, out);
        core.schedule.up_at = Time::NEVER;
        core.push_to_all(tick);
        assert_eq!(core.schedule.next(), NOW);
        let other = core.link(tick, Peer(2));
        assert_eq!((other.push.cursor, other.push.is_synced), (0, true));
    });
}

#[test]
fn what_three_later_batches_have_overtaken_is_lost_however_long_round_trips_seem() {
    node("n0", |core, tick, out| {
        let ms = |ms| Tick { now: NOW + Duration::from_millis(ms), ..*tick };
        let link = core.link(tick, LEAF);
        (link.push.is_synced, link.overlay.is_child, link.incarnation) = (true, true, 3);
        (0..9).for_each(|_| link.trip.sample(Duration::from_secs(2)));
        for (at, value) in [(0, 1), (50, 2), (50, 3), (50, 4)] {
            tick.log.append(&[value], Origin::Client, NOW);
            core.absorb(tick);
            core.flush(&ms(at), LEAF, out);
        }
        let slots = &tick.shared(LEAF).slots;
        let first = slots.base();
        let mut hear = |later: u32| {
            let acked = Acked { next: first, later };
            slots.on_ack(acked);
            let heard = core.link(tick, LEAF).clock.stamped();
            let header = Header { acked: Some(acked), up: true, at: later.into(), ..header(heard) };
            let what = What::Gossip { header, acked: true, kind: Kind::Ack };
            core.hear(&ms(150), LEAF, Arrival { at: ms(150).now, what }, out);
            slots.in_flight().next().expect("the first").due
        };
        assert!(hear(0b011) > ms(1000).now, "two may have been faster");
        assert_eq!(hear(0b111), Time::ZERO);
    });
}

#[test]
fn what_is_on_its_way_explains_a_difference_for_a_minute_at_most() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        let link = core.link(tick, HUB);
        (link.push.is_synced, link.incarnation) = (true, 3);
        let mut compares_after = |secs: u64| {
            let later = Tick { now: NOW + Duration::from_secs(secs), ..*tick };
            let header = Header { more: true, at: 1 + secs, ..header(0) };
            core.hear(&later, HUB, arrival(header, Kind::Ack), out);
            core.link(tick, HUB).comparison.round.is_some()
        };
        assert!(!compares_after(0) && !compares_after(44) && compares_after(60));
    });
}

#[test]
fn after_a_restart_it_explains_one_for_two_seconds_whatever_has_been_compared_since() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        let link = core.link(tick, HUB);
        (link.push.is_synced, link.incarnation) = (true, 3);
        core.learn_restart(tick, Restart { rank: 1, incarnation: 5 });
        core.start_round(tick, HUB, tick.now);
        core.link(tick, HUB).comparison.round = None;
        let mut compares_after = |ms: u64| {
            let later = Tick { now: NOW + Duration::from_millis(ms), ..*tick };
            let header = Header { more: true, at: 1 + ms, ..header(0) };
            core.hear(&later, HUB, arrival(header, Kind::Ack), out);
            core.link(tick, HUB).comparison.round.is_some()
        };
        assert!(!compares_after(0) && !compares_after(1400) && compares_after(2000));
    });
}

#[test]
fn a_peer_that_answers_again_is_told_by_the_direct_plan_what_it_did_not_get() {
    node("n2", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(HUB);
        core.link(tick, LEAF).push.is_synced = true;
        tick.log.append(&[7], Origin::Client, NOW);
        core.absorb(tick);
        core.flush(tick, LEAF, out);
        core.suspect(tick, LEAF, out);
        let heard = core.link(tick, LEAF).clock.stamped();
        core.hear(tick, LEAF, arrival(header(heard), Kind::Ack), out);
        let again = tick.shared(LEAF).slots.in_flight().map(|in_flight| in_flight.span.from);
        assert_eq!(again.collect::<Vec<_>>(), [0]);
        let sent = text(out);
        assert_eq!(sent.matches("[7]").count(), 2, "{sent}");
    });
}

#[test]
fn an_incarnation_after_which_none_could_be_said_is_not_believed() {
    node("n0", |core, tick, _| {
        for rank in [0, 1] {
            core.learn_restart(tick, Restart { rank, incarnation: u64::MAX / 2 });
        }
        assert_eq!(tick.incarnation.load(Ordering::Relaxed), 5);
        assert_eq!(core.restarts.all(), []);
    });
}
