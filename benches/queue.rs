//! The containers that the lock-free design is built on.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use natter::node::Time;
use natter::protocol::{BATCH_MAX, Generation, Rope, Value};
use natter::queue::{Inbox, Log, LogText, Origin, Pool, SeenSet, SlotRing, Span};

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

fn log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Elements(BATCH_MAX as u64));
    let batch = Vec::from_iter(100_000..100_000 + BATCH_MAX as Value);
    group.bench_function("append a batch", |bencher| {
        bencher.iter_batched_ref(
            Log::default,
            |log| log.append(&batch, Origin::Client, Time::ZERO),
            BatchSize::SmallInput,
        );
    });
    let log = Log::default();
    log.append(&batch, Origin::Client, Time::ZERO);
    let all = Span { from: 0, to: BATCH_MAX, whole: true };
    group.bench_function("read a batch", |bencher| {
        bencher.iter(|| assert!(log.values(all).eq(batch.iter().copied())));
    });
    group.finish();
}

fn text(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("text");
    for values in [100, 10_000, 1_000_000] {
        let (log, text, mut rope) = (Log::default(), LogText::default(), Rope::default());
        log.append(&Vec::from_iter(0..values), Origin::Client, Time::ZERO);
        group.bench_function(format!("show {values} values"), |bencher| {
            bencher.iter(|| {
                rope.clear();
                text.show(&log, &mut rope);
            });
        });
        assert_eq!(rope.bytes().iter().filter(|&&byte| byte == b',').count() as Value, values - 1);
    }
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

fn inbox(criterion: &mut Criterion) {
    let inbox = Inbox::default();
    criterion.bench_function("inbox: push and pop", |bencher| {
        bencher.iter(|| {
            assert!(inbox.push(7));
            inbox.open();
            assert_eq!(inbox.pop(), Some(7));
        });
    });
}

fn slots(criterion: &mut Criterion) {
    let span = Span { from: 0, to: 1, whole: false };
    let ring = SlotRing::new(Generation(0));
    criterion.bench_function("slot: send, ack", |bencher| {
        bencher.iter(|| {
            let generation = ring.send(span, Time::ZERO, Time::ZERO).expect("a free slot");
            assert!(ring.ack(generation));
        });
    });
    let late = SlotRing::new(Generation(0));
    late.send(span, Time::ZERO, Time::ZERO).expect("a free slot");
    criterion.bench_function("slot: expire and send again", |bencher| {
        bencher.iter(|| {
            let overdue = late.in_flight().find(|in_flight| in_flight.due <= Time::ZERO).expect("it is late");
            late.resend(overdue.generation, overdue.span, Time::ZERO, Time::ZERO);
        });
    });
    criterion.bench_function("slot: stale ack", |bencher| {
        bencher.iter(|| assert!(!ring.ack(Generation(u64::MAX))));
    });
}

criterion_group!(benches, seen_set, seen_set_at_once, log, text, inbox, slots, pool);
criterion_main!(benches);
