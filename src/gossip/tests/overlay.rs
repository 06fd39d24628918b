//! Who has whom for a parent, and who looks for whom that does not answer.

use super::*;

#[test]
fn whom_a_node_could_not_tell_what_it_told_all_its_parent_compares_with() {
    let mut said = Vec::new();
    node("n1", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(HUB);
        core.link(HUB).incarnation = 3;
        core.link(Peer(2)).push.is_synced = true;
        tick.log.append(&[7], Origin::Client, NOW);
        core.absorb(tick);
        core.flush(tick, Peer(2), out);
        core.suspect(tick, Peer(2), out);
        assert!(core.link(HUB).acks.due() <= NOW + GATHER, "the parent is told at once");
        core.send_ack(tick, HUB, out);
        said = links(out);
    });
    assert!(said.iter().any(|(_, header)| header.untold == [2]), "{said:?}");
    node("n0", |core, tick, out| {
        core.link(Peer(2)).incarnation = 3;
        core.changed(tick);
        core.hear(tick, LEAF, arrival(Header { untold: vec![0, 2, 9], ..header(0) }, Kind::Ack), out);
        assert!(core.link(Peer(2)).comparison.round.is_some());
    });
}

/// A child of another plan gets nothing from a member that tells everybody, and that it can't reach, but by its parent.
#[test]
fn whoever_can_not_tell_a_member_is_compared_with_by_a_node_that_passes_nothing_on() {
    for (strategy, compares) in [(Strategy::Direct, true), (Strategy::Star, false)] {
        node("n0", |core, tick, out| {
            core.overlay.plan.strategy = strategy;
            core.link(Peer(2)).incarnation = 3;
            core.hear(tick, LEAF, arrival(header(0), Kind::Ack), out);
            core.link(LEAF).comparison = Comparison::default();
            let names = Header { at: 2, untold: vec![2], ..header(0) };
            core.hear(tick, LEAF, arrival(names, Kind::Ack), out);
            assert_eq!(core.link(LEAF).comparison.round.is_some(), compares);
        });
    }
}

#[test]
fn whoever_is_named_soon_after_a_comparison_is_compared_with_again_all_the_same() {
    node("n0", |core, tick, out| {
        let other = core.link(Peer(2));
        (other.incarnation, other.comparison.tried) = (3, Some(NOW));
        core.overlay.plan.strategy = Strategy::Direct;
        core.changed(tick);
        core.hear(tick, LEAF, arrival(Header { untold: vec![2], ..header(0) }, Kind::Ack), out);
        let round = core.link(Peer(2)).comparison.round;
        assert_eq!(round.map(|round| round.retry_at), Some(NOW + Duration::from_secs(2)));
        core.link(Peer(2)).comparison.round = None;
        core.equals.heard(2, []);
        core.hear(tick, LEAF, arrival(Header { at: 2, untold: vec![2], ..header(0) }, Kind::Ack), out);
        assert!(core.link(Peer(2)).comparison.round.is_none(), "it lacks nothing");
    });
}

#[test]
fn a_new_parent_hears_of_those_whom_its_child_can_not_tell() {
    node("n2", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        core.overlay.parent = Some(LEAF);
        core.link(HUB).clock.stamp(NOW);
        core.suspect(tick, HUB, out);
        core.reroute(tick, out);
        core.link(LEAF).incarnation = 3;
        assert_eq!(core.header(tick, LEAF).untold, [] as [u64; 0], "there was nothing that the hub lacked");
        core.suspect(tick, LEAF, out);
        core.reroute(tick, out);
        let heard = core.link(LEAF).clock.stamped();
        core.hear(tick, LEAF, arrival(header(heard), Kind::Ack), out);
        core.reroute(tick, out);
        assert_eq!((core.overlay.parent, core.header(tick, LEAF).untold), (Some(LEAF), vec![0]));
    });
}

#[test]
fn a_node_in_a_tree_of_its_own_has_a_bridge_to_one_whose_root_comes_before() {
    node_of(&["n0", "n1", "n2", "n3"], "n1", |core, tick, out| {
        (core.started, core.overlay.parent) = (true, Some(HUB));
        core.link(HUB).clock.stamp(NOW);
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
        let later = Tick { now: NOW + Duration::from_secs(2), ..*tick };
        let equals = std::mem::replace(&mut core.equals, Equals::everybody(1, 4));
        core.reroute(&later, out);
        assert_eq!(core.overlay.bridge, None, "nobody holds anything else");
        core.equals = equals;
        let long_after = Tick { now: NOW + Duration::from_secs(4), ..*tick };
        core.reroute(&long_after, out);
        assert_eq!(core.overlay.bridge, None, "n3 may be in another tree by now");
        assert!(core.link(Peer(3)).health.is_asked());
        core.reroute(&later, out);
        assert_eq!(core.overlay.bridge, Some(Peer(3)), "n2 is in a later tree");
        assert!(core.header(tick, Peer(3)).up && core.is_neighbour(Peer(3)));
        let (peer, message) = of_tree(Peer(3), 1, 2);
        core.hear(tick, peer, message, out);
        core.reroute(tick, out);
        assert_eq!(core.overlay.bridge, None, "n3 has come to this tree");
    });
}

/// It may be about to pass on much.
#[test]
fn a_parent_that_is_left_is_told_at_once() {
    node_of(&["n0", "n1", "n2", "n3"], "n2", |core, tick, out| {
        (core.started, core.overlay.parent) = (true, Some(LEAF));
        core.overlay.plan.period = Duration::from_millis(300);
        core.hear(tick, LEAF, arrival(header(0), Kind::Ack), out);
        core.link(LEAF).comparison = Comparison::default();
        core.reroute(tick, out);
        assert_eq!((core.overlay.parent, core.link(LEAF).acks.due()), (Some(HUB), NOW));
    });
}

/// What others told everybody while the plan was direct, nobody has passed on.
#[test]
fn whoever_is_passed_everything_on_is_not_compared_with_when_it_is_named() {
    let before = NOW.before(Duration::from_millis(4500));
    for (is_child, direct_until, tried, compares) in [
        (true, Time::ZERO, None, false),
        (false, Time::ZERO, None, true),
        (true, before, None, true),
        (true, before, Some(before), false),
    ] {
        node("n0", |core, tick, out| {
            core.overlay.direct_until = direct_until;
            let link = core.link(Peer(2));
            (link.incarnation, link.overlay.is_child, link.push.is_synced) = (3, is_child, true);
            link.comparison.tried = tried;
            core.changed(tick);
            core.hear(tick, LEAF, arrival(Header { untold: vec![2], ..header(0) }, Kind::Ack), out);
            assert_eq!(core.link(Peer(2)).comparison.round.is_some(), compares);
        });
    }
}

#[test]
fn whoever_is_named_soon_after_the_plan_was_direct_is_compared_with_in_two_seconds() {
    let (tried, direct_until) = (NOW.before(Duration::from_secs(1)), NOW.before(Duration::from_millis(500)));
    for (direct_until, begins) in [(direct_until, Some(tried + Duration::from_secs(2))), (Time::ZERO, None)] {
        node("n0", |core, tick, out| {
            core.overlay.direct_until = direct_until;
            let link = core.link(Peer(2));
            (link.incarnation, link.comparison.tried) = (3, Some(tried));
            core.changed(tick);
            core.hear(tick, LEAF, arrival(Header { untold: vec![2], ..header(0) }, Kind::Ack), out);
            assert_eq!(core.link(Peer(2)).comparison.round.map(|round| round.retry_at), begins);
        });
    }
}

/// It may be in a tree that no news comes to, settled, and out of this node's reach by now.
#[test]
fn a_planned_child_that_has_left_is_asked_while_there_is_news() {
    node("n0", |core, tick, out| {
        core.started = true;
        for peer in [LEAF, Peer(2)] {
            core.hear(tick, peer, arrival(Header { up: true, ..header(0) }, Kind::Ack), out);
        }
        let mut asks = |core: &mut Core, ms: u64| {
            let later = Tick { now: NOW + Duration::from_millis(ms), ..*tick };
            core.changed(&later);
            core.ask_due(&later, out);
            [1, 2].map(|peer| core.links[&Peer(peer)].health.is_asked())
        };
        assert_eq!(asks(core, 0), [false, false]);
        core.hear(tick, LEAF, arrival(Header { at: 2, ..header(0) }, Kind::Ack), &mut Outbox::default());
        assert_eq!(asks(core, 10), [true, false]);
        let heard = core.link(LEAF).clock.stamped();
        core.hear(tick, LEAF, arrival(Header { at: 3, ..header(heard) }, Kind::Ack), &mut Outbox::default());
        assert_eq!(asks(core, 1000), [true, false], "it has answered, and is still elsewhere");
        let heard = core.link(LEAF).clock.stamped();
        let back = Header { at: 4, up: true, ..header(heard) };
        core.hear(tick, LEAF, arrival(back, Kind::Ack), &mut Outbox::default());
        assert_eq!(asks(core, 2000), [false, false]);
    });
}

#[test]
fn others_are_asked_in_turn_to_look_for_a_lost_child() {
    node_of(&["n0", "n1", "n2", "n3"], "n0", |core, tick, out| {
        for peer in [1, 2, 3].map(Peer) {
            let link = core.link(peer);
            (link.incarnation, link.overlay.is_child, link.push.is_synced) = (3, true, true);
            link.clock.stamp(NOW);
        }
        core.changed(tick);
        core.suspect(tick, LEAF, out);
        assert!(core.link(Peer(2)).acks.due() <= NOW + GATHER, "the first one is asked at once");
        let mut named = |after: u64| {
            let later = Tick { now: NOW + Duration::from_secs(after), ..*tick };
            core.changed(&later);
            let named = [2, 3].map(|peer| core.header(&later, Peer(peer)).untold);
            for peer in [2, 3].map(Peer) {
                let heard = core.link(peer).clock.stamped();
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
            let link = core.link(peer);
            (link.incarnation, link.overlay.is_child, link.push.is_synced) = (3, peer == Peer(2), true);
        }
        core.hear(tick, HUB, arrival(Header { untold: vec![3], ..header(0) }, Kind::Ack), out);
        core.suspect(tick, Peer(3), out);
        assert_eq!([0, 2].map(|peer| core.header(tick, Peer(peer)).untold), [vec![3], vec![]]);
        let heard = core.link(HUB).clock.stamped();
        let later = Tick { now: NOW + Duration::from_secs(4), ..*tick };
        core.hear(&later, HUB, arrival(Header { at: 2, ..header(heard) }, Kind::Ack), out);
        let last = Tick { now: later.now + Duration::from_secs(4), ..*tick };
        core.changed(&last);
        assert_eq!([0, 2].map(|peer| core.header(&last, Peer(peer)).untold), [vec![], vec![3]]);
    });
}

#[test]
fn a_new_root_asks_whom_it_has_never_heard_though_news_keeps_coming() {
    node("n1", |core, tick, out| {
        (core.started, core.overlay.parent) = (true, Some(HUB));
        core.link(HUB).clock.stamp(NOW);
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
        assert!(core.link(LEAF).health.is_asked());
    });
}

/// Or else a leaf of a tree would think that the network is larger than a leaf of a star does, and each plan make the other one
/// the better.
#[test]
fn a_hub_of_a_tree_tells_its_children_how_far_the_farthest_is_from_the_root() {
    node_of_200("n1", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Tree;
        core.overlay.parent = Some(HUB);
        let millis = |ms: u64| Duration::from_millis(ms);
        let plan = HubPlan { next: None, margin: 2000, every: 300_000, far: 70_000 };
        core.hear(tick, HUB, arrival(Header { plan: Some(plan), ..header(0) }, Kind::Ack), out);
        (0..9).for_each(|_| core.link(HUB).trip.sample(millis(140)));
        let child = Peer(15);
        assert!(core.overlay.planned_parent(tick.members) == Some(HUB));
        core.link(child).overlay.is_child = true;
        core.overlay.measured = Some(millis(140));
        let told = core.header(tick, child).plan.expect("a child is told");
        assert_eq!(told.far, 70_000);
    });
}

#[test]
fn when_all_is_quiet_nobody_takes_another_parent_by_plan() {
    node_of_200("n20", |core, tick, out| {
        (core.started, core.overlay.parent) = (true, Some(HUB));
        (0..9).for_each(|_| core.link(HUB).trip.sample(Duration::from_millis(20)));
        core.replan(tick, out);
        assert_eq!(core.overlay.plan.strategy, Strategy::Star, "it is settled");
        core.changed(tick);
        core.replan(&Tick { now: NOW + Duration::from_secs(1), ..*tick }, out);
        assert_eq!(core.overlay.plan.strategy, Strategy::Tree);
    });
}

#[test]
fn when_all_is_quiet_a_root_with_a_bridge_asks_for_none_that_it_knows_to_be_equal() {
    node_of(&["n0", "n1", "n2", "n3"], "n2", |core, tick, out| {
        (core.started, core.overlay.parent, core.overlay.bridge) = (true, None, Some(Peer(3)));
        core.changed(tick);
        for peer in [HUB, LEAF] {
            core.link(peer).clock.stamp(NOW);
            core.suspect(tick, peer, out);
        }
        core.equals.heard(1, [3]);
        core.watch.has_watched(NOW);
        for turn in [1, 2] {
            core.watch.asked = turn;
            let later = Tick { now: NOW + Duration::from_secs(100 * turn as u64), ..*tick };
            core.ask_due(&later, out);
            assert_eq!([0, 1].map(|peer| core.links[&Peer(peer)].health.is_asked()), [true, false]);
        }
    });
}
