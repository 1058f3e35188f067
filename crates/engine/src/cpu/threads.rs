//! A small pool for work that lasts microseconds: threads wait a moment for each other before they go to sleep, and nobody
//! waits for a helper that has not begun. Where other programs use the cores, the caller does alone what helpers do not
//! come for.

#![allow(unsafe_code)]

use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread waits before it sleeps: as long as the gap between two jobs of one step. A thread that waits longer
/// waits for a core that something else uses, and must not keep the other one from it.
const PATIENCE: Duration = Duration::from_micros(60);
/// Turns of waiting between two looks at the clock; one takes from 10 to 50 ns, as the processor will.
const TURNS: u32 = 64;

/// A job: called once by each thread, with the thread's index.
type Job = dyn Fn(usize) + Sync;

/// The current job; the lifetime is erased, because [`Pool::run`] returns only after every helper that began is done.
#[derive(Clone, Copy)]
struct JobPointer(*const Job);

// SAFETY: the job is `Sync`, and the pointer is followed only while `Pool::run` keeps it alive.
unsafe impl Send for JobPointer {}

#[derive(Default)]
struct Shared {
    /// Number of the newest job, and the job while helpers may begin it.
    job: Mutex<(usize, Option<JobPointer>)>,
    wake: Condvar,
    /// Number of the newest job, readable without the lock.
    round: AtomicUsize,
    /// Helpers that have begun a job and are not done; raised under the lock.
    busy: AtomicUsize,
    /// Whether the caller sleeps until there are none.
    waiting: AtomicBool,
    done: Condvar,
    /// What a helper panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
}

impl Shared {
    fn job(&self) -> MutexGuard<'_, (usize, Option<JobPointer>)> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits a moment for `condition`.
fn spin(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        for _ in 0..TURNS {
            if condition() {
                return;
            }
            std::hint::spin_loop();
        }
    }
}

/// A fixed number of threads, the caller's among them.
pub(super) struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Not `Sync`, so that no job can reach the pool that runs it, and no two threads run jobs at once.
    one_caller: PhantomData<Cell<()>>,
}

impl Pool {
    /// A pool of `threads` threads in all; 0 counts as 1.
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let mut pool = Self { shared: Arc::default(), helpers: Vec::new(), one_caller: PhantomData };
        for index in 1..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("engine-{index}"));
            pool.helpers.push(builder.spawn(move || help(&shared, index))?);
        }
        Ok(pool)
    }

    /// Threads of the pool.
    pub(super) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `job` on this thread, and once on every helper that comes before this thread is done; returns when all calls
    /// have.
    ///
    /// # Panics
    /// When a call panics.
    fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        if self.helpers.is_empty() {
            return job(0);
        }
        // SAFETY: only the lifetime changes; the wait below, which a panic does not skip, outlasts every use.
        let pointer =
            JobPointer(unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static Job>(job) });
        {
            let mut current = self.shared.job();
            *current = (current.0 + 1, Some(pointer));
            self.shared.round.store(current.0, Ordering::Release);
        }
        self.shared.wake.notify_all();
        let own = catch_unwind(AssertUnwindSafe(|| job(0)));
        // From here on no helper begins it.
        self.shared.job().1 = None;
        self.wait();
        let helpers = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(cause) = own.err().or(helpers) {
            resume_unwind(cause);
        }
    }

    /// Waits until every helper is done that has begun the newest job.
    fn wait(&self) {
        let all_done = || self.shared.busy.load(Ordering::SeqCst) == 0;
        spin(all_done);
        if !all_done() {
            let mut guard = self.shared.job();
            self.shared.waiting.store(true, Ordering::SeqCst);
            while !all_done() {
                guard = self.shared.done.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.shared.waiting.store(false, Ordering::SeqCst);
        }
    }

    /// Calls `task` with the thread and the index for every index below `count`, indices going to whichever thread is
    /// free.
    ///
    /// # Panics
    /// When a task panics.
    pub(super) fn each(&self, count: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let take = |thread: usize| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                task(thread, index);
            }
        };
        if count <= 1 { take(0) } else { self.run(&take) }
    }
}

fn help(shared: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        spin(|| shared.round.load(Ordering::Acquire) != seen || shared.stop.load(Ordering::Acquire));
        let mut current = shared.job();
        while current.0 == seen && !shared.stop.load(Ordering::Acquire) {
            current = shared.wake.wait(current).unwrap_or_else(PoisonError::into_inner);
        }
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        seen = current.0;
        let Some(JobPointer(job)) = current.1 else { continue };
        shared.busy.fetch_add(1, Ordering::SeqCst);
        drop(current);
        // SAFETY: this helper was counted as busy before `Pool::run` withdrew the job, which it does under the same lock,
        // and `Pool::run` keeps the job alive until no helper is busy.
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| unsafe { (*job)(index) })) {
            *shared.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        }
        if shared.busy.fetch_sub(1, Ordering::SeqCst) == 1 && shared.waiting.load(Ordering::SeqCst) {
            // With the lock taken once, the caller either sleeps already or has not looked yet.
            drop(shared.job());
            shared.done.notify_all();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        drop(self.shared.job());
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper catches what its jobs panic with, and has nothing else to fail at.
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn every_index_is_visited_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            for count in [0, 1, 2, 77] {
                let seen: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                pool.each(count, &|_, index| {
                    seen[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(seen.iter().all(|times| times.load(Ordering::Relaxed) == 1));
            }
        }
    }

    /// Whichever thread panics, the caller hears of it when all threads are done, and the pool works on.
    #[test]
    fn a_panic_reaches_the_caller_and_harms_nothing() {
        let pool = Pool::new(3).unwrap();
        for who in 0..3 {
            let finished = AtomicUsize::new(0);
            let all = Barrier::new(3);
            let run = || {
                pool.run(&|thread| {
                    all.wait();
                    assert!(thread != who, "thread {who} fails");
                    finished.fetch_add(1, Ordering::SeqCst);
                });
            };
            let cause = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            assert_eq!(*cause.downcast::<String>().unwrap(), format!("thread {who} fails"));
            assert_eq!(finished.load(Ordering::SeqCst), 2);
        }
        let sum = AtomicUsize::new(0);
        pool.each(100, &|_, index| {
            sum.fetch_add(index, Ordering::SeqCst);
        });
        assert_eq!(sum.into_inner(), 4950);
    }

    /// Jobs that last longer than threads spin, so that the caller sleeps and is woken.
    #[test]
    fn the_caller_is_woken_by_slow_helpers() {
        let (done, end) = std::sync::mpsc::channel();
        // A lost wakeup would leave the caller asleep: it must not be the test's own thread.
        let caller = std::thread::spawn(move || {
            let pool = Pool::new(2).unwrap();
            for _ in 0..200 {
                let both = Barrier::new(2);
                let slow = |thread: usize| {
                    both.wait();
                    if thread == 1 {
                        (0..20).for_each(|_| std::thread::yield_now());
                        spin(|| false);
                        spin(|| false);
                    }
                };
                pool.run(&slow);
            }
            done.send(()).unwrap();
        });
        end.recv_timeout(Duration::from_mins(1)).expect("the caller was not woken");
        caller.join().unwrap();
    }
}
