//! A small pool for work that lasts microseconds: helpers wait a moment for the next job before they go to sleep.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Turns of waiting before a helper sleeps: tens of microseconds, as long as the gap between two jobs of one step. Other
/// engines on the same cores are not held up.
const SPINS: u32 = 4_000;

/// A job: called once by each thread, with the thread's index.
type Job = dyn Fn(usize) + Sync;

/// The current job; the lifetime is erased, because [`Pool::run`] returns only after every helper is done with it.
#[derive(Clone, Copy)]
struct JobPointer(*const Job);

// SAFETY: the job is `Sync`, and the pointer is followed only while `Pool::run` keeps it alive.
unsafe impl Send for JobPointer {}

#[derive(Default)]
struct Shared {
    job: Mutex<(u64, Option<JobPointer>)>,
    wake: Condvar,
    /// Number of the newest job, readable without the lock.
    round: AtomicUsize,
    busy: AtomicUsize,
    stop: AtomicBool,
}

/// A fixed number of threads, the caller's among them.
pub(super) struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `threads` threads in all; 0 counts as 1.
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let helpers = (1..threads.max(1))
            .map(|index| {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name(format!("engine-{index}"));
                builder.spawn(move || help(&shared, index))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shared, helpers })
    }

    /// Threads of the pool.
    pub(super) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `job` once on every thread and returns when all calls have.
    pub(super) fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        if self.helpers.is_empty() {
            return job(0);
        }
        self.shared.busy.store(self.helpers.len(), Ordering::Release);
        // SAFETY: only the lifetime changes; the wait below outlasts every use of the pointer.
        let pointer =
            JobPointer(unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static Job>(job) });
        {
            let mut current = self.shared.job.lock().unwrap_or_else(PoisonError::into_inner);
            *current = (current.0 + 1, Some(pointer));
            self.shared.round.fetch_add(1, Ordering::Release);
        }
        self.shared.wake.notify_all();
        job(0);
        while self.shared.busy.load(Ordering::Acquire) > 0 {
            std::hint::spin_loop();
            std::thread::yield_now();
        }
    }

    /// Calls `task` for every index below `count`, indices going to whichever thread is free.
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
        let mut spins = 0;
        while shared.round.load(Ordering::Acquire) == seen && spins < SPINS {
            std::hint::spin_loop();
            spins += 1;
        }
        let mut current = shared.job.lock().unwrap_or_else(PoisonError::into_inner);
        while current.0 == seen as u64 && !shared.stop.load(Ordering::Acquire) {
            current = shared.wake.wait(current).unwrap_or_else(PoisonError::into_inner);
        }
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        seen = current.0 as usize;
        let job = current.1;
        drop(current);
        let done = Done(&shared.busy);
        if let Some(JobPointer(job)) = job {
            // SAFETY: `Pool::run` keeps the job alive until this helper is counted as done.
            unsafe { (*job)(index) };
        }
        drop(done);
    }
}

/// Counts a helper as done, also when its job panicked.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.round.fetch_add(1, Ordering::Release);
        drop(self.shared.job.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper that panicked has nothing left to clean up.
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
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
}
