//! The containers that the lock-free design is built on.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use natter::node::Time;
use natter::protocol::{BATCH_MAX, Batch, Generation, Rope, Value};
use natter::queue::{Ack, PeerQueue, Pool, ReadyText, SeenSet, SlotRing};

/// The time that threads take which each do the same at once, `rounds` times.
#[expect(clippy::disallowed_methods, reason = "it is time that is measured")]
fn at_once(threads: usize, rounds: u64, work: impl Fn(usize) + Sync) -> Duration {
    let start = Barrier::new(threads);
    let (start, work) = (&start, &work);
    thread::scope(|scope| {
        let run = |thread| {
            scope.spawn(move || {
                start.wait();
                let began = Instant::now();
                (0..rounds).for_each(|_| work(thread));
                began.elapsed()
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).max().expect("a thread")
    })
}

/// Threads on one set: the more of them, the more is done at once; so on as many cores the time stays the same.
fn seen_set_at_once(criterion: &mut Criterion) {
    const VALUES: Value = 1000;
    let mut group = criterion.benchmark_group("seen set at once");
    group.throughput(Throughput::Elements(VALUES as u64));
    // Each thread has its own, and all are far apart.
    let own = |thread: usize| (0..VALUES).map(move |value| (value * 8 + thread as Value) << 20);
    for threads in [1, 2, 4] {
        group.bench_function(format!("insert, {threads} threads"), |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        let seen = SeenSet::new(1);
                        let time = at_once(threads, 1, |thread| {
                            assert!(own(thread).all(|value| seen.insert(value)));
                        });
                        assert_eq!(seen.len(), threads * VALUES as usize);
                        time
                    })
                    .sum()
            });
        });
        let seen = SeenSet::new(1);
        (0..threads).flat_map(own).for_each(|value| assert!(seen.insert(value)));
        group.bench_function(format!("look up, {threads} threads"), |bencher| {
            bencher.iter_custom(|rounds| {
                at_once(threads, rounds, |thread| assert!(own(thread).all(|value| seen.contains(value))))
            });
        });
    }
    group.finish();
}

fn text(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("text");
    for values in [100, 10_000, 1_000_000] {
        let (text, mut rope) = (ReadyText::default(), Rope::default());
        text.add(&Vec::from_iter(0..values));
        group.bench_function(format!("show {values} values"), |bencher| {
            bencher.iter(|| {
                rope.clear();
                assert!(text.show(&mut rope));
            });
        });
        assert_eq!(rope.bytes().iter().filter(|&&byte| byte == b',').count() as Value, values - 1);
    }
    group.throughput(Throughput::Elements(BATCH_MAX as u64));
    let batch = Vec::from_iter(100_000..100_000 + BATCH_MAX as Value);
    group.bench_function("add a batch", |bencher| {
        bencher.iter_batched_ref(ReadyText::default, |text| text.add(&batch), BatchSize::SmallInput);
    });
    group.finish();
}

fn pool(criterion: &mut Criterion) {
    let pool = Pool::<Rope>::new(8);
    criterion.bench_function("pool: take and give", |bencher| {
        bencher.iter(|| {
            let mut rope = pool.take();
            assert!(rope.is_empty());
            rope.own_mut().push(1);
            pool.give(rope);
        });
    });
}

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
    let late = SlotRing::new(Generation(0));
    let claim = late.claim(pool.take()).expect("a free slot");
    assert!(late.sent(claim, Time::ZERO, Time::ZERO).is_none());
    criterion.bench_function("slot: expire and send again", |bencher| {
        bencher.iter(|| {
            let overdue = late.in_flight().find(|in_flight| in_flight.due <= Time::ZERO).expect("it is late");
            let claim = late.reclaim(overdue.generation).expect("nobody else has it");
            assert!(late.sent(claim, Time::ZERO, Time::ZERO).is_none());
        });
    });
    criterion.bench_function("slot: stale ack", |bencher| {
        bencher.iter(|| assert!(matches!(ring.ack(Generation(u64::MAX)), Ack::Stale)));
    });
}

criterion_group!(benches, seen_set, seen_set_at_once, text, peer_queue, slots, pool);
criterion_main!(benches);
