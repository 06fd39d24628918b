//! Rounds of anti-entropy: whose goes on, and what they bring.

use super::*;

#[test]
fn a_round_gives_way_to_a_new_one_and_not_to_one_that_was_answered() {
    node("n1", |core, tick, out| {
        let runs = |core: &mut Core| core.link(HUB).comparison.round.is_some();
        begin_round(core, tick, HUB, out);
        core.compare(tick, HUB, &step(9), out);
        assert!(!runs(core), "the hub's goes on");
        begin_round(core, tick, HUB, out);
        core.compare(tick, HUB, &step(9), out);
        assert!(runs(core), "the hub's may be over");
        core.compare(tick, HUB, &step(10), out);
        assert!(!runs(core));
    });
}

#[test]
fn a_peer_that_answers_again_is_compared_with_though_it_has_begun_a_round_itself() {
    node("n0", |core, tick, out| {
        core.link(LEAF).clock.stamp(NOW);
        core.suspect(tick, LEAF, out);
        let heard = core.link(LEAF).clock.stamped();
        core.hear(
            tick,
            LEAF,
            arrival(Header { up: true, ..header(heard) }, Kind::Sync(Box::new(step(9)))),
            out,
        );
        let link = core.link(LEAF);
        assert!(!link.health.is_suspected());
        let round = link.comparison.round.expect("its round may be one that it has given up");
        assert!(round.id != 9 && round.retry_at <= NOW);
    });
}

#[test]
fn a_round_with_a_suspected_peer_does_not_give_way_once_that_answers() {
    node("n0", |core, tick, out| {
        core.link(LEAF).clock.stamp(NOW);
        core.suspect(tick, LEAF, out);
        let heard = core.link(LEAF).clock.stamped();
        // The leaf has asked, and is to give up its own round for this one.
        begin_round(core, tick, LEAF, out);
        core.hear(tick, LEAF, arrival(Header { up: true, ..header(heard) }, Kind::Ack), out);
        core.compare(tick, LEAF, &step(9), out);
        assert!(core.link(LEAF).comparison.round.is_some());
    });
}

#[test]
fn a_round_that_was_put_off_gives_way_no_more_than_before_once_it_goes_on() {
    node("n0", |core, tick, out| {
        core.link(LEAF).clock.stamp(NOW);
        core.suspect(tick, LEAF, out);
        begin_round(core, tick, LEAF, out);
        // The answer takes too long. The leaf has given up its own round for this one all the same.
        core.link(LEAF).put_off_round();
        let heard = core.link(LEAF).clock.stamped();
        core.hear(tick, LEAF, arrival(Header { up: true, ..header(heard) }, Kind::Ack), out);
        // The leaf had sent that before.
        core.compare(tick, LEAF, &step(9), out);
        assert!(core.link(LEAF).comparison.round.is_some());
        // While it is put off, the peer may have no other way to be answered.
        core.link(LEAF).put_off_round();
        core.compare(tick, LEAF, &step(10), out);
        assert!(core.link(LEAF).comparison.round.is_none());
    });
}

#[test]
fn a_round_is_tried_again_sooner_once_the_peer_is_known_to_answer_faster() {
    node("n1", |core, tick, out| {
        let retry_at = |core: &mut Core| core.link(HUB).comparison.round.expect("it goes on").retry_at;
        core.link(HUB).trip.sample(Duration::from_secs(4));
        core.link(HUB).incarnation = 3;
        begin_round(core, tick, HUB, out);
        let before = retry_at(core);
        let heard = core.link(HUB).clock.stamped();
        let later = Arrival { at: NOW + Duration::from_millis(200), ..arrival(header(heard), Kind::Ack) };
        core.hear(tick, HUB, later, out);
        let after = retry_at(core);
        assert!(NOW + Duration::from_secs(4) < before, "{before:?}");
        assert_eq!(after, NOW + core.link(HUB).trip.timeout());
        assert!(after < before, "{after:?}, {before:?}");
    });
}

#[test]
fn a_neighbour_that_is_compared_with_again_and_again_waits_for_a_timeout() {
    node("n0", |core, tick, out| {
        begin_round(core, tick, LEAF, out);
        core.link(LEAF).comparison.round = None;
        core.start_round(tick, LEAF, tick.now);
        let link = core.link(LEAF);
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
            begin_round(core, tick, LEAF, out);
        }
        assert_eq!(text(out).matches(r#""type":"sync""#).count(), 9);
        let round = core.link(LEAF).comparison.round.expect("it goes on later");
        assert!(round.retry_at > NOW);
    });
}

#[test]
fn a_round_that_has_not_been_sent_gives_way_to_any() {
    node("n0", |core, tick, out| {
        core.start_round(tick, LEAF, NOW + Duration::from_secs(1));
        core.compare(tick, LEAF, &step(9), out);
        let link = core.link(LEAF);
        assert!(link.comparison.round.is_none() && link.push.is_synced, "the leaf's goes on");
    });
}

#[test]
fn a_round_that_is_begun_anew_gives_way_no_more_than_the_one_before() {
    node("n0", |core, tick, out| {
        begin_round(core, tick, LEAF, out);
        core.start_round(tick, LEAF, tick.now);
        // The leaf had sent that before it gave its round up for the first one.
        core.compare(tick, LEAF, &step(9), out);
        assert!(core.link(LEAF).comparison.round.is_some());
    });
}

/// A node that has sent the first step of a round hears something of its peer; does the round go on?
fn goes_on(name: &str, peer: Peer, heard: impl IntoIterator<Item = (Header, Kind)>) -> bool {
    let mut goes_on = false;
    node(name, |core, tick, out| {
        let link = core.link(peer);
        (link.incarnation, link.overlay.is_child) = (3, true);
        begin_round(core, tick, peer, out);
        let id = |core: &mut Core| core.link(peer).comparison.round.map(|round| round.id);
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
fn a_neighbour_is_compared_with_once_somebody_tells_that_it_was_started_again() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        let link = core.link(HUB);
        (link.incarnation, link.push.is_synced) = (3, true);
        let restarts = vec![Restart { rank: 0, incarnation: 4 }];
        core.hear(tick, Peer(2), arrival(Header { restarts, ..header(0) }, Kind::Ack), out);
        assert!(core.link(HUB).comparison.round.is_some());
    });
}

#[test]
fn a_round_that_was_put_off_goes_on_when_the_peer_answers_again() {
    node("n1", |core, tick, out| {
        begin_round(core, tick, Peer(2), out);
        core.suspect(tick, Peer(2), out);
        let round = |core: &mut Core| core.link(Peer(2)).comparison.round.expect("the peer may rely on it");
        assert_eq!(round(core).retry_at, Time::NEVER);
        let heard = core.link(Peer(2)).clock.stamped();
        core.hear(tick, Peer(2), arrival(header(heard), Kind::Ack), out);
        assert!(round(core).retry_at < Time::NEVER);
    });
}

#[test]
fn who_hears_its_parent_is_not_compared_with_by_others_of_its_tree() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        core.overlay.root = 0;
        let link = core.link(HUB);
        (link.incarnation, link.push.is_synced) = (3, true);
        core.hear(tick, HUB, arrival(Header { more: true, ..header(0) }, Kind::Ack), out);
        let mut compares = |after: u64, root| {
            let later = Tick { now: NOW + Duration::from_millis(after), ..*tick };
            let asks = Header { at: 1 + after + root, root, ..header(0) };
            core.hear(&later, Peer(2), arrival(asks, Kind::Ping), out);
            core.link(Peer(2)).comparison.round.take().is_some()
        };
        assert!(!compares(0, 0) && compares(0, 2) && compares(1000, 0));
    });
}

#[test]
fn who_asks_and_does_not_hear_its_parent_compares() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        core.overlay.root = 0;
        core.link(Peer(2)).incarnation = 3;
        core.send_ping(tick, Peer(2), out);
        let heard = core.link(Peer(2)).clock.stamped();
        core.hear(tick, Peer(2), arrival(header(heard), Kind::Ack), out);
        assert!(core.link(Peer(2)).comparison.round.is_some());
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
        begin_round(core, tick, LEAF, out);
        core.link(LEAF).push.is_synced = false;
        begin_round(core, tick, LEAF, out);
        let id = |core: &mut Core| core.link(LEAF).comparison.round.expect("it goes on").id;
        let before = id(core);
        core.hear(tick, LEAF, arrival(Header { up: true, more: true, ..header(0) }, Kind::Ack), out);
        assert!(core.link(LEAF).push.is_synced && id(core) == before, "its answer is still awaited");
    });
}

#[test]
fn a_peer_gets_what_it_lacks_while_another_one_brings_many_values() {
    node("n0", |core, tick, out| {
        tick.log.append(&[7], Origin::Client, NOW);
        core.absorb(tick);
        assert!(core.reconciliation.fetches.may_begin(NOW, Peer(2), Duration::from_secs(1)));
        begin_round(core, tick, LEAF, out);
        let round = core.link(LEAF).comparison.round.expect("it has begun").id;
        let range = |first, last, count| Range { first, last, count, fingerprint: 77 };
        let ranges = vec![range(Value::MIN, 7, 0), range(8, Value::MAX, 1000)];
        core.compare(tick, LEAF, &Sync { answer: true, ranges, ..step(round) }, out);
        let said = text(out);
        assert!(said.contains(r#""values":[7]"#) && !said.contains("wants"), "{said}");
        assert!(core.link(LEAF).comparison.round.is_some(), "it is tried again");
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
        core.link(LEAF).incarnation = 3;
        begin_round(core, tick, LEAF, out);
        let round = core.link(LEAF).comparison.round.expect("it has begun").id;
        let empty = |value| Range { first: value, last: value, count: 0, fingerprint: 0 };
        let ranges = [0, 100, 199].map(empty).to_vec();
        core.compare(tick, LEAF, &Sync { answer: true, ranges, ..step(round) }, out);
        assert!(text(out).contains(r#""values":[0,100,199]"#) && tick.shared(LEAF).slots.is_empty());
        assert!(core.link(LEAF).comparison.round.is_some(), "it ends when that has come");
        core.compare(tick, LEAF, &Sync { answer: true, ..step(round) }, out);
        assert!(core.link(LEAF).comparison.round.is_none());
    });
}

/// It would answer none, and be suspected for that.
#[test]
fn a_peer_of_another_design_is_compared_with_no_more_and_pushed_everything() {
    node("n0", |core, tick, out| {
        (core.started, core.link(LEAF).overlay.is_child) = (true, true);
        tick.log.append(&[7], Origin::Client, NOW);
        core.absorb(tick);
        begin_round(core, tick, LEAF, out);
        core.suspect(tick, LEAF, out);
        assert!(!core.link(LEAF).push.is_synced);
        let foreign = || Arrival { at: NOW, what: What::Foreign };
        for _ in 0..2 {
            out.clear();
            core.hear(tick, LEAF, foreign(), out);
            core.start_round(tick, LEAF, NOW);
            let link = core.link(LEAF);
            assert!(link.push.is_synced && link.comparison.round.is_none() && !link.health.is_suspected());
        }
        assert!(tick.shared(LEAF).slots.in_flight().next().is_some(), "the value is on its way");
        core.overlay.plan.strategy = Strategy::Direct;
        core.hear(tick, LEAF, arrival(header(0), Kind::Ack), out);
        assert!(!core.link(LEAF).overlay.is_foreign, "it has been of this design all along");
    });
}

#[test]
fn a_message_of_a_former_incarnation_still_tells_of_a_later_one_of_this_node() {
    node("n0", |core, tick, out| {
        core.learn_restart(tick, Restart { rank: LEAF.0 as u64, incarnation: 10 });
        let header = Header { to: Some(20), ..header(0) };
        assert!(header.incarnation < 10);
        core.hear(tick, LEAF, arrival(header, Kind::Ack), out);
        assert_eq!(tick.incarnation.load(Ordering::Relaxed), 21);
    });
}
