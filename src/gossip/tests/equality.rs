//! Who is known to hold the same, and what explains that somebody does not.

use super::*;

#[test]
fn a_settled_node_tells_a_neighbour_once_that_is_not() {
    node("n0", |core, tick, out| {
        let hear = |core: &mut Core, up: bool, at: u64, out: &mut Outbox| {
            let header = Header { digest: Digest::default(), up, at, ..header(0) };
            core.hear(tick, LEAF, arrival(header, Kind::Ack), out);
            core.link(LEAF).acks.due()
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
fn what_is_on_its_way_explains_a_difference_for_a_minute_though_the_parent_is_silent() {
    node("n1", |core, tick, _| {
        core.overlay.parent = Some(HUB);
        let link = core.link(HUB);
        (link.push.is_synced, link.incarnation) = (true, 3);
        // By the direct plan nobody passes on what somebody who dies has told all but one.
        for (strategy, least, most) in [(Strategy::Star, 45, 60), (Strategy::Direct, 6, 8)] {
            core.overlay.plan.strategy = strategy;
            core.changed(tick);
            let compares_after = |core: &mut Core, secs: u64| {
                core.compare_if_due(&Tick { now: NOW + Duration::from_secs(secs), ..*tick }, HUB);
                core.link(HUB).comparison.round.is_some()
            };
            assert!(core.link(HUB).due() <= NOW + Duration::from_secs(most));
            assert!(!compares_after(core, least));
            if strategy == Strategy::Direct {
                assert!(compares_after(core, most));
            }
        }
    });
}

#[test]
fn who_is_settled_by_others_does_not_compare_with_its_parent_a_minute_later() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        core.link(HUB).incarnation = 3;
        core.changed(tick);
        let header = Header { claim: Claim::AllBut(vec![]), digest: core.digest(), ..header(0) };
        core.hear(tick, Peer(2), arrival(header, Kind::Ack), out);
        assert!(core.equals.is_settled());
        core.compare_if_due(&Tick { now: NOW + Duration::from_secs(60), ..*tick }, HUB);
        assert!(core.link(HUB).comparison.round.is_none());
    });
}

#[test]
fn after_a_restart_it_explains_one_for_two_seconds_whatever_has_been_found_since() {
    node("n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        let link = core.link(HUB);
        (link.push.is_synced, link.incarnation) = (true, 3);
        core.learn_restart(tick, Restart { rank: 1, incarnation: 5 });
        core.start_round(tick, HUB, tick.now);
        core.link(HUB).comparison.round = None;
        // That the two are equal now doesn't say that the hub has heard of all that the member had told.
        let digest = core.digest();
        core.hear(tick, HUB, arrival(Header { digest, ..header(0) }, Kind::Ack), out);
        let mut compares_after = |ms: u64| {
            core.compare_if_due(&Tick { now: NOW + Duration::from_millis(ms), ..*tick }, HUB);
            core.link(HUB).comparison.round.is_some()
        };
        assert!(!compares_after(0) && !compares_after(1400) && compares_after(2000));
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

#[test]
fn of_the_last_incarnation_a_node_takes_no_later_one() {
    node("n0", |core, tick, _| {
        let last = 1 << 62;
        core.learn_restart(tick, Restart { rank: 0, incarnation: last });
        assert_eq!(tick.incarnation.load(Ordering::Relaxed), last);
        assert_eq!(
            core.restarts.all(),
            [Restart { rank: 0, incarnation: last }],
            "as everybody else knows it"
        );
    });
}

const MEMBERS: [&str; 4] = ["n0", "n1", "n2", "n3"];
const DEAD: Peer = Peer(3);

/// Nothing new is under way, and a member does not answer.
fn is_quiet_but_for_the_dead(core: &mut Core, tick: &Tick<'_>, out: &mut Outbox) {
    core.changed(tick);
    core.watch.has_watched(tick.now);
    core.link(DEAD).clock.stamp(tick.now);
    core.suspect(tick, DEAD, out);
}

fn claims(peer: Peer, claim: Claim) -> Arrival {
    arrival(
        Header { digest: Digest::default(), at: 1 + peer.0 as u64, up: peer != HUB, claim, ..header(0) },
        Kind::Ack,
    )
}

#[test]
fn a_root_tells_its_children_once_that_all_hold_the_same_but_the_dead() {
    node_of(&MEMBERS, "n0", |core, tick, out| {
        let tells = |core: &mut Core, out: &mut Outbox| {
            core.tell_equals(tick, out);
            let said = links(out);
            out.clear();
            said.iter().filter(|(_, header)| header.claim == Claim::AllBut(vec![3])).count()
        };
        is_quiet_but_for_the_dead(core, tick, out);
        core.hear(tick, LEAF, claims(LEAF, Claim::Mine), out);
        assert_eq!(tells(core, out), 0, "the other child may answer");
        core.hear(tick, Peer(2), claims(Peer(2), Claim::Mine), out);
        assert_eq!((tells(core, out), tells(core, out)), (2, 0));
    });
}

#[test]
fn what_all_hold_but_the_dead_a_child_takes_up_and_tells_nobody_who_knows_it() {
    node_of(&MEMBERS, "n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        is_quiet_but_for_the_dead(core, tick, out);
        core.hear(tick, HUB, claims(HUB, Claim::AllBut(vec![3])), out);
        assert!(core.equals.unequal().eq([3]));
        core.tell_equals(tick, out);
        assert_eq!((text(out).as_str(), core.link(HUB).acks.due()), ("", Time::NEVER));
        // Here that one answers: now all are known to be equal, and the hub does not know.
        core.hear(tick, DEAD, claims(DEAD, Claim::Mine), out);
        core.tell_equals(tick, out);
        let said = links(out);
        let tells_all =
            |(dest, header): &(String, Header)| dest == "n0" && header.claim == Claim::AllBut(vec![]);
        assert!(said.iter().any(tells_all), "{said:?}");
    });
}

#[test]
fn an_inner_node_of_a_tree_tells_its_parent_no_more_than_once_that_all_below_it_hold_the_same() {
    for parent_knows in [false, true] {
        node_of_200("n1", |core, tick, out| {
            core.overlay.plan.strategy = Strategy::Tree;
            core.overlay.parent = Some(HUB);
            is_quiet_but_for_the_dead(core, tick, out);
            core.equals.heard(2, (0..200).filter(|&member| member != 3));
            if parent_knows {
                core.hear(tick, HUB, claims(HUB, Claim::AllBut(vec![3])), out);
            }
            (0..3).for_each(|_| core.tell_equals(tick, out));
            let told = text(out).lines().filter(|line| line.contains(r#""dest":"n0""#)).count();
            assert_eq!(told, usize::from(!parent_knows));
        });
    }
}

#[test]
fn while_news_is_under_way_nobody_speaks_for_others() {
    node_of(&MEMBERS, "n0", |core, tick, out| {
        is_quiet_but_for_the_dead(core, tick, out);
        core.equals.heard(1, [2]);
        assert_eq!(core.header(tick, LEAF).claim, Claim::AllBut(vec![3]));
        core.changed(tick);
        core.equals.heard(1, [2]);
        assert_eq!(core.header(tick, LEAF).claim, Claim::Mine);
    });
}

#[test]
fn who_is_known_to_be_equal_and_answers_again_makes_nobody_ask() {
    for (is_equal, asks_at) in [(true, Time::NEVER), (false, NOW)] {
        node_of(&MEMBERS, "n1", |core, tick, out| {
            core.overlay.parent = Some(HUB);
            is_quiet_but_for_the_dead(core, tick, out);
            if is_equal {
                core.equals.heard(DEAD.0, []);
            }
            core.watch.ask_at = Time::NEVER;
            let heard = core.link(DEAD).clock.stamp(tick.now);
            core.hear(tick, DEAD, arrival(header(heard), Kind::Ack), out);
            assert_eq!(core.watch.ask_at, asks_at);
        });
    }
}

/// Whom a node asks so long after the last news, one after the other.
fn asked_after(core: &mut Core, tick: &Tick<'_>, secs: u64, out: &mut Outbox) -> Vec<Peer> {
    let now = tick.now + Duration::from_secs(secs);
    for peer in tick.members.peers() {
        core.link(peer).health.take_overdue(now);
    }
    for _ in 0..3 {
        core.watch.ask_at = now;
        core.ask_due(&Tick { now, ..*tick }, out);
    }
    tick.members.peers().filter(|&peer| core.link(peer).health.asked_at == Some(now)).collect()
}

#[test]
fn while_a_member_does_not_answer_the_parent_is_asked_too() {
    node_of(&MEMBERS, "n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        is_quiet_but_for_the_dead(core, tick, out);
        core.hear(tick, HUB, claims(HUB, Claim::AllBut(vec![3])), out);
        assert_eq!(asked_after(core, tick, 10, out), [HUB, DEAD]);
    });
}

#[test]
fn by_the_direct_plan_a_node_without_a_parent_asks_somebody_who_may_hear_of_more() {
    node_of(&MEMBERS, "n0", |core, tick, out| {
        core.overlay.plan.strategy = Strategy::Direct;
        is_quiet_but_for_the_dead(core, tick, out);
        core.hear(tick, LEAF, claims(LEAF, Claim::AllBut(vec![3])), out);
        assert_eq!(asked_after(core, tick, 10, out), [LEAF, DEAD]);
    });
}

#[test]
fn soon_after_news_a_node_asks_no_less_often_than_at_last() {
    node_of(&MEMBERS, "n1", |core, tick, out| {
        core.overlay.parent = Some(HUB);
        is_quiet_but_for_the_dead(core, tick, out);
        core.equals.heard(0, [2]);
        let mut asks_after = |secs| asked_after(core, tick, secs, out).contains(&DEAD);
        // Half of the time since the news is longer than the interval at last.
        assert!(asks_after(29) && !asks_after(35) && asks_after(44));
    });
}
