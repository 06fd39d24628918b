//! What is sent to whom, once and again.

use super::*;

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

/// A batch may have reached the peer before it was killed. Its acknowledgement, which comes late, says nothing of what the peer
/// holds now.
#[test]
fn what_a_former_incarnation_acknowledges_late_stays_in_flight() {
    let node = LockFree::new(Config { incarnation: Some(5), ..Config::default() }, 1);
    node.init(NOW, "n1", &["n0", "n1", "n2"]).expect("n1 is a member");
    node.begin(NOW, start::FIRST);
    let members = node.membership.get().expect("initialised");
    let say = |peer, header: &Header| {
        node.gossip(NOW, members, peer, (header, Kind::Ack), Brought { values: &[], age: Duration::ZERO });
    };
    node.learn(&[7], Origin::Client, NOW);
    node.tick(NOW, &mut Outbox::default());
    let slots = &node.shared(members, HUB).slots;
    let next = slots.send(Span { from: 0, to: 1, whole: true }, NOW, Time::NEVER).expect("a free slot");
    // The node has not heard of the hub itself; another node tells it that the hub was started again.
    let restarts = vec![Restart { rank: 0, incarnation: 4 }];
    say(Peer(2), &Header { incarnation: 1, to: Some(5), restarts, ..Header::default() });
    node.tick(NOW, &mut Outbox::default());
    let in_flight = slots.in_flight().count();
    assert!(in_flight > 0);
    let acked = Some(Acked { next: Generation(next.0 + 1), later: 0 });
    say(HUB, &Header { incarnation: 3, to: Some(5), acked, ..Header::default() });
    assert_eq!(slots.in_flight().count(), in_flight);
    say(HUB, &Header { incarnation: 4, to: Some(5), acked, ..Header::default() });
    assert!(slots.in_flight().count() < in_flight);
}

#[test]
fn what_is_said_to_be_told_to_all_a_node_of_another_plan_passes_on() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        core.link(HUB).push.is_synced = true;
        tick.log.append(&[7], Origin::Told, NOW);
        core.absorb(tick);
        assert!(core.schedule.up_at < Time::NEVER);
        core.flush(tick, HUB, out);
        assert!(text(out).contains("[7]"));
    });
}

/// By the direct plan it takes what its parent says for told to all, but the parent may be of another plan, and its tree ends
/// there.
#[test]
fn a_bridge_is_passed_on_what_the_parent_says() {
    node_of(&["n0", "n1", "n2", "n3"], "n2", |core, tick, _| {
        core.overlay.plan.strategy = Strategy::Direct;
        (core.overlay.parent, core.overlay.bridge) = (Some(LEAF), Some(Peer(3)));
        let is_for = |peer, origin| core.is_for(tick.members, Peer(peer), origin);
        assert!(is_for(3, Origin::Peer(1)) && is_for(3, Origin::Told) && is_for(3, Origin::Client));
        assert!(!is_for(3, Origin::Peer(3)), "it has said so itself");
        assert!(!is_for(0, Origin::Peer(1)), "the parent tells everybody");
    });
}

#[test]
fn what_the_parent_says_is_flushed_to_a_bridge_at_once() {
    for (bridge, flushed) in [(None, Time::NEVER), (Some(Peer(3)), NOW)] {
        node_of(&["n0", "n1", "n2", "n3"], "n2", |core, tick, _| {
            core.overlay.plan.strategy = Strategy::Direct;
            (core.overlay.parent, core.overlay.bridge) = (Some(LEAF), bridge);
            core.link(Peer(3)).push.is_synced = true;
            tick.log.append(&[7], Origin::Peer(1), NOW);
            core.absorb(tick);
            assert_eq!(core.schedule.down_at, flushed);
        });
    }
}

#[test]
fn what_is_in_flight_and_for_nobody_any_more_ends_no_flush() {
    node("n1", |core, tick, out| {
        tick.log.append(&[7], Origin::Peer(2), NOW);
        tick.log.append(&[8], Origin::Client, NOW);
        core.absorb(tick);
        let spans = (0..2).map(|from| Span { from, to: from + 1, whole: false });
        core.link(Peer(2)).push.lacking.extend(spans);
        core.flush(tick, Peer(2), out);
        assert!(text(out).contains("[8]"));
        assert!(core.link(Peer(2)).push.lacking.is_empty());
    });
}

#[test]
fn a_batch_that_is_more_when_it_is_sent_again_is_followed_by_the_rest() {
    node("n1", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(HUB);
        let link = core.link(Peer(2));
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
fn only_a_peer_that_has_just_spoken_as_natter_nodes_do_is_told_runs() {
    node("n0", |core, tick, out| {
        core.schedule.values_an_integer = 8.0;
        let link = core.link(LEAF);
        (link.incarnation, link.overlay.is_child, link.push.is_synced) = (3, true, true);
        tick.log.append(&Vec::from_iter(0..200), Origin::Client, NOW);
        let told = |out: &mut Outbox| (text(out).contains("\"runs\":[0,200]"), text(out).contains("62,63]"));
        core.hear(tick, LEAF, arrival(Header { up: true, ..header(0) }, Kind::Ack), out);
        core.flush(tick, LEAF, out);
        assert_eq!(told(out), (true, false));
        out.clear();
        // A node of another design has taken its place, and doesn't understand that.
        core.hear(tick, LEAF, Arrival { at: NOW, what: What::Foreign }, out);
        let first = tick.shared(LEAF).slots.in_flight().next().expect("the batch");
        core.send_again(tick, LEAF, first, out);
        assert_eq!(told(out), (false, true));
        out.clear();
        core.flush(tick, LEAF, out);
        assert!(text(out).contains("198,199]"), "the rest follows");
    });
}

#[test]
fn a_peer_that_answers_again_is_pushed_nothing_before_it_is_compared_with() {
    node("n0", |core, tick, out| {
        let link = core.link(LEAF);
        (link.incarnation, link.overlay.is_child, link.push.is_synced) = (3, true, true);
        link.clock.stamp(NOW);
        core.suspect(tick, LEAF, out);
        tick.log.append(&[7, 8, 9], Origin::Client, NOW);
        let heard = core.link(LEAF).clock.stamped();
        core.hear(tick, LEAF, arrival(Header { up: true, ..header(heard) }, Kind::Ack), out);
        core.flush(tick, LEAF, out);
        assert!(tick.shared(LEAF).slots.is_empty());
        core.try_round(tick, LEAF, out);
        let push = &core.link(LEAF).push;
        assert_eq!((push.is_synced, push.cursor), (true, 3), "others may have told it");
    });
}

#[test]
fn a_peer_that_comes_for_a_child_is_compared_with_as_some_was_not_for_it_before() {
    node("n1", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(HUB);
        let link = core.link(Peer(2));
        (link.push.is_synced, link.incarnation) = (true, 3);
        // By the direct plan the parent tells everybody itself.
        tick.log.append(&[7], Origin::Peer(0), NOW);
        core.absorb(tick);
        core.flush(tick, Peer(2), out);
        assert_eq!((core.link(Peer(2)).push.cursor, text(out).as_str()), (1, ""));
        core.hear(tick, Peer(2), arrival(Header { up: true, ..header(0) }, Kind::Ack), out);
        assert!(core.link(Peer(2)).comparison.round.is_some());
    });
}

#[test]
fn what_is_in_flight_to_the_parent_goes_to_all_when_the_plan_becomes_direct() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        core.link(HUB).push.is_synced = true;
        tick.log.append(&[7], Origin::Client, NOW);
        core.absorb(tick);
        core.flush(tick, HUB, out);
        core.schedule.up_at = Time::NEVER;
        core.push_to_all(tick);
        assert_eq!(core.schedule.next(), NOW);
        let other = core.link(Peer(2));
        assert_eq!((other.push.cursor, other.push.is_synced), (0, true));
    });
}

/// What came while the plan was not direct, nobody has passed on to a peer that was no child of the root's.
#[test]
fn a_root_compares_with_those_that_were_no_children_when_the_plan_becomes_direct() {
    node("n0", |core, tick, _| {
        core.started = true;
        core.link(LEAF).push.is_synced = true;
        let left = core.link(Peer(2));
        (left.incarnation, left.overlay.is_child) = (3, false);
        tick.log.append(&[7], Origin::Peer(1), NOW);
        core.absorb(tick);
        core.push_to_all(tick);
        assert_eq!([1, 2].map(|peer| core.link(Peer(peer)).comparison.round.is_some()), [false, true]);
    });
}

#[test]
fn what_three_later_batches_have_overtaken_is_lost_however_long_round_trips_seem() {
    node("n0", |core, tick, out| {
        let ms = |ms| Tick { now: NOW + Duration::from_millis(ms), ..*tick };
        let link = core.link(LEAF);
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
            let heard = core.link(LEAF).clock.stamped();
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
fn a_peer_that_answers_again_is_told_by_the_direct_plan_what_it_did_not_get() {
    node("n2", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(HUB);
        core.link(LEAF).push.is_synced = true;
        tick.log.append(&[7], Origin::Client, NOW);
        core.absorb(tick);
        core.flush(tick, LEAF, out);
        core.suspect(tick, LEAF, out);
        let heard = core.link(LEAF).clock.stamped();
        core.hear(tick, LEAF, arrival(header(heard), Kind::Ack), out);
        let again = tick.shared(LEAF).slots.in_flight().map(|in_flight| in_flight.span.from);
        assert_eq!(again.collect::<Vec<_>>(), [0]);
        let sent = text(out);
        assert_eq!(sent.matches("[7]").count(), 2, "{sent}");
    });
}
