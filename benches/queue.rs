//! The containers that the lock-free design is built on.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use natter::node::Time;
use natter::protocol::{BATCH_MAX, Batch, Generation};
use natter::queue::{Ack, PeerQueue, Pool, SeenSet, SlotRing};

fn seen_set(criterion: &mut Criterion) {
    const VALUES: i64 = 10_000;
    let mut group = criterion.benchmark_group("seen set");
    group.throughput(Throughput::Elements(VALUES as u64));
    group.bench_function("insert new", |bencher| {
        bencher.iter_batched_ref(
            || SeenSet::new(1),
            |seen| assert_eq!((0..VALUES).filter(|&value| seen.insert(value)).count(), VALUES as usize),
            BatchSize::LargeInput,
        );
    });
    let seen = SeenSet::new(1);
    for value in 0..VALUES {
        seen.insert(value);
    }
    group.bench_function("insert known", |bencher| {
        bencher.iter(|| assert!(!(0..VALUES).any(|value| seen.insert(value))));
    });
    group.finish();
}

fn peer_queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peer queue");
    group.throughput(Throughput::Elements(BATCH_MAX as u64));
    let queue = PeerQueue::new(usize::MAX);
    let mut batch = Batch::new();
    group.bench_function("push and drain a batch", |bencher| {
        bencher.iter(|| {
            (0..BATCH_MAX as i64).for_each(|value| queue.push(value));
            batch.clear();
            queue.drain_into(&mut batch, BATCH_MAX);
            assert_eq!(batch.len(), BATCH_MAX);
        });
    });
    group.finish();
}

fn slots(criterion: &mut Criterion) {
    let ring = SlotRing::new(Generation(0));
    let pool = Pool::<Box<Batch>>::new(8);
    criterion.bench_function("slot: claim, sent, ack", |bencher| {
        bencher.iter(|| {
            let claim = ring.claim(pool.take()).expect("a free slot");
            let generation = claim.generation();
            assert!(ring.sent(claim, Time::ZERO, Time::ZERO).is_none());
            match ring.ack(generation) {
                Ack::Released(batch) => pool.give(batch),
                other => panic!("{other:?}"),
            }
        });
    });
    criterion.bench_function("slot: stale ack", |bencher| {
        bencher.iter(|| assert!(matches!(ring.ack(Generation(u64::MAX)), Ack::Stale)));
    });
}

criterion_group!(benches, seen_set, peer_queue, slots);
criterion_main!(benches);
