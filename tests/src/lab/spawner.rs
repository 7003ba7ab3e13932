//! The thread that starts the lab's processes.

use std::{
    sync::mpsc::{self, Sender},
    thread,
};

type Job = Box<dyn FnOnce() + Send>;

/// A thread that lives as long as the lab. `PR_SET_PDEATHSIG` speaks of the *thread* that
/// started a process; a process started by a test's thread would die with that thread, one
/// started here dies only with the lab or when the whole run is killed.
#[derive(Debug)]
pub(super) struct Spawner {
    jobs: Sender<Job>,
}

impl Spawner {
    pub(super) fn start() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for job in queue {
                job();
            }
        });
        Self { jobs }
    }

    /// Runs `job` in that thread and waits for its result.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _ = sender.send(job());
        });
        self.jobs.send(job).expect("the thread ends only after its last sender");
        receiver.recv().expect("the job sends before it ends, or has panicked")
    }
}
